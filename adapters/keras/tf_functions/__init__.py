"""TensorFlow's functions as Keras 2 records them, as steps."""
