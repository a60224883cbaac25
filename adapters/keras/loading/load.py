"""A Keras file loaded: quietly, by its content, and refused where it would fill the memory or go on
for hours."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from probe.errors import CannotOpen, first_line
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ...user_modules import import_all, import_option
from ..describe.described_classes import ADAPTERS
from .config_limits import built_slowly, rebuilt_slowly, too_deep
from .file import File, refuse_foreign_weights
from .import_framework import package
from .lambda_globals import completed
from .run_limits import refuse_large

__all__ = ["imported", "load"]


def imported(names: Sequence[str], keras: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The user's own layers and functions, by class name and by registered name, from modules named
    "my_layers" or "path/layers.py"; and all that has a name in these modules."""
    modules = {id(module): module for module in import_all(names)}
    own = {module.__name__ for module in modules.values()}
    everything = {
        name: value for module in modules.values() for name, value in vars(module).items()
    }
    found = {**everything, **keras.saving.get_custom_objects()}
    custom = {
        name: value
        for name, value in found.items()
        if callable(value) and getattr(value, "__module__", None) in own
    }
    return custom, everything


def load(
    file: File, keras: Any, custom: Mapping[str, Any], names: Mapping[str, Any], trust: bool
) -> tuple[Any, tuple[str, ...]]:
    """The model in the file, and what there is to say about it. It is not compiled: that would
    build losses and optimizers, which only training needs.

    ``names`` are the user's for what the functions of Lambda layers call.
    """
    refuse_foreign_weights(file)
    legacy = keras.__name__ == "tf_keras"
    if legacy and (deep := too_deep(file.config)):
        raise CannotOpen(f"{file.path}: {deep}")
    slow = (built_slowly if legacy else rebuilt_slowly)(file.config)
    if slow and not trust:
        raise CannotOpen(f"{file.path}: {slow}; give --trust (trust=True) to run it anyway")
    packages = file.packages
    for name in (root for root in ADAPTERS if root in packages):
        custom = {**package(name).custom_objects(), **custom}
    suffix = ".keras" if file.form == "keras" else ".h5"
    origins: dict[str, str] = {}
    with (
        held_back(),
        silenced("", logs=True),
        tempfile.TemporaryDirectory() as folder,
        completed(keras, names, origins) if trust else nullcontext(),
        interruptible(),
    ):
        path = file.path
        if path.suffix != suffix or not str(path).isprintable():
            # The loader goes by the name, and TensorFlow takes text alone; content decides here.
            path = Path(folder, "model" + suffix)
            path.symlink_to(file.path.resolve())
        try:
            options = {"compile": False, **_safe_mode(file, keras, trust)}
            loaded = _loaded(keras, str(path), custom_objects=dict(custom), **options)
        except Exception as error:
            raise CannotOpen(
                f"{file.path}: {keras.__name__} {keras.__version__} cannot load it "
                f"({type(error).__name__}: {_reason(error)}){_missing(file.path, error)}"
            ) from None
    if not trust:
        refuse_large(file.path, loaded, keras)
    if not origins:
        return loaded, ()
    taken = ", ".join(f"{name} for {place}" for name, place in sorted(origins.items()))
    return loaded, (
        f"the file does not say what names in its Lambda functions mean; taken: {taken}",
    )


def _loaded(keras: Any, path: str, **options: Any) -> Any:
    """The model. Keras 2 calls each layer once to learn its shapes, and has TensorFlow translate
    its Python before, which takes a third of the start: only where a layer needs that (AutoGraph,
    for Python that branches on a tensor) is it done."""
    if keras.__name__ != "tf_keras":
        return keras.models.load_model(path, **options)
    autograph = import_module("tensorflow").autograph.experimental
    try:
        return autograph.do_not_convert(keras.models.load_model)(path, **options)
    except TypeError:  # tf.errors.OperatorNotAllowedInGraphError among others
        return keras.models.load_model(path, **options)


def _reason(error: Exception) -> str:
    """What Keras says last: it wraps the reason in the configs of all that was being loaded."""
    last = str(error).rpartition("Exception encountered: ")[2] or str(error)
    return first_line(Exception(last.partition("Full object config:")[0]))


def _missing(path: Path, error: Exception) -> str:
    """The way out where a class or function of the user's own was not found."""
    found = re.search(
        r"(?:Could not locate \w+|Unknown [a-z ]+:?) '?(?:[\w.]+>)?(\w+)"
        r"|name '(\w+)' is not defined",
        str(error),
    )
    if found is None:
        return ""
    name = found[1] or found[2]
    option = import_option(path, defines=name)
    return f"; if {name} is yours, name the module that defines it: {option} (imports=)"


def _safe_mode(file: File, keras: Any, trust: bool) -> dict[str, bool]:
    if keras.__name__ == "keras" or file.form == "keras":
        return {"safe_mode": not trust}
    return {}
