"""How a framework, and our adapter of a package of layers, is imported: quietly, in the environment
it needs, which is put back."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probe.errors import CannotOpen, MissingExtra
from probe.process.extras import install
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ..describe.described_classes import ADAPTERS

__all__ = ["framework", "of_hgq2", "package"]


def of_hgq2() -> str:
    """Why the package that is installed as QKeras is another."""
    return (
        "the installed `qkeras` is the package of that name from hgq2, which overwrites QKeras: "
        f"in an environment without hgq2, {install('qkeras')}"
    )


def framework(namespace: str, quantised: bool = False) -> Any:
    """The module keras or tf_keras, imported without a word on standard error."""
    extra = "qkeras" if quantised else "keras"
    with (
        held_back(),
        silenced("", logs=True),
        _environment(_settings(namespace, quantised)),
        interruptible(),
    ):
        try:
            if "tensorflow" not in sys.modules and _needs_tensorflow(namespace):
                with held_back(), _silent_descriptor(), interruptible():
                    importlib.import_module("tensorflow")
            module = importlib.import_module(namespace)
            if quantised:
                package("qkeras")
        except ImportError as error:
            if quantised and _installed("hgq"):
                raise MissingExtra(f"this model needs QKeras, but {of_hgq2()}") from None
            raise MissingExtra(
                f"this model needs {error.name or namespace} ({error}): {install(extra)}"
            ) from None
    if namespace == "keras" and not module.__version__.startswith("3"):
        raise MissingExtra(
            f"this model needs Keras 3, but keras {module.__version__} is installed: "
            f"{install('keras')}"
        )
    return module


_EXTRAS = {"qkeras": "qkeras", "hgq": "hgq", "tensorflow_model_optimization": "tfmot"}
"""Package -> the extra that installs it."""
_ENVIRONMENT = {"hgq": "in an environment without QKeras (hgq2 overwrites its package), "}
"""Package -> where it must be installed."""


def package(name: str) -> Any:
    """Our adapter of a package of layers."""
    with held_back(), silenced("", logs=True), interruptible():
        try:
            adapter = importlib.import_module(ADAPTERS[name], __package__.rpartition(".")[0])
        except ImportError as error:
            raise MissingExtra(
                f"this model needs {error.name or name} ({error}): {_ENVIRONMENT.get(name, '')}"
                f"{install(_EXTRAS[name])}"
            ) from None
    if name == "qkeras":
        _refuse_keras_3()
    return adapter


def _refuse_keras_3() -> None:
    """TensorFlow decides when it is imported which Keras ``tf.keras`` means, and QKeras builds on
    ``tf.keras`` without a check."""
    if not issubclass(sys.modules["qkeras"].QDense, sys.modules["tf_keras"].layers.Layer):
        raise CannotOpen(
            "QKeras needs Keras 2, but TensorFlow was imported before TF_USE_LEGACY_KERAS "
            "was set: set TF_USE_LEGACY_KERAS=1 before anything imports tensorflow, and "
            "restart Python"
        )


def _settings(namespace: str, quantised: bool) -> dict[str, str]:
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if namespace == "tf_keras" or quantised:
        # For QKeras, and for a QKeras file opened later in this process. Keras 3 is left to the
        # user's own `tf.keras`.
        settings["TF_USE_LEGACY_KERAS"] = "1"
    if not _installed("tensorflow") and _installed("torch"):
        settings["KERAS_BACKEND"] = "torch"
    return settings


def _installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    # a folder of that name beside the user is no package
    return spec is not None and spec.origin is not None


def _needs_tensorflow(namespace: str) -> bool:
    return namespace == "tf_keras" or (
        _installed("tensorflow") and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
    )


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets variables that are read when TensorFlow or Keras is imported; those that the user has
    set stay."""
    own = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


@contextmanager
def _silent_descriptor() -> Iterator[None]:
    """Standard error itself turned off: TensorFlow 2.21 writes two lines from C++ as it is
    imported, whatever the log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
