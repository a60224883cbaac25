"""The operations of keras.ops as steps."""
