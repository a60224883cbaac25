"""How a framework is imported and a file loaded: quietly, with the environment it needs, which is put back afterwards."""

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probe.errors import CannotOpen, MissingExtra
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ..describe.described_classes import ADAPTERS
from .config_limits import STEPS, built_slowly, too_deep
from .file import File, refuse_foreign_weights
from .run_limits import refuse_large

__all__ = ["OF_HGQ2", "framework", "imported", "load", "package", "qkeras"]

OF_HGQ2 = (
    "the `qkeras` that is installed is not QKeras but the package of that name in hgq2, which overwrites it: "
    "in an environment without hgq2, pip install 'layerprobe[qkeras]'"
)


def framework(namespace: str, quantised: bool = False) -> Any:
    """The module keras or tf_keras, imported without a word on standard error."""
    extra = "qkeras" if quantised else "keras"
    with held_back(), silenced("", logs=True), _environment(_settings(namespace, quantised)), interruptible():
        try:
            if "tensorflow" not in sys.modules and _needs_tensorflow(namespace):
                with held_back(), _silent_descriptor(), interruptible():
                    importlib.import_module("tensorflow")
            module = importlib.import_module(namespace)
            if quantised:
                qkeras()
        except ImportError as error:
            if quantised and _installed("hgq"):
                raise MissingExtra(f"this model needs QKeras, but {OF_HGQ2}") from None
            raise MissingExtra(f"this model needs {error.name or namespace} ({error}): pip install 'layerprobe[{extra}]'") from None
    if namespace == "keras" and not module.__version__.startswith("3"):
        raise MissingExtra(f"this model needs Keras 3, and keras {module.__version__} is installed: pip install 'layerprobe[keras]'")
    return module


def qkeras() -> Any:
    """Our adapter of QKeras; one sentence where QKeras has been built on the wrong Keras.

    TensorFlow decides when it is imported which Keras ``tf.keras`` means, and QKeras builds on ``tf.keras`` without a check.
    """
    adapter = importlib.import_module("...qkeras", __package__)
    module, keras = sys.modules["qkeras"], importlib.import_module("tf_keras")
    if not issubclass(module.QDense, keras.layers.Layer):
        raise CannotOpen(
            "QKeras works on Keras 2, but TensorFlow was imported before the environment said so: "
            "set TF_USE_LEGACY_KERAS=1 before anything imports tensorflow, and start Python anew"
        )
    return adapter


_EXTRAS = {
    "hgq": "in an environment without QKeras, whose package hgq2 overwrites, pip install 'layerprobe[hgq]'",
    "tensorflow_model_optimization": "pip install 'layerprobe[tfmot]'",
}
"""Package -> how it is installed."""


def package(name: str) -> Any:
    """Our adapter of a package of layers."""
    with held_back(), silenced("", logs=True), interruptible():
        try:
            return importlib.import_module(ADAPTERS[name], __package__.rpartition(".")[0])
        except ImportError as error:
            raise MissingExtra(f"this model needs {name} ({error}): {_EXTRAS[name]}") from None


def _settings(namespace: str, quantised: bool) -> dict[str, str]:
    settings = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if namespace == "tf_keras" or quantised:
        # For QKeras, and for a QKeras file opened later in this process. Keras 3 is left to the user's own `tf.keras`.
        settings["TF_USE_LEGACY_KERAS"] = "1"
    if not _installed("tensorflow") and _installed("torch"):
        settings["KERAS_BACKEND"] = "torch"
    return settings


def _installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # a folder of that name beside the user is no package


def _needs_tensorflow(namespace: str) -> bool:
    return namespace == "tf_keras" or (_installed("tensorflow") and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow")


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets variables that are read when TensorFlow or Keras is imported; those that the user has set stay."""
    own = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


@contextmanager
def _silent_descriptor() -> Iterator[None]:
    """Standard error itself turned off: TensorFlow 2.21 writes two lines from C++ as it is imported, whatever the log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def imported(names: Sequence[str], keras: Any) -> dict[str, Any]:
    """The user's own layers and functions, by class name and by registered name, from modules named "my_layers" or "path/layers.py"."""
    modules = {id(module): module for module in map(_import, names)}
    own = {module.__name__ for module in modules.values()}
    found = {name: value for module in modules.values() for name, value in vars(module).items()}
    found.update(keras.saving.get_custom_objects())
    return {name: value for name, value in found.items() if callable(value) and getattr(value, "__module__", None) in own}


def _import(name: str) -> Any:
    """A module by its dotted name, found in the working directory too, or by the path of its file."""
    path = Path(name)
    folder, module = (path.resolve().parent, path.stem) if path.suffix == ".py" else (Path.cwd(), name)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, SyntaxError) as error:
        raise CannotOpen(f"--import {name}: {error}") from None
    finally:
        sys.path.remove(str(folder))


def load(file: File, keras: Any, custom: Mapping[str, Any], trust: bool) -> Any:
    """The model in the file. It is not compiled: that would build losses and optimizers, which only training needs."""
    refuse_foreign_weights(file)
    if keras.__name__ == "tf_keras":
        if deep := too_deep(file.config):
            raise CannotOpen(f"{file.path}: {deep}")
        if not trust and (slow := built_slowly(file.config)):
            raise CannotOpen(f"{file.path}: {slow}, which are more than {STEPS:,}; give --trust (trust=True) to run it all the same")
    if file.quantised:
        custom = {**qkeras().custom_objects(), **custom}
    for name in file.packages:
        custom = {**package(name).custom_objects(), **custom}
    suffix = ".keras" if file.form == "keras" else ".h5"
    with held_back(), silenced("", logs=True), tempfile.TemporaryDirectory() as folder, interruptible():
        path = file.path
        if path.suffix != suffix or not str(path).isprintable():
            # The loader goes by the name, and TensorFlow takes text alone; content decides here.
            path = Path(folder, "model" + suffix)
            path.symlink_to(file.path.resolve())
        try:
            loaded = keras.models.load_model(str(path), custom_objects=dict(custom), compile=False, **_safe_mode(file, keras, trust))
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
            raise CannotOpen(f"{file.path}: {keras.__name__} {keras.__version__} cannot load it ({reason})") from None
    if not trust:
        refuse_large(file.path, loaded, keras)
    return loaded


def _safe_mode(file: File, keras: Any, trust: bool) -> dict[str, bool]:
    return {"safe_mode": not trust} if keras.__name__ == "keras" or file.form == "keras" else {}
