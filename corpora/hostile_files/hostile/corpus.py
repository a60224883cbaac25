"""The corpus: importing this fills `case.CASES`."""

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
