"""How the tensors, arrays and nested structures of either Keras are handled."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.process.interrupts import Shared

from .variables import shared, widened

__all__ = ["Tensors"]


@dataclass(frozen=True, eq=False)
class Tensors:
    """How the arrays and nested structures of one Keras are handled."""

    keras: Any

    @property
    def legacy(self) -> bool:
        return bool(self.keras.__name__ == "tf_keras")

    @property
    def backend(self) -> str:
        return "tensorflow" if self.legacy else self.keras.backend.backend()

    @property
    def _tree(self) -> Any:
        if self.legacy:
            return importlib.import_module("tensorflow").nest
        return self.keras.tree

    @property
    def _test(self) -> Callable[[Any], bool]:
        if self.legacy:
            package = importlib.import_module("tensorflow")
        else:
            package = self.keras.ops
        is_tensor: Callable[[Any], bool] = package.is_tensor
        return is_tensor

    def flat(self, nested: Any) -> list[Any]:
        return list(self._tree.flatten(nested))

    def packed(self, structure: Any, flat: Sequence[Any]) -> Any:
        return self._tree.pack_sequence_as(structure, list(flat))

    def within(self, nested: Any) -> list[Any]:
        """The tensors anywhere in arguments or a result, in order."""
        return [leaf for leaf in self.flat(nested) if self._test(leaf)]

    def dtype(self, nested: Any) -> str:
        """The dtype of the first tensor of floats in it, by name; without one, of the first
        tensor."""
        names = [
            str(getattr(tensor.dtype, "name", tensor.dtype)).rpartition(".")[2]
            for tensor in self.within(nested)
        ]
        return next((name for name in names if "float" in name), next(iter(names), "float32"))

    def symbolic(self, nested: Any) -> list[Any]:
        """The symbolic tensors that a functional model was built on, anywhere in recorded
        arguments."""
        return [leaf for leaf in self.flat(nested) if hasattr(leaf, "_keras_history")]

    def mapped(self, function: Callable[[Any], Any], nested: Any) -> Any:
        return self._tree.map_structure(function, nested)

    def visible(self, tensors: Sequence[Any]) -> bool:
        """Whether they have values: those inside a graph of TensorFlow have none."""
        return self.backend != "tensorflow" or all(hasattr(tensor, "numpy") for tensor in tensors)

    def array(self, tensor: Any) -> np.ndarray:
        """A tensor's values, for as long as one likes; bfloat16 comes widened."""
        if (
            self.backend == "tensorflow"
            and hasattr(tensor, "numpy")
            and not hasattr(type(tensor), "assign")
        ):
            return widened(shared(tensor))
        if self.legacy:
            array = tensor.numpy()
        else:
            array = self.keras.ops.convert_to_numpy(tensor)
        return widened(array if array.flags.owndata else np.array(array))

    def tensor(self, array: np.ndarray, dtype: Any = None) -> Any:
        if self.legacy:
            return importlib.import_module("tensorflow").cast(array, dtype or array.dtype)
        return self.keras.ops.convert_to_tensor(
            array, dtype=dtype and self.keras.backend.standardize_dtype(dtype)
        )

    @property
    def writes(self) -> Callable[[Any], int] | None:
        """How often a tensor was written to, None where none can be; PyTorch counts, but in
        inference mode."""
        if self.backend in ("tensorflow", "jax"):
            return None
        counts = self.backend == "torch"
        return lambda tensor: int(tensor._version) if counts and not tensor.is_inference() else 0

    @contextlib.contextmanager
    def eager(self) -> Iterator[None]:
        """Every function runs eagerly, also one that the user has compiled: inside a graph there
        are no values to see."""
        if self.backend == "tensorflow":
            with _EAGERLY:
                yield
        elif self.backend == "torch":
            with importlib.import_module("torch").no_grad():
                yield
        else:
            yield

    def made(self, call: Callable[[], Any]) -> Any:
        """What a call gives, made with its functions compiled where it fails without: Keras
        compiles what TensorFlow's own kernels for CPUs do not have, grouped convolutions and those
        with the channels first (keras/src/backend/tensorflow/nn.py, conv)."""
        try:
            return call()
        except Exception as error:
            if (
                self.backend != "tensorflow"
                or not importlib.import_module("tensorflow").config.functions_run_eagerly()
            ):
                raise
            with contextlib.suppress(Exception), self.compiled():
                return call()
            raise error  # which says more than that of the second try

    @contextlib.contextmanager
    def compiled(self) -> Iterator[None]:
        """Functions that TensorFlow compiles run compiled again, inside of ``eager``."""
        eagerly = importlib.import_module("tensorflow").config.functions_run_eagerly()
        with _compiled() if eagerly else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def _compiled() -> Iterator[None]:
    config = importlib.import_module("tensorflow").config
    config.run_functions_eagerly(False)
    try:
        yield
    finally:
        config.run_functions_eagerly(True)


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    config = importlib.import_module("tensorflow").config
    before = config.functions_run_eagerly()
    config.run_functions_eagerly(True)
    try:
        yield
    finally:
        config.run_functions_eagerly(before)


_EAGERLY = Shared(_eagerly)
