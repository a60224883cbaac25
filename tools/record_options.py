"""Records which classes the tests check, with which options and in which precisions, for the
table of docs/layers.md.

``PYTHONPATH=tools python -m pytest -n 0 -m "not slow" -p record_options tests/adapters`` adds what
it sees to ``tools/tried_options.json``.
"""

import functools
import importlib
import inspect
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

FILE = Path(__file__).parent / "tried_options.json"
_NOT_OPTIONS = {
    "self",
    "args",
    "kwargs",
    "name",
    "dtype",
    "device",
    "seed",
    "trainable",
    "activity_regularizer",
}

_values: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
_parties: dict = defaultdict(set)


def _said(value) -> str:
    """A value in a form that tells it from others; anything large or with an address by its
    type."""
    text = repr(value)
    return text if len(text) < 60 and " at 0x" not in text else type(value).__name__


def _parameters(kind) -> dict:
    """Of the constructor; where it only hands on what it is given, also those of the bases."""
    found: dict = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object or base.__name__ in ("Module", "Layer"):
            continue
        parameters = inspect.signature(base.__init__).parameters
        found = {**parameters, **found}
        if not any(
            parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            for parameter in parameters.values()
        ):
            break
    return found


def _note(package, layer, arguments, dtype, config):
    seen = _values[package][type(layer).__name__]
    for name, parameter in _parameters(type(layer)).items():
        if (
            name in _NOT_OPTIONS
            or "initializer" in name
            or "regularizer" in name
            or "constraint" in name
        ):
            continue
        if name not in config and not hasattr(layer, name):
            continue
        value = config[name] if name in config else getattr(layer, name)
        if name in ("bias", "weight") and value is not None:
            value = True
        seen[name].add(_said(value))
        if parameter.default is not parameter.empty:
            seen[name].add(_said(parameter.default))
    for name, value in list(arguments.items())[1:]:
        if value is not None and value is not False and name != "training":
            seen[name] |= {"None", "given"}
    seen["dtype"].add(dtype)


def _watch_keras():
    table = importlib.import_module("probe.adapters.keras.describe.described_classes")
    registered = importlib.import_module("probe.adapters.keras.describe.describe").REGISTERED
    importlib.import_module("probe.adapters.qkeras")
    homes = {home for home in table.DESCRIBED.values() if not home.startswith("..")}
    for home in sorted(homes):
        importlib.import_module(f"probe.adapters.keras{home}")

    def watched(function):
        def describe(layer, call):
            package = type(layer).__module__.partition(".")[0]
            if package in ("keras", "tf_keras", "qkeras"):
                _note(package, layer, call.arguments, call.dtype, layer.get_config())
            return function(layer, call)

        describe.__module__ = function.__module__
        return describe

    for name in [name for name in registered if "." not in name]:
        registered[name] = watched(registered[name])


def _watch_torch():
    table = importlib.import_module("probe.adapters.torch.describe.describe")._TABLE
    importlib.import_module("probe.adapters.torch")

    def watched(function):
        def describe(module, call):
            if type(module).__module__.startswith("torch.nn.modules."):
                _note(
                    "torch",
                    module,
                    call.arguments,
                    str(call.inputs[0].dtype) if call.inputs else "float32",
                    {},
                )
            return function(module, call)

        return describe

    for name, entry in list(table.items()):
        table[name] = replace(entry, describe=watched(entry.describe))


def _watch_onnx():
    table = importlib.import_module("probe.adapters.onnx.describe")._TABLE
    schemas = importlib.import_module("onnx.defs")
    importlib.import_module("probe.adapters.onnx")
    known = {schema.name: schema for schema in schemas.get_all_schemas() if schema.domain == ""}

    def watched(kind, function):
        @functools.wraps(function)
        def describe(build, *values):
            seen, schema = _values["onnx"][kind], known.get(kind)
            # onnx has no schema of ONNX Runtime's own operators
            names = build.attributes if schema is None else schema.attributes
            for name in names:
                seen[name].add(_said(build.attributes.get(name, "left out")))
                seen[name] |= {"left out"} if schema is None else set()
            inputs = () if schema is None else schema.inputs
            for formal, value in zip(inputs, (*values, *[None] * 9), strict=False):
                if formal.option == schemas.OpSchema.FormalParameterOption.Optional:
                    seen[formal.name].add(value is not None)
            seen["opset"].add(build.opset)
            seen["dtype"].add(build.outputs[0].dtype.name)
            return function(build, *values)

        return describe

    for kind, function in list(table.items()):
        table[kind] = watched(kind, function)


def pytest_collection_finish(session):
    _watch_keras()
    _watch_torch()
    _watch_onnx()
    roads = [importlib.import_module(f"probe.{name}") for name in ("api", "verdict.batch_chunks")]
    judge = roads[0].judge

    def judged(capture, *args, **options):
        report = judge(capture, *args, **options)
        _parties[report.kind] |= set(report.outputs)
        return report

    for road in roads:
        road.judge = judged


def pytest_sessionfinish(session):
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for package, classes in _values.items():
        for name, options in classes.items():
            entry = known.setdefault(package, {}).setdefault(
                name, {"options": [], "dtypes": [], "parties": []}
            )
            tried = {
                option
                for option, values in options.items()
                if len(values) > 1 and option != "dtype"
            }
            entry["options"] = sorted({*entry["options"], *tried})
            entry["dtypes"] = sorted({*entry["dtypes"], *options["dtype"]})
            entry["parties"] = sorted(
                {*entry["parties"], *_parties[name]} - {"expected", "framework"}
            )
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
