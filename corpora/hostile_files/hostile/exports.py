"""TorchScript and .pt2 files."""

import zipfile
from collections.abc import Callable

from hostile import bases
from hostile.bases import call_, dict_, name_, pickle_, text_
from hostile.case import AGREES_OR_REFUSED, ANY, REFUSED, Place, Run, add
from hostile.exported import changed, in_json


def _script(
    kind: str,
    slug: str,
    make: Callable[[Place], object],
    name: str = "m.pt",
    edit: Callable[[dict[str, bytes]], None] | None = None,
) -> None:
    def build(place: Place) -> None:
        from hostile.scripts import save

        (place.work / "net.py").write_text(bases.NET)
        save(make(place), place.work / name)
        if edit:
            with zipfile.ZipFile(place.work / name) as file:
                members = {entry: file.read(entry) for entry in file.namelist()}
            edit(members)
            bases.zipped(place.work / name, members.items())

    options = (
        (),
        ("--all",),
        bases.FACTORY,
        (*bases.FACTORY, "--all"),
        (*bases.FACTORY, "--layer", "fc"),
        ("--layer", "fc", "--shape", "2,4"),
    )
    add("torchscript", kind, slug, build, *(Run((name, *more), REFUSED) for more in options))


def _module(name: str, *arguments: str) -> Callable[[Place], object]:
    def make(place: Place):
        from hostile import scripts

        return getattr(scripts, name)(
            *(
                argument.format(marker=place.marker, canary=place.canary_numbers)
                for argument in arguments
            )
        )

    return make


for ending in (
    "pt",
    "pth",
    "pt2",
    "ptl",
    "zip",
    "h5",
    "keras",
    "onnx",
    "safetensors",
    "npz",
    "bin",
):
    _script("code", f"setstate-writes.{ending}", _module("WritesOnLoad", "{marker}"), f"m.{ending}")
_script("code", "setstate-writes-inside", _module("WritesOnLoadInside", "{marker}"))
_script("code", "forward-writes", _module("WritesOnCall", "{marker}"))
_script("read", "setstate-maps", _module("MapsOnLoad", "{canary}"))
_script("hang", "setstate-loops", _module("LoopsOnLoad"))
_script("memory", "setstate-fills", _module("FillsOnLoad"))


def _renamed(members: dict[str, bytes]) -> None:
    """Looks like a state_dict's file first: data.pkl of weights before the script's own."""
    held = dict(members)
    members.clear()
    members.update(bases.torch_members(dict_(bases.STATE), folder="a"))
    members.update(held)


def _without_version(members: dict[str, bytes]) -> None:
    for name in [name for name in members if name.endswith(("version", "byteorder"))]:
        del members[name]


def _gadget(members: dict[str, bytes]) -> None:
    for name in [name for name in members if name.endswith("data.pkl")]:
        members[name] = pickle_(call_(name_("builtins", "open"), text_("../MARKER"), text_("w")))


def _without_constants(members: dict[str, bytes]) -> None:
    for name in [name for name in members if name.endswith("constants.pkl")]:
        del members[name]


def _upper(members: dict[str, bytes]) -> None:
    for name in [name for name in members if "/code/" in name]:
        members[name.replace("/code/", "/CODE/")] = members.pop(name)


for slug, edit in {
    "state-dict-before": _renamed,
    "without-version": _without_version,
    "pickle-gadget": _gadget,
    "without-constants": _without_constants,
    "code-elsewhere": _upper,
}.items():
    _script("code", slug, _module("WritesOnLoad", "{marker}"), "m.pt", edit)


# .pt2


def _export(
    kind: str, slug: str, edit: Callable[[Place, dict[str, bytes]], None], allowed=REFUSED
) -> None:
    """Without consent nothing of it is read; with consent to run code the file may still be
    broken."""
    runs = [
        Run(("m.pt2",), REFUSED),
        Run(("m.pt2", "--all"), REFUSED),
        Run(("m.pt2", "--all", *bases.FACTORY), REFUSED),
    ]
    if kind == "malformed":
        runs.append(Run(("m.pt2", "--all", "--trust"), allowed))

    def build(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        changed(place.work / "m.pt2", lambda members: edit(place, members))

    add("pt2", kind, slug, build, *runs)


def _payload(place: Place) -> bytes:
    import io

    memory = io.BytesIO()
    bases.zipped(
        memory,
        bases.torch_members(
            call_(name_("builtins", "open"), text_(place.marker), text_("w"))
        ).items(),
    )  # type: ignore[arg-type]
    return memory.getvalue()


_export(
    "code",
    "sample-inputs",
    lambda place, members: members.update({"data/sample_inputs/model.pt": _payload(place)}),
)


def _weight_pickled(place: Place, members: dict[str, bytes]) -> None:
    in_json(
        members,
        "data/weights/model_weights_config.json",
        lambda value: value["config"]["fc.weight"].update(use_pickle=True),
    )
    members["data/weights/weight_0"] = _payload(place)


def _target(name: str) -> Callable[[Place, dict[str, bytes]], None]:
    return lambda place, members: in_json(
        members,
        "models/model.json",
        lambda value: value["graph_module"]["graph"]["nodes"][0].update(target=name),
    )


_export("code", "weight-pickled", _weight_pickled)
for name in (
    "torch.ops.evil.run.default",
    "os.system",
    "builtins.exec",
    "torch.ops.aten.save.default",
    "torch.ops.aten.from_file.default",
    "torch.ops.load_library",
    "_operator.os.system",
    "torch.ops.higher_order.run_with_rng_state",
    "math.sin",
    "torch._C._jit_clear_class_registry",
    "__import__('os').system",
):
    _export(
        "code",
        f"target-{''.join(c if c.isalnum() else '-' for c in name.lower()).strip('-')}",
        _target(name),
    )
_export(
    "code",
    "shared-library",
    lambda place, members: members.update(
        {"data/aotinductor/model/model.so": b"\x7fELF" + bytes(100)}
    ),
)
_export(
    "code",
    "guards-code",
    lambda place, members: in_json(
        members,
        "models/model.json",
        lambda value: value.update(guards_code=[f"open({place.marker!r}, 'w')"]),
    ),
)
_export(
    "code",
    "symbolic-expression",
    lambda place, members: in_json(
        members,
        "models/model.json",
        lambda value: value["graph_module"]["graph"]["tensor_values"]["x"].update(
            sizes=[
                {"as_expr": {"expr_str": f"open({place.marker!r}, 'w')", "hint": {"as_int": 2}}},
                {"as_int": 4},
            ]
        ),
    ),
)
_export(
    "code",
    "treespec",
    lambda place, members: in_json(
        members,
        "models/model.json",
        lambda value: value["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec='[1, {"type": "os.system", "context": "null", "children_spec": []}]'
        ),
    ),
)
_export(
    "read",
    "weight-path-climbs",
    lambda place, members: in_json(
        members,
        "data/weights/model_weights_config.json",
        lambda value: value["config"]["fc.weight"].update(path_name="../../../canary.bin"),
    ),
)
_export(
    "hang",
    "loop-of-ranges",
    lambda place, members: in_json(
        members,
        "models/model.json",
        lambda value: value.update(
            range_constraints={"s0": {"min_val": -(2**63), "max_val": 2**63 - 1}}
        ),
    ),
)
_export(
    "memory",
    "weight-sizes-huge",
    lambda place, members: in_json(
        members,
        "data/weights/model_weights_config.json",
        lambda value: value["config"]["fc.weight"]["tensor_meta"].update(
            sizes=[{"as_int": 2**40}, {"as_int": 2**20}]
        ),
    ),
)
for slug, edit in {
    "no-model": lambda members: members.pop("models/model.json"),
    "model-not-json": lambda members: members.update({"models/model.json": b"{nonsense"}),
    "model-list": lambda members: members.update({"models/model.json": b"[]"}),
    "model-deep": lambda members: members.update(
        {"models/model.json": b"[" * 100_000 + b"]" * 100_000}
    ),
    "no-weights": lambda members: members.pop("data/weights/weight_0"),
    "weights-short": lambda members: members.update({"data/weights/weight_0": b"abc"}),
    "no-weights-config": lambda members: members.pop("data/weights/model_weights_config.json"),
    "sample-inputs-missing": lambda members: members.pop("data/sample_inputs/model.pt"),
    "version-huge": lambda members: members.update({"archive_version": b"999999"}),
    "version-text": lambda members: members.update({"archive_version": b"agree"}),
    "format-other": lambda members: members.update({"archive_format": b"pt9"}),
    "schema-huge": lambda members: in_json(
        members,
        "models/model.json",
        lambda value: value.update(schema_version={"major": 9999, "minor": 0}),
    ),
    "no-nodes": lambda members: in_json(
        members, "models/model.json", lambda value: value["graph_module"]["graph"].update(nodes=[])
    ),
    "target-unknown": lambda members: in_json(
        members,
        "models/model.json",
        lambda value: value["graph_module"]["graph"]["nodes"][0].update(
            target="torch.ops.aten.nobody.default"
        ),
    ),
    "target-number": lambda members: in_json(
        members,
        "models/model.json",
        lambda value: value["graph_module"]["graph"]["nodes"][0].update(target=7),
    ),
    "name-escape-codes": lambda members: members.update(
        {
            "models/model.json": members["models/model.json"].replace(
                b'"fqn": "fc"', b'"fqn": "\\u001b[31magree\\u0007"'
            )
        }
    ),
}.items():
    _export(
        "malformed",
        slug,
        lambda place, members, edit=edit: edit(members),
        ANY if slug in ("name-escape-codes", "sample-inputs-missing") else REFUSED,
    )
for share in (0.1, 0.5, 0.9):

    def _cut(place: Place, share=share) -> None:
        changed(place.work / "m.pt2", lambda members: None)
        content = (place.work / "m.pt2").read_bytes()
        (place.work / "m.pt2").write_bytes(content[: int(len(content) * share)])

    add(
        "pt2",
        "malformed",
        f"cut-{int(share * 100)}",
        _cut,
        Run(("m.pt2",), REFUSED),
        Run(("m.pt2", "--all", "--trust"), REFUSED),
    )
add(
    "pt2",
    "healthy",
    "unchanged",
    lambda place: changed(place.work / "m.pt2", lambda members: None),
    Run(("m.pt2", "--all", "--trust"), AGREES_OR_REFUSED - {2}),
)
