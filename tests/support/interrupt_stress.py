"""Ctrl-C at random moments: does a check, a sweep or an explanation leave the process and the model
as they were, and the next one right?

``python tests/support/interrupt_stress.py 1000`` interrupts so often and prints what was found. The
signals are real and come from another process, up to three for one Ctrl-C. After each, everything
that the process and the model share is compared bit for bit.
"""

import faulthandler
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

import probe

_SENDER = """
import os, signal, sys, time
for line in sys.stdin:
    for delay in map(float, line.split()):
        time.sleep(delay)
        os.kill(int(sys.argv[1]), signal.SIGINT)
    print("sent", flush=True)
"""
_LONGEST = 60.0
"""Seconds after which something waits for what it will never get."""


def digest(value: Any) -> str:
    return sha256(
        value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
    ).hexdigest()[:16]


def process() -> dict[str, Hashable]:
    """What every part of the process shares."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    found: dict[str, Hashable] = {
        "warnings.filters": tuple(map(repr, warnings.filters)),
        "np.geterr": tuple(np.geterr().items()),
        "np.getbufsize": np.getbufsize(),
        "np.random": (kind, digest(keys), *rest),
        "random": random.getstate(),
        "os.environ": tuple(sorted(os.environ.items())),
        "gc.get_threshold": gc.get_threshold(),
        "threads": tuple(sorted(one.name for one in threading.enumerate())),
        "blas": tuple(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"),
        "signal": repr(
            [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
        ),
        "standard streams": (id(sys.stdout), id(sys.stderr)),
        "logging.disable": logging.root.manager.disable,
        "locks": _free(getattr(logging, "_lock")),  # noqa: B009
    }
    for name in ("", "tensorflow", "absl", "tf2onnx", "torch.onnx"):
        one = logging.getLogger(name)
        locks = [_free(handler.lock) for handler in one.handlers if handler.lock is not None]
        found[f"logger {name}"] = (
            one.level,
            one.disabled,
            tuple(map(repr, one.filters)),
            tuple(locks),
        )
    return found


def _free(lock: Any) -> bool:
    """Whether another thread gets it."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(timeout=5))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return got[0]


def of_torch(model: Any) -> dict[str, Hashable]:
    """What PyTorch and a module of it hold."""
    import torch
    from torch.nn.modules import module as modules
    from torch.nn.utils import parametrize

    found: dict[str, Hashable] = {
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "torch threads": torch.get_num_threads(),
        "torch random": digest(torch.get_rng_state().numpy()),
        "default dtype": str(torch.get_default_dtype()),
        "modes": torch._C._len_torch_function_stack(),
        "parametrize": (parametrize._cache_enabled, len(parametrize._cache)),
        "global hooks": tuple(
            len(value)
            for name, value in sorted(vars(modules).items())
            if name.startswith("_global_") and hasattr(value, "__len__")
        ),
    }
    for name, module in model.named_modules():
        hooks = tuple(
            len(value) for key, value in sorted(vars(module).items()) if key.endswith("hooks")
        )
        attributes = tuple(sorted(key for key in vars(module)))
        found[f"module {name}"] = (type(module).__name__, hooks, attributes, module.training)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"tensor {name}"] = (
            digest(tensor.detach().numpy()),
            tensor._version,
            tensor.requires_grad,
        )
    return found


def of_keras(model: Any) -> dict[str, Hashable]:
    """What TensorFlow, Keras and a model of it hold."""
    import tensorflow as tf
    from tensorflow.python.eager import context

    found: dict[str, Hashable] = {
        "eager": (tf.config.functions_run_eagerly(), tf.executing_eagerly()),
        "tf random": repr(context.context()._rng and context.context()._rng.getstate()),
        "autograph": tf.autograph.get_verbosity() if hasattr(tf.autograph, "get_verbosity") else 0,
    }
    if type(model).__module__.startswith("keras."):
        from keras.src.backend.common import global_state

        state = vars(global_state.GLOBAL_STATE_TRACKER)
        found["keras state"] = tuple(
            sorted((key, repr(value)) for key, value in state.items() if value is not None)
        )
    for layer in model._flatten_layers():
        found[f"layer {layer.name}"] = (
            tuple(sorted(key for key in vars(layer) if key in ("call", "quantized_call"))),
            len(vars(layer)),
        )
    for place, variable in enumerate(model.variables):
        found[f"variable {place}"] = digest(np.asarray(variable))
    return found


@dataclass
class Subject:
    """A model, what is done with it, and what is right."""

    name: str
    model: Any
    x: Any
    layers: Mapping[str, tuple[int, ...]]
    """The layers that are looked at, each with the place of an element of its output."""
    held: Callable[[Any], dict[str, Hashable]]
    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def works(self, rng: random.Random) -> Mapping[str, Callable[[], Any]]:
        layer, at = rng.choice(list(self.layers.items()))
        return {
            "check": lambda: probe.check(self.model, layer, self.x),
            "sweep": lambda: [report.verdict for report in probe.sweep(self.model, self.x)],
            "check of values": lambda: probe.check(
                self.model, layer, self.x, expected=self.outputs.get(layer)
            ),
            "explain": lambda: probe.explain(self.model, layer, self.x, at=at),
        }

    def measure(self) -> None:
        """What it does when nobody interrupts."""
        self.outputs = {
            report.layer: report.outputs["framework"] for report in probe.sweep(self.model, self.x)
        }
        for _ in range(2):
            for name, work in self.works(random.Random(0)).items():
                start = time.perf_counter()
                found = work()
                self.seconds[name] = time.perf_counter() - start
                if name == "sweep":
                    self.verdicts = found
        assert self.verdicts and set(self.verdicts) <= {"agree", "unchecked"}, self.verdicts

    def fingerprint(self) -> dict[str, Hashable]:
        return {**process(), **self.held(self.model)}


class Interrupter:
    """Another process that sends this one its signals."""

    def __init__(self) -> None:
        self._armed = False
        self._sender = subprocess.Popen(
            [sys.executable, "-c", _SENDER, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> "Interrupter":
        self._before = signal.signal(signal.SIGINT, self._arrived)
        return self

    def _arrived(self, *_: Any) -> None:
        if self._armed:
            raise KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._sender.stdin is not None and self._sender.stdout is not None
        signal.signal(signal.SIGINT, self._before)
        self._sender.stdin.close()
        self._sender.stdout.close()
        self._sender.wait()

    def during(self, work: Callable[[], Any], delays: list[float]) -> bool:
        """Whether an interrupt ended the work; all have been sent when it returns."""
        assert self._sender.stdin is not None and self._sender.stdout is not None
        ended = False
        self._sender.stdin.write((" ".join(map(str, delays)) + "\n").encode())
        self._sender.stdin.flush()
        self._armed = True
        try:
            try:
                try:
                    work()
                finally:  # once for each of the three
                    self._armed = False
            finally:
                self._armed = False
        except KeyboardInterrupt:
            ended = True
        self._armed = False
        self._sender.stdout.readline()
        return ended


def stress(subjects: list[Subject], count: int, seed: int, every: int = 1) -> Counter[str]:
    """So many interrupts over the subjects; what is counted as "changed: …" or "wrong: …" must not
    be.

    After ``every`` so many interrupts a layer is checked and all are swept again.
    """
    rng, found = random.Random(seed), Counter[str]()
    for one in subjects:
        one.measure()
    with Interrupter() as interrupter:
        for number in range(count):
            one = subjects[number % len(subjects)]
            name, work = rng.choice(list(one.works(rng).items()))
            pressed = rng.choice((1, 1, 2, 3))
            delays = [
                rng.uniform(0, 1.1) * one.seconds[name],
                *(rng.uniform(0, 0.01) for _ in range(pressed - 1)),
            ]
            before = one.fingerprint()
            faulthandler.dump_traceback_later(_LONGEST, exit=True)
            ended = interrupter.during(work, delays)
            found[f"{one.name} {name}: {'interrupted' if ended else 'ended before'}"] += 1
            after = one.fingerprint()
            for key in sorted(before.keys() | after.keys(), key=str):
                if before.get(key) != after.get(key):
                    short = (
                        key.split(" ")[0] if key.startswith(("tensor", "module", "layer ")) else key
                    )
                    found[f"changed: {one.name} {name}: {short}"] += 1
                    if os.environ.get("STRESS_TELL"):
                        print(
                            number,
                            name,
                            key,
                            str(before.get(key))[:300],
                            "->",
                            str(after.get(key))[:300],
                            flush=True,
                        )
            if number // len(subjects) % every == 0:
                works = one.works(rng)
                if not works["check"]().ok:
                    found[f"wrong: {one.name} check after {name}"] += 1
                if works["sweep"]() != one.verdicts:
                    found[f"wrong: {one.name} sweep after {name}"] += 1
            faulthandler.cancel_dump_traceback_later()
    return found


def torch_subject() -> Subject:
    import torch
    from torch.nn.utils.parametrizations import spectral_norm

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 5, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(5)
            self.second = spectral_norm(torch.nn.Conv2d(5, 7, 3))
            self.last = torch.nn.Linear(7, 4)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm(self.first(x)))
            return self.last(self.second(x).mean((2, 3)))

    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    return Subject(
        "torch",
        Net().train(),
        x,
        {"first": (0, 0, 1, 1), "norm": (1, 2, 0, 3), "last": (0, 2)},
        of_torch,
    )


def keras_subject(namespace: str) -> Subject:
    keras: Any = __import__(namespace)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Reshape((36, 5))(x)
    x = layers.LSTM(4, stateful=False, name="inner")(x)
    model = keras.Model(inputs, layers.Dense(3, name="last")(x))
    given = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    return Subject(
        namespace,
        model,
        given,
        {"first": (0, 1, 1, 0), "norm": (1, 0, 3, 2), "last": (0, 2)},
        of_keras,
    )


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "torch": torch_subject,
    "keras": lambda: keras_subject("keras"),
    "tf_keras": lambda: keras_subject("tf_keras"),
}


def main() -> int:
    count, seed, *names = sys.argv[1:]
    found = stress([SUBJECTS[name]() for name in names or SUBJECTS], int(count), int(seed))
    for name, times in sorted(found.items()):
        print(f"{times:6} {name}")
    return int(any(name.startswith(("changed", "wrong")) for name in found))


if __name__ == "__main__":
    sys.exit(main())
