"""TFLite files (.tflite): each node of the flatbuffer is a layer, run by LiteRT or by TFLM."""
