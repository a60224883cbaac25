"""The steps of a layer in NumPy, in ONNX Runtime, and the rounding error of either."""
