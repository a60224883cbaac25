"""The operations of a graph that TensorFlow has traced, as steps."""
