"""Keras 2 and QKeras .h5 files, and Keras 3 .keras files."""

import base64
import io
import itertools
import json
import marshal
import struct
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
from hostile import bases
from hostile.bases import (
    BIAS,
    KERNEL,
    dense,
    dense3,
    functional2,
    keras2,
    keras3,
    layer2,
    layer3,
    node,
    sequential2,
    sequential3,
    weights3,
)
from hostile.case import AGREES_OR_REFUSED, ANY, LISTED, REFUSED, Place, Run, add
from hostile.healthy import qdense

Edit = Callable[[h5py.File], None]


def _h5(
    kind: str,
    slug: str,
    build: Callable[[Place], None],
    allowed=REFUSED,
    listed=LISTED,
    format: str = "h5",
) -> None:
    add(format, kind, slug, build, Run(("m.h5",), listed), Run(("m.h5", "--all"), allowed))


def _keras(
    kind: str, slug: str, build: Callable[[Place], None], allowed=REFUSED, listed=LISTED
) -> None:
    add("keras", kind, slug, build, Run(("m.keras",), listed), Run(("m.keras", "--all"), allowed))


def _edited(
    kind: str, slug: str, edit: Callable[[Place, h5py.File], None], allowed=REFUSED, listed=LISTED
) -> None:
    _h5(
        kind,
        slug,
        lambda place: keras2(place.work / "m.h5", edit=lambda file: edit(place, file)),
        allowed,
        listed,
    )


def _config(
    kind: str,
    slug: str,
    config: Callable[[Place], object],
    allowed=REFUSED,
    listed=LISTED,
    weights=None,
) -> None:
    _h5(
        kind,
        slug,
        lambda place: keras2(place.work / "m.h5", config(place), weights),
        allowed,
        listed,
    )


def _config3(
    kind: str,
    slug: str,
    config: Callable[[Place], object],
    allowed=REFUSED,
    listed=LISTED,
    weights: bytes | None = None,
) -> None:
    _keras(
        kind,
        slug,
        lambda place: keras3(place.work / "m.keras", config(place), weights),
        allowed,
        listed,
    )


# Code


def _bytecode(place: Place) -> bytes:
    code = compile(f"lambda x: open({place.marker!r}, 'w') and x", "<evil>", "eval").co_consts[0]
    return marshal.dumps(code)


def _lambda2(place: Place) -> dict:
    function = [base64.b64encode(_bytecode(place)).decode(), None, None]
    return layer2(
        "Lambda",
        "evil",
        function=function,
        function_type="lambda",
        module="__main__",
        output_shape=None,
        output_shape_type="raw",
        output_shape_module=None,
        arguments={},
    )


def _lambda3(place: Place) -> dict:
    code = base64.b64encode(_bytecode(place)).decode()
    function = {
        "class_name": "__lambda__",
        "config": {"code": code, "defaults": None, "closure": None},
    }
    return layer3("Lambda", "evil", function=function, arguments={})


def _op_lambda(function: str, **more: object) -> Callable[[Place], dict]:
    """A TFOpLambda on the layer before; `{marker}` and `{canary}` in texts."""

    def make(place: Place) -> dict:
        texts = {
            key: value.format(marker=place.marker, canary=place.canary, url=place.url)
            if isinstance(value, str)
            else value
            for key, value in more.items()
        }
        entry = {
            "class_name": "TFOpLambda",
            "config": {"name": "evil", "trainable": True, "dtype": "float32", "function": function},
        }
        return functional2(
            [node(dense(), ["x", 0, 0, {}]), node(entry, ["dense", 0, 0, texts])], [["dense", 0, 0]]
        )

    return make


_config("code", "lambda-bytecode", lambda place: sequential2(dense(), _lambda2(place)))
_config("code", "lambda-first", lambda place: sequential2(_lambda2(place), dense()))
_config(
    "code",
    "lambda-output-shape",
    lambda place: sequential2(
        dense(),
        {
            **_lambda2(place),
            "config": {
                **_lambda2(place)["config"],
                "function": "relu",
                "function_type": "function",
                "output_shape": [base64.b64encode(_bytecode(place)).decode(), None, None],
                "output_shape_type": "lambda",
            },
        },
    ),
)
_config(
    "code",
    "lambda-function-by-name",
    lambda place: sequential2(
        dense(),
        layer2("Lambda", "evil", function="os.system", function_type="function", module="os"),
    ),
)
_config(
    "code",
    "lambda-in-time-distributed",
    lambda place: sequential2(
        layer2("TimeDistributed", "t", layer=_lambda2(place)), shape=(None, 2, 4)
    ),
    weights={},
)
_config(
    "code",
    "lambda-in-bidirectional",
    lambda place: sequential2(
        layer2("Bidirectional", "t", layer=_lambda2(place), merge_mode="concat"), shape=(None, 2, 4)
    ),
    weights={},
)
_config(
    "code",
    "lambda-in-rnn-cell",
    lambda place: sequential2(layer2("RNN", "t", cell=[_lambda2(place)]), shape=(None, 2, 4)),
    weights={},
)
_config(
    "code",
    "lambda-in-nested-model",
    lambda place: sequential2(sequential2(dense(), _lambda2(place))),
)
_config("code", "lambda-ten-models-deep", lambda place: _nested(_lambda2(place), 10))
_config(
    "code", "lambda-as-activation", lambda place: sequential2(dense(activation=_lambda2(place)))
)
_config(
    "code",
    "lambda-as-regularizer",
    lambda place: sequential2(dense(kernel_regularizer=_lambda2(place))),
)
_config(
    "code",
    "lambda-as-initializer",
    lambda place: sequential2(dense(kernel_initializer=_lambda2(place))),
)
_config(
    "code",
    "lambda-as-constraint",
    lambda place: sequential2(dense(kernel_constraint=_lambda2(place))),
)
_config("code", "lambda-as-dtype", lambda place: sequential2(dense(dtype=_lambda2(place))))
_config(
    "code",
    "lambda-named-dense",
    lambda place: sequential2({**_lambda2(place), "class_name": "keras.layers.Lambda"}),
)
_config(
    "code",
    "lambda-qualified",
    lambda place: sequential2({**_lambda2(place), "class_name": "Custom>Lambda"}),
)
_config(
    "code",
    "lambda-lowercase-escape",
    lambda place: json.dumps(sequential2(dense(), _lambda2(place))).replace(
        '"Lambda"', '"\\u004cambda"'
    ),
)
_config(
    "code",
    "lambda-second-of-two-keys",
    lambda place: json.dumps(sequential2(dense(), _lambda2(place))).replace(
        '"class_name": "Lambda"', '"class_name": "Activation", "class_name": "Lambda"'
    ),
)
_config("code", "lambda-in-a-keras-3-entry", lambda place: sequential2(dense(), _lambda3(place)))
_config(
    "code",
    "class-of-os",
    lambda place: sequential2(
        dense(), layer2("os>system", "evil", command=f"touch '{place.marker}'")
    ),
)
_config(
    "code",
    "module-of-os",
    lambda place: sequential2(
        dense(),
        {
            "module": "os",
            "class_name": "system",
            "config": {"command": f"touch '{place.marker}'"},
            "registered_name": None,
        },
    ),
)
_config(
    "code",
    "module-of-subprocess",
    lambda place: sequential2(
        dense(),
        {
            "module": "subprocess",
            "class_name": "Popen",
            "config": {"args": ["touch", place.marker]},
            "registered_name": "Popen",
        },
    ),
)
_config(
    "code",
    "module-beside",
    lambda place: (
        (place.work / "evil.py").write_text(f"open({place.marker!r}, 'w')\n"),
        sequential2(
            dense(),
            {"module": "evil", "class_name": "Evil", "config": {}, "registered_name": "Evil"},
        ),
    )[1],
)
_config("code", "activation-of-os", lambda place: sequential2(dense(activation="os.system")))
_config(
    "code",
    "activation-as-function",
    lambda place: sequential2(
        dense(
            activation={
                "module": "os",
                "class_name": "function",
                "config": "system",
                "registered_name": "system",
            }
        )
    ),
)
_config(
    "code",
    "activation-quantizer-text",
    lambda place: sequential2(
        dense(activation=f"quantized_bits(__import__('os').system(\"touch '{place.marker}'\"))")
    ),
)
_config("code", "custom-registered", lambda place: sequential2(layer2("Evil>Dense", "evil")))
_config(
    "code",
    "tf-module-layer",
    lambda place: sequential2(dense(), {"class_name": "ModuleWrapper", "config": {"module": "os"}}),
)
_config(
    "code",
    "tf-operation-write-file",
    _op_lambda("io.write_file", filename="{marker}", contents="x"),
)
_config("code", "tf-operation-py-function", _op_lambda("py_function", func="os.system"))
_config("code", "tf-operation-numpy-function", _op_lambda("numpy_function", func="os.system"))
_config("code", "tf-operation-print", _op_lambda("print", output_stream="file://{marker}"))
_config(
    "code", "tf-operation-load-library", _op_lambda("load_op_library", library_filename="./net.so")
)
_config("code", "tf-operation-gfile-copy", _op_lambda("io.gfile.copy", dst="{marker}"))
_config("code", "tf-operation-mkdir", _op_lambda("io.gfile.makedirs", path="{marker}"))
_config(
    "code", "tf-operation-save", _op_lambda("raw_ops.WriteFile", filename="{marker}", contents="x")
)
_config("code", "tf-operation-summary", _op_lambda("summary.create_file_writer", logdir="{marker}"))
_config("code", "tf-operation-dunder", _op_lambda("math.__loader__.load_module"))
_config("code", "tf-operation-eval", _op_lambda("compat.v1.resource_loader.sys.modules"))
_config("code", "tf-operation-while", _op_lambda("while_loop", cond="os.system", body="os.system"))
_config("read", "tf-operation-read-file", _op_lambda("io.read_file", filename="{canary}"))
_config("read", "tf-operation-decode-raw", _op_lambda("io.matching_files", pattern="{canary}"))
_config("read", "tf-operation-load", _op_lambda("saved_model.load", export_dir="{canary}"))
_config("hang", "tf-operation-sleep", _op_lambda("raw_ops.StageSize", container="a"))
_config3("code", "lambda-bytecode", lambda place: sequential3(dense3(), _lambda3(place)))
_config3(
    "code",
    "lambda-class-method",
    lambda place: sequential3(
        dense3(),
        layer3(
            "Lambda",
            "evil",
            function={
                "module": "os",
                "class_name": "function",
                "config": "system",
                "registered_name": "system",
            },
        ),
    ),
)
_config3(
    "code", "lambda-nested", lambda place: sequential3({**sequential3(dense3(), _lambda3(place))})
)
_config3(
    "code",
    "lambda-as-activation",
    lambda place: sequential3(
        dense3(
            activation={
                "class_name": "__lambda__",
                "config": {
                    "code": base64.b64encode(_bytecode(place)).decode(),
                    "defaults": None,
                    "closure": None,
                },
            }
        )
    ),
)
for module, name, config in (
    ("os", "system", {"command": "touch ../MARKER"}),
    ("subprocess", "Popen", {"args": ["touch", "../MARKER"]}),
    ("builtins", "exec", {}),
    ("builtins", "open", {"file": "../MARKER", "mode": "w"}),
    ("pathlib", "Path", {}),
    (
        "keras.src.utils.file_utils",
        "get_file",
        {"fname": "MARKER", "origin": "file:///etc/hostname", "cache_dir": ".."},
    ),
    ("keras.src.saving.saving_lib", "load_model", {"filepath": "x"}),
    ("keras.saving", "load_model", {"filepath": "../canary.h5"}),
    ("keras.utils", "get_file", {"fname": "MARKER", "origin": "http://127.0.0.1:1/"}),
    ("tensorflow", "keras.layers.Lambda", {}),
    ("tensorflow.io", "write_file", {"filename": "../MARKER", "contents": "x"}),
    ("torch", "load", {"f": "x"}),
    ("pickle", "loads", {"data": "x"}),
    ("numpy", "load", {"file": "../canary.npy"}),
    ("evil", "Evil", {}),
    ("__main__", "Evil", {}),
    ("", "Evil", {}),
    (None, "Evil", {}),
    ("keras.layers.core.lambda_layer", "Lambda", {}),
    ("keras.src.layers", "TorchModuleWrapper", {}),
    ("keras.layers", "TFSMLayer", {"filepath": "../canary.h5"}),
    ("keras.layers", "JaxLayer", {}),
    ("keras.layers", "FlaxLayer", {}),
    ("keras.src.export.tfsm_layer", "TFSMLayer", {"filepath": "x"}),
    (
        "keras.src.legacy.saving.legacy_h5_format",
        "load_model_from_hdf5",
        {"filepath": "../canary.h5"},
    ),
):
    slug = "".join(c if c.isalnum() else "-" for c in f"module-{module}-{name}".lower())
    _config3(
        "code",
        slug,
        lambda place, module=module, name=name, config=config: (
            (place.work / "evil.py").write_text(f"open({place.marker!r}, 'w')\n"),
            sequential3(dense3(), layer3(name, "evil", module, f"Evil>{name}", **config)),
        )[1],
    )
    if slug in (
        "module-os-system",
        "module-evil-evil",
        "module-keras-saving-load-model",
        "module-builtins-open",
    ):
        _config3(
            "code",
            f"initializer-{slug}",
            lambda place, module=module, name=name, config=config: (
                (place.work / "evil.py").write_text(f"open({place.marker!r}, 'w')\n"),
                sequential3(
                    dense3(
                        kernel_initializer={
                            "module": module,
                            "class_name": name,
                            "config": config,
                            "registered_name": None,
                        }
                    )
                ),
            )[1],
        )
        _config3(
            "code",
            f"whole-model-{slug}",
            lambda place, module=module, name=name, config=config: (
                (place.work / "evil.py").write_text(f"open({place.marker!r}, 'w')\n"),
                {**sequential3(dense3()), "module": module, "class_name": name, "config": config},
            )[1],
        )
_config3(
    "code",
    "torch-module-wrapper-pickle",
    lambda place: sequential3(
        layer3(
            "TorchModuleWrapper",
            "evil",
            module={
                "class_name": "__bytes__",
                "config": base64.b64encode(
                    bases.pickle_(
                        bases.call_(
                            bases.name_("builtins", "open"),
                            bases.text_(place.marker),
                            bases.text_("w"),
                        )
                    )
                ).decode(),
            },
        )
    ),
)
_keras(
    "code",
    "assets-with-module",
    lambda place: bases.zipped(
        place.work / "m.keras",
        {
            **bases.members3(),
            "assets/evil.py": f"open({place.marker!r}, 'w')".encode(),
            "keras/__init__.py": f"open({place.marker!r}, 'w')".encode(),
        }.items(),
    ),
    AGREES_OR_REFUSED,
)
_keras(
    "code",
    "shadowing-modules-beside",
    lambda place: (
        [
            (place.work / f"{name}.py").write_text(f"open({place.marker!r}, 'w')\n")
            for name in ("numpy", "tensorflow", "json", "sitecustomize", "h5py", "click")
        ],
        keras3(place.work / "m.keras"),
    )[1],
    AGREES_OR_REFUSED,
)
_keras(
    "code",
    "compile-config-loss",
    lambda place: keras3(
        place.work / "m.keras",
        {
            **sequential3(dense3()),
            "compile_config": {
                "loss": {
                    "module": "os",
                    "class_name": "function",
                    "config": "system",
                    "registered_name": "system",
                },
                "optimizer": _lambda3(place),
            },
        },
    ),
    AGREES_OR_REFUSED,
)
_h5(
    "code",
    "training-config-loss",
    lambda place: keras2(
        place.work / "m.h5",
        edit=lambda file: file.attrs.create(
            "training_config",
            json.dumps(
                {
                    "loss": _lambda2(place),
                    "optimizer_config": _lambda2(place),
                    "metrics": [_lambda2(place)],
                }
            ),
        ),
    ),
    AGREES_OR_REFUSED,
)
_h5(
    "code",
    "pickled-dataset",
    lambda place: keras2(
        place.work / "m.h5",
        edit=lambda file: file["model_weights"].attrs.create(
            "evil",
            np.void(
                bases.pickle_(
                    bases.call_(
                        bases.name_("builtins", "open"), bases.text_(place.marker), bases.text_("w")
                    )
                )
            ),
        ),
    ),
    AGREES_OR_REFUSED,
)
for slug, quantizer in {
    "quantizer-text-call": "quantized_bits(open('../MARKER', 'w'))",
    "quantizer-text-import": "__import__('os').system('touch ../MARKER')",
    "quantizer-lambda": "lambda x: open('../MARKER', 'w')",
    "quantizer-class-of-os": {"class_name": "os.system", "config": {"command": "touch ../MARKER"}},
    "quantizer-module": {
        "module": "os",
        "class_name": "system",
        "config": {"command": "touch ../MARKER"},
        "registered_name": None,
    },
    "quantizer-eval": {
        "class_name": "quantized_bits",
        "config": {"bits": "__import__('os').system('touch ../MARKER')", "integer": 0},
    },
    "quantizer-alpha-text": {
        "class_name": "quantized_bits",
        "config": {"bits": 4, "integer": 0, "alpha": "open('../MARKER', 'w')"},
    },
}.items():
    _h5(
        "code",
        slug,
        lambda place, quantizer=quantizer: keras2(
            place.work / "m.h5",
            sequential2(qdense(kernel_quantizer=quantizer)),
            {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
        ),
        # QKeras reads the text of an argument as a name, and calls nothing.
        AGREES_OR_REFUSED if slug == "quantizer-text-call" else REFUSED,
        format="qkeras",
    )
_h5(
    "code",
    "activation-text-call",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(
            {
                "class_name": "QActivation",
                "config": {"name": "q", "activation": "open('../MARKER', 'w')"},
            }
        ),
        {},
    ),
    format="qkeras",
)
_h5(
    "code",
    "activation-text-import",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(
            {
                "class_name": "QActivation",
                "config": {
                    "name": "q",
                    "activation": "quantized_relu(__import__('os').system('touch ../MARKER'))",
                },
            }
        ),
        {},
    ),
    AGREES_OR_REFUSED,
    format="qkeras",
)
_h5(
    "code",
    "adaptive-activation-module",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(
            {
                "class_name": "QAdaptiveActivation",
                "config": {"name": "q", "activation": "os.system", "total_bits": 4},
            }
        ),
        {},
    ),
    format="qkeras",
)
for bits in (-1, 0, 10**9, 1e308, float("nan"), float("inf"), None, "4", [4], True):
    slug = "".join(c if c.isalnum() else "-" for c in f"bits-{bits}".lower())
    _h5(
        "malformed",
        slug,
        lambda place, bits=bits: keras2(
            place.work / "m.h5",
            sequential2(
                qdense(
                    kernel_quantizer={
                        "class_name": "quantized_bits",
                        "config": {"bits": bits, "integer": 0, "alpha": 1.0},
                    }
                )
            ),
            {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
        ),
        ANY,
        format="qkeras",
    )
_h5(
    "malformed",
    "quantizer-missing-class",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(qdense(kernel_quantizer={"config": {}})),
        {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
    ),
    format="qkeras",
)
_h5(
    "malformed",
    "quantizer-unknown",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(qdense(kernel_quantizer={"class_name": "quantized_agree", "config": {}})),
        {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
    ),
    format="qkeras",
)
_h5(
    "malformed",
    "quantizer-unknown-option",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(
            qdense(kernel_quantizer={"class_name": "quantized_bits", "config": {"agree": 1}})
        ),
        {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
    ),
    format="qkeras",
)
_h5(
    "malformed",
    "layer-unknown",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2({"class_name": "QAgree", "config": qdense()["config"]}),
        {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
    ),
    format="qkeras",
)
_h5(
    "hang",
    "quantizer-in-quantizer",
    lambda place: keras2(
        place.work / "m.h5",
        sequential2(qdense(kernel_quantizer=_deep_dict(400))),
        {"q": {"q/kernel:0": KERNEL, "q/bias:0": BIAS}},
    ),
    format="qkeras",
)


def _deep_dict(depth: int) -> dict:
    value: dict = {"class_name": "quantized_bits", "config": {"bits": 4, "integer": 0}}
    for _ in range(depth):
        value = {"class_name": "quantized_bits", "config": {"bits": value, "integer": 0}}
    return value


def _nested(layer: dict, depth: int) -> dict:
    for i in range(depth):
        layer = sequential2(layer)
        layer["config"]["name"] = f"s{i}"
    return layer


# A private file read


def _replaced(file: h5py.File, make: Callable[[h5py.Group, str], None]) -> None:
    group = file["model_weights/dense/dense"]
    del group["kernel:0"]
    make(group, "kernel:0")


def _virtual(group: h5py.Group, name: str, path: str, dataset: str = "secret") -> None:
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[...] = h5py.VirtualSource(path, dataset, (4, 3), dtype="f4")
    group.create_virtual_dataset(name, layout)


def _pattern(group: h5py.Group, name: str) -> None:
    """A virtual dataset whose sources are named by a pattern, block by block."""
    space = h5py.h5s.create_simple((4, 3), (h5py.h5s.UNLIMITED, 3))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (4, 3), (4, 3))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_virtual(space, b"../canary%b.h5", b"secret", h5py.h5s.create_simple((4, 3)))
    h5py.h5d.create(
        group.id,
        name.encode(),
        h5py.h5t.NATIVE_FLOAT,
        h5py.h5s.create_simple((4, 3), (h5py.h5s.UNLIMITED, 3)),
        made,
    )


_WAYS: dict[str, Callable[[Place, h5py.Group, str], None]] = {
    "external-storage": lambda place, group, name: group.create_dataset(
        name, (4, 3), "f4", external=[(str(place.canary_numbers), 0, 48)]
    ),
    "external-storage-relative": lambda place, group, name: group.create_dataset(
        name, (4, 3), "f4", external=[("../canary.bin", 0, h5py.h5f.UNLIMITED)]
    ),
    "virtual": lambda place, group, name: _virtual(group, name, str(place.canary_hdf5)),
    "virtual-relative": lambda place, group, name: _virtual(group, name, "../canary.h5"),
    "external-link": lambda place, group, name: group.__setitem__(
        name, h5py.ExternalLink(str(place.canary_hdf5), "/secret")
    ),
    "external-link-relative": lambda place, group, name: group.__setitem__(
        name, h5py.ExternalLink("../canary.h5", "/secret")
    ),
}
for slug, way in _WAYS.items():
    _edited(
        "read",
        slug,
        lambda place, file, way=way: _replaced(file, lambda group, name: way(place, group, name)),
        REFUSED,
        REFUSED,
    )
    _keras(
        "read",
        f"weights-{slug}",
        lambda place, way=way: keras3(
            place.work / "m.keras",
            weights=weights3(
                lambda file: (
                    file["layers/dense/vars"].__delitem__("0"),
                    way(place, file["layers/dense/vars"], "0"),
                )
            ),
        ),
        REFUSED,
    )
_edited(
    "read",
    "external-link-of-a-group",
    lambda place, file: (
        file["model_weights/dense"].__delitem__("dense"),
        file["model_weights/dense"].__setitem__(
            "dense", h5py.ExternalLink(str(place.canary_hdf5), "/")
        ),
    ),
    REFUSED,
    REFUSED,
)
_edited(
    "read",
    "external-link-of-the-weights",
    lambda place, file: (
        file.__delitem__("model_weights"),
        file.__setitem__("model_weights", h5py.ExternalLink(str(place.canary_hdf5), "/")),
    ),
    REFUSED,
    REFUSED,
)
_edited(
    "read",
    "external-link-unused",
    lambda place, file: file.__setitem__(
        "elsewhere", h5py.ExternalLink(str(place.canary_hdf5), "/secret")
    ),
    AGREES_OR_REFUSED,
)
_edited(
    "read",
    "external-link-deep-unused",
    lambda place, file: file.__setitem__(
        "a/b/c/d/e/f", h5py.ExternalLink(str(place.canary_hdf5), "/secret")
    ),
    AGREES_OR_REFUSED,
)
_edited(
    "read",
    "soft-link-to-external",
    lambda place, file: (
        file.__setitem__("elsewhere", h5py.ExternalLink(str(place.canary_hdf5), "/secret")),
        _replaced(file, lambda group, name: group.__setitem__(name, h5py.SoftLink("/elsewhere"))),
    ),
    REFUSED,
    REFUSED,
)
_edited(
    "read",
    "soft-link-inside",
    lambda place, file: (
        file.__setitem__("kernel", KERNEL),
        _replaced(file, lambda group, name: group.__setitem__(name, h5py.SoftLink("/kernel"))),
    ),
    AGREES_OR_REFUSED,
)
_edited(
    "read",
    "soft-link-dangling",
    lambda place, file: _replaced(
        file, lambda group, name: group.__setitem__(name, h5py.SoftLink("/nobody"))
    ),
)
_edited(
    "read",
    "hard-link-inside",
    lambda place, file: _replaced(
        file, lambda group, name: group.__setitem__(name, file.create_dataset("k", data=KERNEL))
    ),
    AGREES_OR_REFUSED,
)
_edited(
    "read",
    "reference-dataset",
    lambda place, file: _replaced(
        file, lambda group, name: group.create_dataset(name, (4, 3), h5py.ref_dtype)
    ),
)
_edited(
    "read",
    "weight-name-climbs",
    lambda place, file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", np.array([b"../../../../canary", b"dense/bias:0"])
    ),
)
_edited(
    "read",
    "weight-name-absolute",
    lambda place, file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", np.array([b"/model_weights/dense/dense/kernel:0", b"dense/bias:0"])
    ),
    AGREES_OR_REFUSED,
)
_edited(
    "read",
    "virtual-printf-pattern",
    lambda place, file: _replaced(file, _pattern),
    REFUSED,
    REFUSED,
)
_h5(
    "read",
    "user-block-and-virtual-of-itself",
    lambda place: keras2(
        place.work / "m.h5",
        edit=lambda file: (
            file.__setitem__("k", KERNEL),
            _replaced(file, lambda group, name: _virtual(group, name, ".", "k")),
        ),
    ),
    AGREES_OR_REFUSED,
)

for kind, more in {
    "StringLookup": {"mask_token": None},
    "IntegerLookup": {"mask_token": None},
    "TextVectorization": {"standardize": None, "split": None},
    "Hashing": None,
}.items():
    if more is None:
        continue
    integer = kind == "IntegerLookup"
    for slug, where in {
        "path": "{canary}",
        "relative": "../canary.txt",
        "file-url": "file://{canary}",
        "url": "{url}",
        "proc": "/proc/self/environ",
    }.items():
        _config(
            "read",
            f"{kind.lower()}-{slug}",
            lambda place, kind=kind, more=more, where=where, integer=integer: sequential2(
                layer2(
                    kind,
                    "v",
                    **{
                        "vocabulary": where.format(canary=place.canary, url=place.url),
                        "max_tokens": None,
                        "output_mode": "int",
                        **more,
                    },
                ),
                shape=(None, 1),
                dtype="int64" if integer else "string",
            ),
            weights={},
        )
        _config3(
            "read",
            f"{kind.lower()}-{slug}",
            lambda place, kind=kind, more=more, where=where, integer=integer: sequential3(
                layer3(
                    kind,
                    "v",
                    **{
                        "vocabulary": where.format(canary=place.canary, url=place.url),
                        "max_tokens": None,
                        "output_mode": "int",
                        **more,
                    },
                ),
                shape=(None, 1),
                dtype="int64" if integer else "string",
            ),
            weights=weights3(arrays={}),
        )
_keras(
    "read",
    "vocabulary-in-assets-climbs",
    lambda place: bases.zipped(
        place.work / "m.keras",
        {
            **bases.members3(
                sequential3(
                    layer3("StringLookup", "string_lookup", vocabulary=None, mask_token=None),
                    shape=(None, 1),
                    dtype="string",
                ),
                weights3(arrays={}),
            ),
            "assets/../../../MARKER": b"x",
            "assets/layers/string_lookup/vocabulary.txt": b"a\nb\n",
        }.items(),
    ),
    ANY,
)
for slug, name in {
    "climbs": "../MARKER",
    "climbs-far": "../../../../../../../../tmp/MARKER",
    "absolute": "{marker}",
    "backslashes": "..\\..\\MARKER",
    "inside-climbs": "assets/../../MARKER",
}.items():
    _keras(
        "read",
        f"zip-{slug}",
        lambda place, name=name: bases.zipped(
            place.work / "m.keras",
            {**bases.members3(), name.format(marker=place.marker): b"x"}.items(),
        ),
        AGREES_OR_REFUSED,
    )


def _zip_link(place: Place) -> None:
    link = zipfile.ZipInfo("model.weights.h5")
    link.external_attr = 0o120777 << 16
    link.create_system = 3
    members = bases.members3()
    del members["model.weights.h5"]
    bases.zipped(
        place.work / "m.keras", [*members.items(), (link, str(place.canary_hdf5).encode())]
    )


_keras("read", "zip-symbolic-link", _zip_link)
_config(
    "read",
    "embedding-weights-path",
    lambda place: sequential2(dense(weights=str(place.canary_array))),
)
_config(
    "read",
    "initializer-path",
    lambda place: sequential2(
        dense(
            kernel_initializer={
                "class_name": "Constant",
                "config": {"value": str(place.canary_array)},
            }
        )
    ),
    AGREES_OR_REFUSED,
)
_config3(
    "read",
    "application-weights-url",
    lambda place: sequential3(layer3("ResNet50", "evil", "keras.applications", weights=place.url)),
)
_config3("read", "lora-path", lambda place: sequential3(dense3(lora_path=str(place.canary_hdf5))))
_config3(
    "read",
    "discretization-path",
    lambda place: sequential3(layer3("Discretization", "v", bin_boundaries=str(place.canary))),
    weights=weights3(arrays={}),
)
_config3(
    "read",
    "normalization-path",
    lambda place: sequential3(
        layer3("Normalization", "v", axis=-1, mean=str(place.canary), variance=str(place.canary))
    ),
    weights=weights3(arrays={}),
)
_config(
    "read",
    "tokenizer-of-nlp",
    lambda place: sequential2(
        {
            "class_name": "keras_nlp>WordPieceTokenizer",
            "config": {"name": "v", "vocabulary": str(place.canary)},
        },
        shape=(None, 1),
        dtype="string",
    ),
    weights={},
)

# Hangs


def _cycle(place: Place, file: h5py.File) -> None:
    file["model_weights/again"] = file["/"]


def _siblings(place: Place, file: h5py.File) -> None:
    """A tree of 40 groups with 2^40 paths."""
    groups = [file.create_group(f"deep/g{i}") for i in range(40)]
    for above, below in itertools.pairwise(groups):
        above["a"], above["b"] = below, below


def _siblings_in_weights(place: Place, file: h5py.File) -> None:
    groups = [file["model_weights/dense"], *(file.create_group(f"deep/g{i}") for i in range(40))]
    for above, below in itertools.pairwise(groups):
        above["a"], above["b"] = below, below


def _deep(place: Place, file: h5py.File) -> None:
    group = file.create_group("deep")
    for _ in range(3_000):
        group = group.create_group("g")


_edited("hang", "group-holds-the-root", _cycle, AGREES_OR_REFUSED)
_edited("hang", "repeated-children", _siblings, AGREES_OR_REFUSED)
_edited("hang", "repeated-children-in-weights", _siblings_in_weights, AGREES_OR_REFUSED)
_edited("hang", "three-thousand-deep", _deep, AGREES_OR_REFUSED)
_edited(
    "hang",
    "soft-links-in-a-circle",
    lambda place, file: (
        file.__setitem__("a", h5py.SoftLink("/b")),
        file.__setitem__("b", h5py.SoftLink("/a")),
        _replaced(file, lambda group, name: group.__setitem__(name, h5py.SoftLink("/a"))),
    ),
)
_edited(
    "hang",
    "soft-link-to-the-root",
    lambda place, file: file.__setitem__("model_weights/dense/up", h5py.SoftLink("/")),
    AGREES_OR_REFUSED,
)
_edited(
    "hang",
    "twenty-thousand-groups",
    lambda place, file: [file.create_group(f"many/g{i}") for i in range(20_000)],
    AGREES_OR_REFUSED,
)
_edited(
    "hang",
    "weights-hold-themselves",
    lambda place, file: (
        file["model_weights"].__delitem__("dense"),
        file["model_weights"].__setitem__("dense", file["model_weights"]),
    ),
)
_edited(
    "hang",
    "layer-names-a-million",
    lambda place, file: file["model_weights"].attrs.__setitem__(
        "layer_names", np.array([b"dense"] * 10_000)
    ),
    AGREES_OR_REFUSED,
)
for slug, weights_edit in {
    "repeated-children": _siblings,
    "group-holds-the-root": lambda place, file: file.__setitem__("layers/again", file["/"]),
    "deep": _deep,
}.items():
    _keras(
        "hang",
        f"weights-{slug}",
        lambda place, weights_edit=weights_edit: keras3(
            place.work / "m.keras", weights=weights3(lambda file: weights_edit(place, file))
        ),
        AGREES_OR_REFUSED,
    )


def _addr_cycle(place: Place) -> None:
    """A B-tree of the old format whose child is itself."""
    keras2(place.work / "m.h5")
    content = bytearray((place.work / "m.h5").read_bytes())
    at = content.index(b"TREE")
    content[at + 5] = 1  # a node of level 1 that points at what was its leaf: itself
    content[at + 32 : at + 40] = struct.pack("<Q", at)
    (place.work / "m.h5").write_bytes(content)


_h5("hang", "tree-node-is-its-own-child", _addr_cycle, REFUSED, REFUSED)
_h5("hang", "sibling-is-itself", lambda place: _tree_sibling(place), ANY)


def _tree_sibling(place: Place) -> None:
    keras2(place.work / "m.h5")
    content = bytearray((place.work / "m.h5").read_bytes())
    at = content.index(b"TREE")
    content[at + 8 : at + 24] = struct.pack("<QQ", at, at)
    (place.work / "m.h5").write_bytes(content)


def _loop2(*edges: tuple[str, str]) -> dict:
    """Dense layers whose inbound nodes are the edges given."""
    names = sorted({name for edge in edges for name in edge if name != "x"})
    inbound = {
        name: [[source, 0, 0, {}] for source, target in edges if target == name] for name in names
    }
    return functional2([node(dense(name), *inbound[name]) for name in names], [[names[-1], 0, 0]])


_config("hang", "own-input", lambda place: _loop2(("d", "d")))
_config("hang", "two-in-a-circle", lambda place: _loop2(("a", "b"), ("b", "a")))
_config("hang", "circle-beside-the-way", lambda place: _loop2(("x", "c"), ("a", "b"), ("b", "a")))
_config(
    "hang",
    "needs-a-second-node",
    lambda place: functional2(
        [node(dense(), ["x", 0, 0, {}]), node(dense("e"), ["dense", 9, 0, {}])], [["e", 0, 0]]
    ),
)
_config(
    "hang",
    "tensor-index-beyond",
    lambda place: functional2([node(dense(), ["x", 0, 9, {}])], [["dense", 0, 0]]),
)
_config("hang", "needs-nobody", lambda place: _loop2(("nobody", "d")))
_config(
    "hang",
    "output-of-nobody",
    lambda place: functional2([node(dense(), ["x", 0, 0, {}])], [["nobody", 0, 0]]),
)
_config3("hang", "own-input", lambda place: _functional3([("d", "d")]))
_config3("hang", "two-in-a-circle", lambda place: _functional3([("b", "a"), ("a", "b")]))
_config3("hang", "needs-nobody", lambda place: _functional3([("nobody", "a")]))


def _functional3(edges: list[tuple[str, str]]) -> dict:
    def tensor(name: str) -> dict:
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None, 4], "dtype": "float32", "keras_history": [name, 0, 0]},
        }

    first = {**sequential3()["config"]["layers"][0], "name": "x", "inbound_nodes": []}
    layers = [
        {
            **dense3(target, units=4),
            "name": target,
            "inbound_nodes": [{"args": [tensor(source)], "kwargs": {}}],
        }
        for source, target in edges
    ]
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": [first, *layers],
            "input_layers": [["x", 0, 0]],
            "output_layers": [[edges[-1][1], 0, 0]],
        },
    }


def _deep_json(depth: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * depth + "1" + closing * depth


_config("hang", "config-nested-100000", lambda place: _deep_json(100_000), REFUSED, REFUSED)
_config(
    "hang",
    "config-lists-nested-100000",
    lambda place: _deep_json(100_000, "[", "]"),
    REFUSED,
    REFUSED,
)
_config("hang", "models-nested-300", lambda place: _nested(dense(), 300))
_config(
    "hang", "models-nested-90", lambda place: _nested(dense(), 90), AGREES_OR_REFUSED, weights=None
)
_config("hang", "time-distributed-nested-200", lambda place: _wrapped(200), weights={})
_config3(
    "hang", "config-nested-100000", lambda place: _deep_json(100_000).encode(), REFUSED, REFUSED
)
_config3("hang", "models-nested-300", lambda place: _nested3(300))
_config(
    "hang",
    "ten-thousand-layers",
    lambda place: sequential2(
        *(layer2("Flatten", f"f{i}", data_format="channels_last") for i in range(3_000))
    ),
    ANY,
    ANY,
    weights={},
)


def _wrapped(depth: int) -> dict:
    layer = dense()
    for i in range(depth):
        layer = layer2("TimeDistributed", f"t{i}", layer=layer)
    return sequential2(layer, shape=(None, 2, 4))


def _nested3(depth: int) -> dict:
    layer: dict = dense3()
    for _ in range(depth):
        layer = sequential3(layer)
    return layer


# Memory


def _shaped(shape: tuple, **more: object) -> Callable[[Place, h5py.File], None]:
    return lambda place, file: _replaced(
        file, lambda group, name: group.create_dataset(name, shape, "f4", **more)
    )


_edited(
    "memory",
    "dataset-chunked-exabytes",
    _shaped((2**30, 2**30), chunks=(1024, 1024), compression="gzip"),
)
_edited(
    "memory", "dataset-chunked-ten-gib", _shaped((2**20, 2560), chunks=(1024, 1024), fillvalue=1.0)
)
_edited("memory", "dataset-unwritten-four-gib", _shaped((2**30,)))
_edited("memory", "dataset-one-chunk-of-three-gib", _shaped((805306368,), chunks=(805306368,)))
_edited(
    "memory",
    "dataset-scalar",
    lambda place, file: _replaced(
        file, lambda group, name: group.create_dataset(name, data=np.float32(1))
    ),
)
_edited(
    "memory",
    "dataset-empty",
    lambda place, file: _replaced(
        file, lambda group, name: group.create_dataset(name, data=h5py.Empty("f4"))
    ),
)
_edited(
    "memory",
    "unused-dataset-ten-gib",
    lambda place, file: file.create_dataset("unused", (2**20, 2560), "f4", chunks=(1024, 1024)),
    AGREES_OR_REFUSED,
)
_edited(
    "memory",
    "unused-attribute-huge-count",
    lambda place, file: [file.attrs.__setitem__(f"a{i}", i) for i in range(5_000)],
    AGREES_OR_REFUSED,
)
_edited(
    "memory",
    "gzip-zeros-two-gib",
    lambda place, file: _replaced(file, lambda group, name: _zeros(group, name)),
)
_edited(
    "memory",
    "text-dataset",
    lambda place, file: _replaced(
        file,
        lambda group, name: group.create_dataset(
            name, (2**26,), h5py.string_dtype(), chunks=(1024,)
        ),
    ),
)


def _zeros(group: h5py.Group, name: str) -> None:
    dataset = group.create_dataset(
        name, (2**29,), "f4", chunks=(2**24,), compression="gzip", compression_opts=1
    )
    packed = None
    for i in range(32):
        if packed is None:
            dataset[: 2**24] = 0
            packed = dataset.id.read_direct_chunk((0,))[1]
        dataset.id.write_direct_chunk((i * 2**24,), packed)


_keras(
    "memory",
    "weights-chunked-exabytes",
    lambda place: keras3(
        place.work / "m.keras",
        weights=weights3(
            lambda file: (
                file["layers/dense/vars"].__delitem__("0"),
                file["layers/dense/vars"].create_dataset(
                    "0", (2**30, 2**30), "f4", chunks=(1024, 1024)
                ),
            )
        ),
    ),
)
_keras(
    "memory",
    "weights-ten-gib",
    lambda place: keras3(
        place.work / "m.keras",
        weights=weights3(
            lambda file: (
                file["layers/dense/vars"].__delitem__("0"),
                file["layers/dense/vars"].create_dataset(
                    "0", (2**20, 2560), "f4", chunks=(1024, 1024)
                ),
            )
        ),
    ),
)
for member in ("config.json", "metadata.json", "model.weights.h5", "assets/unused"):

    def _bomb(place: Place, member=member) -> None:
        members = bases.members3()
        start = members.pop(member, b"")
        bases.bomb(
            place.work / "m.keras",
            members,
            member,
            start,
            b" " if member.endswith("json") else b"\0",
            48,
        )

    _keras(
        "memory",
        f"zip-bomb-{member.replace('/', '-')}",
        _bomb,
        AGREES_OR_REFUSED if "assets" in member else REFUSED,
    )
SHAPES: dict[str, object] = {
    "huge": [2**40, 4],
    "huge-feature": [None, 2**40],
    "ten-gib": [None, 2**20, 2560],
    "overflows": [None, 2**62, 2**62],
    "negative": [None, -4],
    "zero": [None, 0],
    "float": [None, 4.5],
    "text": [None, "four"],
    "text-alone": "agree",
    "nested": [None, [4]],
    "null": None,
    "number": 4,
    "empty": [],
    "nan": [None, float("nan")],
    "infinite": [None, float("inf")],
    "true": [None, True],
    "thirty-three-axes": [None] + [1] * 70 + [4],
    "beyond-int64": [None, 10**30],
    "all-unknown": [None, None],
}
for slug, shape in SHAPES.items():
    kind = (
        "memory"
        if slug in ("huge", "huge-feature", "ten-gib", "overflows", "beyond-int64")
        else "malformed"
    )
    _config(
        kind,
        f"input-shape-{slug}",
        lambda place, shape=shape: sequential2(dense(), shape=shape),
        ANY - {1},
    )
    _config3(
        kind,
        f"input-shape-{slug}",
        lambda place, shape=shape: sequential3(dense3(), shape=shape),
        ANY - {1},
    )
_config(
    "memory",
    "input-shape-free-axes",
    lambda place: sequential2(
        layer2(
            "Conv2D",
            "c",
            filters=3,
            kernel_size=[1, 1],
            strides=[1, 1],
            padding="valid",
            activation="linear",
        ),
        shape=[2**28, None, None, 4],
    ),
    weights={"c": {"c/kernel:0": np.ones((1, 1, 4, 3), np.float32), "c/bias:0": BIAS}},
)
for slug, layer in {
    "units-huge": dense(units=2**40),
    "units-two-gib": dense(units=2**28),
    "repeat-huge": layer2("RepeatVector", "r", n=2**30),
    "zero-padding-huge": layer2("ZeroPadding1D", "r", padding=[2**40, 0]),
    "upsampling-huge": layer2("UpSampling1D", "r", size=2**30),
    "embedding-huge": layer2("Embedding", "r", input_dim=2**40, output_dim=2**10),
    "lstm-huge": layer2("LSTM", "r", units=2**20),
    "reshape-huge": layer2("Reshape", "r", target_shape=[2**40, 1]),
    "one-hot-huge": layer2("CategoryEncoding", "r", num_tokens=2**40, output_mode="one_hot"),
    "constant-initializer": dense(
        units=2**27, kernel_initializer={"class_name": "Ones", "config": {}}
    ),
}.items():
    _config(
        "memory",
        slug,
        lambda place, layer=layer: sequential2(
            layer,
            shape=(None, 3, 4)
            if layer["class_name"] in ("ZeroPadding1D", "UpSampling1D", "LSTM")
            else (None, 4),
        ),
    )
for slug, layer in {
    "units-huge": dense3(units=2**40),
    "units-two-gib": dense3(units=2**28),
    "repeat-huge": layer3("RepeatVector", "r", n=2**30),
    "reshape-huge": layer3("Reshape", "r", target_shape=[2**40, 1]),
}.items():
    _config3("memory", slug, lambda place, layer=layer: sequential3(layer))

# Malformed


def _bytes(
    kind: str,
    slug: str,
    edit: Callable[[bytearray], object],
    allowed=ANY,
    keras: bool = False,
    listed=ANY,
) -> None:
    def build(place: Place) -> None:
        path = place.work / ("m.keras" if keras else "m.h5")
        (keras3 if keras else keras2)(path)
        content = bytearray(path.read_bytes())
        edit(content)
        path.write_bytes(content)

    (_keras if keras else _h5)(kind, slug, build, allowed, listed)


def _cut(share: float) -> Callable[[bytearray], object]:
    def edit(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    return edit


def _flip(seed: int, count: int, to: float = 1.0) -> Callable[[bytearray], object]:
    def edit(content: bytearray) -> None:
        rng = np.random.default_rng(seed)
        for at in rng.integers(0, int(len(content) * to), count):
            content[at] ^= 1 << int(rng.integers(0, 8))

    return edit


for percent in (0, 1, 20, 60, 95):
    _bytes("malformed", f"cut-{percent}", _cut(percent / 100), REFUSED, False, REFUSED)
    _bytes("malformed", f"cut-{percent}", _cut(percent / 100), REFUSED, True, REFUSED)
for seed in range(16):
    _bytes("malformed", f"flipped-{seed}", _flip(seed, 12))
for seed in range(16, 24):
    _bytes("malformed", f"flipped-{seed}", _flip(seed, 6, 0.05))
for seed in range(12):
    _bytes("malformed", f"flipped-{seed}", _flip(seed, 3), ANY, True)


def _encrypt(whole: bytearray) -> None:
    at = whole.index(b"PK\x03\x04")
    while at >= 0:
        whole[at + 6] |= 1
        at = whole.find(b"PK\x03\x04", at + 1)
    at = whole.index(b"PK\x01\x02")
    while at >= 0:
        whole[at + 8] |= 1
        at = whole.find(b"PK\x01\x02", at + 1)


_bytes("malformed", "encrypted", _encrypt, REFUSED, True, REFUSED)
_bytes(
    "malformed",
    "checksum",
    lambda whole: whole.__setitem__(
        whole.index(b"PK\x01\x02") + 16, whole[whole.index(b"PK\x01\x02") + 16] ^ 255
    ),
    ANY,
    True,
)
_bytes(
    "malformed",
    "user-block",
    lambda whole: whole.__setitem__(slice(0, 0), bytes(512)),
    AGREES_OR_REFUSED,
)
_bytes("malformed", "trailing-zip", lambda whole: whole.extend(_zip_bytes()), ANY)
_bytes("malformed", "trailing-text", lambda whole: whole.extend(b"agree" * 100), AGREES_OR_REFUSED)
_bytes(
    "malformed",
    "superblock-version",
    lambda whole: whole.__setitem__(8, 99),
    REFUSED,
    False,
    REFUSED,
)


def _zip_bytes() -> bytes:
    memory = io.BytesIO()
    bases.zipped(memory, bases.members3().items())  # type: ignore[arg-type]
    return memory.getvalue()


CONFIGS: dict[str, object] = {
    "not-json": "{nonsense",
    "empty-text": "",
    "list": "[]",
    "null": "null",
    "number": "7",
    "text": '"agree"',
    "empty": "{}",
    "nan": "NaN",
    "truncated": json.dumps(sequential2(dense()))[:-20],
    "null-byte": '{"a": "\\u0000"}',
    "surrogate": '{"class_name": "\\ud800", "config": {}}',
    "huge-number": '{"class_name": ' + "9" * 10_000 + "}",
    "bytes-not-utf-8": b"\xff\xfe{}",
    "model-class-null": json.dumps({**sequential2(dense()), "class_name": None}),
    "model-class-unknown": json.dumps({**sequential2(dense()), "class_name": "Agree"}),
    "model-class-list": json.dumps({**sequential2(dense()), "class_name": ["Sequential"]}),
    "model-config-null": '{"class_name": "Sequential", "config": null}',
    "model-config-text": '{"class_name": "Sequential", "config": "agree"}',
    "layers-null": '{"class_name": "Sequential", "config": {"name": "s", "layers": null}}',
    "layers-dict": '{"class_name": "Sequential", "config": {"name": "s", "layers": {}}}',
    "layers-numbers": '{"class_name": "Sequential", "config": {"name": "s", "layers": [1, 2]}}',
    "layers-empty": '{"class_name": "Sequential", "config": {"name": "s", "layers": []}}',
    "layers-null-entry": '{"class_name": "Sequential", "config": {"name": "s", "layers": [null]}}',
    "name-missing": '{"class_name": "Sequential", "config": {"layers": []}}',
    "old-list-config": '{"class_name": "Sequential", "config": []}',
    "subclassed": '{"class_name": "MyModel", "config": {}}',
}
for slug, text in CONFIGS.items():
    _config("malformed", f"config-{slug}", lambda place, text=text: text, REFUSED)
    _config3(
        "malformed",
        f"config-{slug}",
        lambda place, text=text: text if isinstance(text, bytes) else text.encode(),
        REFUSED,
    )
LAYERS: dict[str, dict] = {
    "no-class": {"config": dense()["config"]},
    "class-null": {**dense(), "class_name": None},
    "class-number": {**dense(), "class_name": 7},
    "class-list": {**dense(), "class_name": ["Dense"]},
    "class-empty": {**dense(), "class_name": ""},
    "class-unknown": {**dense(), "class_name": "Danse"},
    "config-null": {"class_name": "Dense", "config": None},
    "config-list": {"class_name": "Dense", "config": []},
    "config-empty": {"class_name": "Dense", "config": {}},
    "name-null": dense(None),
    "name-number": dense(7),
    "name-list": dense(["dense"]),
    "name-dict": dense({"a": 1}),
    "units-text": dense(units="three"),
    "units-null": dense(units=None),
    "units-negative": dense(units=-3),
    "units-zero": dense(units=0),
    "units-float": dense(units=3.5),
    "units-list": dense(units=[3]),
    "units-dict": dense(units={"class_name": "x"}),
    "units-nan": dense(units=float("nan")),
    "units-other": dense(units=5),
    "activation-unknown": dense(activation="agree"),
    "activation-number": dense(activation=7),
    "activation-list": dense(activation=["relu"]),
    "activation-dict": dense(activation={"a": 1}),
    "dtype-unknown": dense(dtype="float33"),
    "dtype-number": dense(dtype=7),
    "dtype-list": dense(dtype=["float32"]),
    "dtype-text": dense(dtype="string"),
    "dtype-complex": dense(dtype="complex64"),
    "dtype-integer": dense(dtype="int32"),
    "bias-text": dense(use_bias="no"),
    "bias-null": dense(use_bias=None),
    "option-unknown": dense(agree=1),
    "initializer-number": dense(kernel_initializer=7),
    "trainable-text": dense(trainable="no"),
    "input-shape-again": dense(batch_input_shape=[None, 9]),
}
for slug, layer in LAYERS.items():
    _config("malformed", f"layer-{slug}", lambda place, layer=layer: sequential2(layer), ANY - {1})
NAMES: dict[str, str] = {
    "escape-codes": "\x1b]0;title\x07\x1b[31magree\x1b[0m",
    "newlines": "dense\r\n\n1 agree, 0 diverge\n",
    "long": "a" * 100_000,
    "turns-text": "\u202eesned\u2066",
    "c1": "\x9b31magree",
    "empty": "",
    "slashes": "../../dense",
    "dot": ".",
    "option": "--trust",
    "markup": "[bold red]agree[/bold red]",
    "null": "den\x00se",
    "spaces": "   ",
    "unicode": "dichte-Schicht-π-层",
    "surrogate": "\ud800",
    "quote": "a'b\"c`d$(touch ../MARKER)",
}
for slug, name in NAMES.items():
    _config(
        "malformed",
        f"name-{slug}",
        lambda place, name=name: sequential2(dense(name)),
        AGREES_OR_REFUSED,
    )
    _config3(
        "malformed",
        f"name-{slug}",
        lambda place, name=name: sequential3(dense3(name)),
        AGREES_OR_REFUSED,
    )
    _config(
        "malformed",
        f"class-{slug}",
        lambda place, name=name: sequential2({**dense(), "class_name": name}),
        REFUSED,
    )
_config("malformed", "two-layers-of-one-name", lambda place: sequential2(dense(), dense()))
_config(
    "malformed",
    "config-of-megabytes",
    lambda place: json.dumps({**sequential2(dense()), "more": "a" * 20_000_000}),
    AGREES_OR_REFUSED,
)
_config(
    "malformed",
    "many-keys",
    lambda place: json.dumps({**sequential2(dense()), **{f"k{i}": i for i in range(200_000)}}),
    AGREES_OR_REFUSED,
)
for slug, edit in {
    "no-config": lambda file: file.attrs.__delitem__("model_config"),
    "config-number": lambda file: file.attrs.__setitem__("model_config", 7),
    "config-array": lambda file: file.attrs.__setitem__("model_config", np.zeros((3, 3))),
    "config-array-of-texts": lambda file: file.attrs.__setitem__(
        "model_config", np.array([b"{", b"}"])
    ),
    "config-empty": lambda file: file.attrs.__setitem__("model_config", h5py.Empty("S1")),
    "config-void": lambda file: file.attrs.__setitem__("model_config", np.void(b"{}")),
    "version-number": lambda file: file.attrs.__setitem__("keras_version", 2),
    "version-nonsense": lambda file: file.attrs.__setitem__("keras_version", "two"),
    "version-huge": lambda file: file.attrs.__setitem__("keras_version", "9" * 5000 + ".0"),
    "version-array": lambda file: file.attrs.__setitem__("keras_version", np.arange(3)),
    "version-escape-codes": lambda file: file.attrs.__setitem__("keras_version", "\x1b[31m2\x07"),
    "version-missing": lambda file: file.attrs.__delitem__("keras_version"),
    "backend-nonsense": lambda file: file.attrs.__setitem__("backend", "agree"),
    "no-weights": lambda file: file.__delitem__("model_weights"),
    "weights-dataset": lambda file: (
        file.__delitem__("model_weights"),
        file.__setitem__("model_weights", 1),
    ),
    "no-layer-names": lambda file: file["model_weights"].attrs.__delitem__("layer_names"),
    "layer-names-number": lambda file: file["model_weights"].attrs.__setitem__("layer_names", 7),
    "layer-names-other": lambda file: file["model_weights"].attrs.__setitem__(
        "layer_names", np.array([b"nobody"])
    ),
    "layer-names-invalid": lambda file: file["model_weights"].attrs.__setitem__(
        "layer_names", np.array([b"\xff\xfe"])
    ),
    "no-weight-names": lambda file: file["model_weights/dense"].attrs.__delitem__("weight_names"),
    "weight-names-number": lambda file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", 7
    ),
    "weight-names-missing": lambda file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", np.array([b"dense/kernel:0"])
    ),
    "weight-names-three": lambda file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", np.array([b"dense/kernel:0"] * 3)
    ),
    "weight-names-nobody": lambda file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", np.array([b"a", b"b"])
    ),
    "weight-names-swapped": lambda file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", np.array([b"dense/bias:0", b"dense/kernel:0"])
    ),
    "weight-is-group": lambda file: _replaced(file, lambda group, name: group.create_group(name)),
    "weight-swapped": lambda file: _replaced(
        file, lambda group, name: group.__setitem__(name, KERNEL.T)
    ),
    "weight-text": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, data=np.full((4, 3), b"agree"))
    ),
    "weight-compound": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, data=np.zeros((4, 3), [("a", "f4")]))
    ),
    "weight-complex": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, data=np.zeros((4, 3), "c8"))
    ),
    "weight-opaque": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, data=np.zeros((4, 3), "V5"))
    ),
    "weight-enum": lambda file: _replaced(
        file,
        lambda group, name: group.create_dataset(name, (4, 3), h5py.enum_dtype({"AGREE": 1}, "i4")),
    ),
    "weight-ragged": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, (4, 3), h5py.vlen_dtype(np.float32))
    ),
    "weight-null-space": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, dtype="f4", shape=None)
    ),
    "weight-no-rows": lambda file: _replaced(
        file, lambda group, name: group.create_dataset(name, (0, 3), "f4")
    ),
    "weight-filter-missing": lambda file: _replaced(
        file, lambda group, name: _unknown_filter(group, name)
    ),
    "weight-reference": lambda file: _replaced(
        file,
        lambda group, name: group.create_dataset(
            name, data=np.array([[file.ref] * 3] * 4, h5py.ref_dtype)
        ),
    ),
}.items():
    _edited(
        "malformed",
        f"file-{slug}",
        lambda place, file, edit=edit: edit(file),
        # What h5py gives as numbers Keras takes as weights, and they are what it computes with.
        ANY - {1}
        if slug.startswith(("version", "backend", "weight-co", "weight-enum"))
        else REFUSED,
    )
for dtype in (">f4", ">f8", "<f8", "<f2", "<i4", "?"):
    _edited(
        "malformed",
        f"weight-dtype-{dtype.replace('>', 'big-').replace('<', '').replace('?', 'bool')}",
        lambda place, file, dtype=dtype: _replaced(
            file, lambda group, name: group.create_dataset(name, data=KERNEL.astype(dtype))
        ),
        AGREES_OR_REFUSED,
    )
_edited(
    "malformed",
    "weight-nan",
    lambda place, file: _replaced(
        file, lambda group, name: group.__setitem__(name, np.full((4, 3), np.nan, np.float32))
    ),
    ANY,
)


def _unknown_filter(group: h5py.Group, name: str) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4, 3))
    made.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1,))
    h5py.h5d.create(
        group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4, 3)), made
    )
    dataset = group[name]
    dataset.id.write_direct_chunk((0, 0), b"garbage" * 10)


MEMBERS: dict[str, Callable[[dict[str, bytes]], object]] = {
    "no-config": lambda m: m.pop("config.json"),
    "no-metadata": lambda m: m.pop("metadata.json"),
    "no-weights": lambda m: m.pop("model.weights.h5"),
    "weights-empty": lambda m: m.update({"model.weights.h5": b""}),
    "weights-text": lambda m: m.update({"model.weights.h5": b"agree"}),
    "weights-cut": lambda m: m.update({"model.weights.h5": m["model.weights.h5"][:500]}),
    "metadata-list": lambda m: m.update({"metadata.json": b"[]"}),
    "metadata-not-json": lambda m: m.update({"metadata.json": b"{nonsense"}),
    "metadata-version-number": lambda m: m.update({"metadata.json": b'{"keras_version": 3}'}),
    "metadata-version-null": lambda m: m.update({"metadata.json": b'{"keras_version": null}'}),
    "metadata-version-huge": lambda m: m.update(
        {"metadata.json": b'{"keras_version": "99999999.0"}'}
    ),
    "metadata-version-escape-codes": lambda m: m.update(
        {"metadata.json": b'{"keras_version": "\\u001b[31m3\\u0007"}'}
    ),
    "members-in-a-folder": lambda m: m.update({f"m/{k}": m.pop(k) for k in list(m)}),
    "npz-weights": lambda m: m.update({"model.weights.npz": m.pop("model.weights.h5")}),
    "both-weights": lambda m: m.update({"model.weights.npz": b"x"}),
    "weights-of-others": lambda m: m.update(
        {"model.weights.h5": weights3(arrays={"layers/other/vars/0": KERNEL})}
    ),
    "weights-swapped": lambda m: m.update(
        {
            "model.weights.h5": weights3(
                arrays={"layers/dense/vars/0": KERNEL.T, "layers/dense/vars/1": BIAS}
            )
        }
    ),
    "weights-missing-one": lambda m: m.update(
        {"model.weights.h5": weights3(arrays={"layers/dense/vars/0": KERNEL})}
    ),
    "weights-text-dataset": lambda m: m.update(
        {
            "model.weights.h5": weights3(
                arrays={
                    "layers/dense/vars/0": np.full((4, 3), b"agree"),
                    "layers/dense/vars/1": BIAS,
                }
            )
        }
    ),
    "weights-json-shards": lambda m: m.update(
        {
            "model.weights.json": b'{"metadata": {}, "weight_map": {"layers/dense/vars": "../canary.h5"}}'  # noqa: E501
        }
    ),
    "member-name-escape-codes": lambda m: m.update({"\x1b[31magree\x07": b""}),
    "member-name-long": lambda m: m.update({"a" * 60_000: b""}),
    "thirty-thousand-members": lambda m: m.update({f"assets/{i}": b"" for i in range(30_000)}),
}
for slug, edit in MEMBERS.items():

    def _members(place: Place, edit=edit) -> None:
        members = bases.members3()
        edit(members)
        bases.zipped(place.work / "m.keras", members.items())

    harmless = slug.startswith(
        ("member-name", "thirty", "metadata-version", "both-weights", "no-metadata", "weights-json")
    )
    _keras("malformed", slug, _members, ANY - {1} if harmless else REFUSED)


def _twice(place: Place) -> None:
    """Two config.json: one shown, one loaded."""
    members = bases.members3()
    other = json.dumps(sequential3(dense3(), _lambda3(place))).encode()
    bases.zipped(place.work / "m.keras", [*members.items(), ("config.jsom", other)])
    content = (place.work / "m.keras").read_bytes().replace(b"config.jsom", b"config.json")
    (place.work / "m.keras").write_bytes(content)


def _twice_first(place: Place) -> None:
    members = bases.members3()
    other = json.dumps(sequential3(dense3(), _lambda3(place))).encode()
    bases.zipped(place.work / "m.keras", [("config.jsom", other), *members.items()])
    content = (place.work / "m.keras").read_bytes().replace(b"config.jsom", b"config.json")
    (place.work / "m.keras").write_bytes(content)


def _disagree(place: Place) -> None:
    """The local header names config.json where the directory names another."""
    members = bases.members3()
    bases.zipped(
        place.work / "m.keras",
        [
            ("config.jsom", json.dumps(sequential3(dense3(), _lambda3(place))).encode()),
            *members.items(),
        ],
    )
    content = (place.work / "m.keras").read_bytes()
    (place.work / "m.keras").write_bytes(content.replace(b"config.jsom", b"config.json", 1))


_keras("code", "config-twice-evil-last", _twice)
_keras("code", "config-twice-evil-first", _twice_first, AGREES_OR_REFUSED)
_keras("code", "config-headers-disagree", _disagree, AGREES_OR_REFUSED)
_h5(
    "malformed",
    "is-keras-zip",
    lambda place: bases.zipped(place.work / "m.h5", bases.members3().items()),
    AGREES_OR_REFUSED,
)
_keras("malformed", "is-h5", lambda place: keras2(place.work / "m.keras"), AGREES_OR_REFUSED)
_keras("malformed", "is-folder", lambda place: (place.work / "m.keras").mkdir(), REFUSED, REFUSED)
_h5(
    "malformed",
    "weights-alone",
    lambda place: (place.work / "m.h5").write_bytes(weights3()),
    REFUSED,
    REFUSED,
)
_h5("malformed", "is-matlab", lambda place: _matlab(place), REFUSED, REFUSED)


def _matlab(place: Place) -> None:
    with h5py.File(place.work / "m.h5", "w", userblock_size=512) as file:
        file["a"] = KERNEL
    with (place.work / "m.h5").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")


_h5(
    "malformed",
    "many-parameters",
    lambda place: keras2(
        place.work / "m.h5",
        edit=lambda file: [
            file.__setitem__(f"model_weights/dense/extra{i}", np.float32(i)) for i in range(5_000)
        ],
    ),
    AGREES_OR_REFUSED,
)
