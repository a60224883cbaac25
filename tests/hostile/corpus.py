"""The corpus: importing this fills `case.CASES`."""

from hostile import arrays, exports, graphs, healthy, keras_files, pickles, safetensors_files  # noqa: F401
