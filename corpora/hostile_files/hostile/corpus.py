"""The corpus: importing this fills `case.CASES`."""

import outside_gguf_files
import outside_saved_models
import outside_tflite_files
from hostile import (  # noqa: F401
    arrays,
    commands,
    exports,
    graphs,
    healthy,
    keras_files,
    pickles,
    safetensors_files,
    tricks,
)
from hostile.case import CASES

CASES.update(outside_gguf_files.CASES)
CASES.update(outside_tflite_files.CASES)
CASES.update(outside_saved_models.CASES)
