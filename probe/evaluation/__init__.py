"""The steps of a layer in NumPy, in ONNX Runtime, and how far rounding may lead either astray."""
