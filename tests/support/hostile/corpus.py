"""The corpus: importing this fills `case.CASES`."""

from hostile import arrays, commands, exports, graphs, healthy, keras_files, pickles, safetensors_files, tricks  # noqa: F401
