"""ONNX operators as steps, one file a family."""
