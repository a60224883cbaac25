"""How files are called that tools write of a pass, and the layers that these names hold."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.dump_names import module_of

__all__ = ["layers_meant", "own_tensor"]

_NUMBERED = re.compile(r"^\d+[-_.]+(?=[a-zA-Z])")
"""The place of a call in the pass, before the name."""
_OUTPUT = re.compile(r"[-_.](?:outputs?|out)(?=(?:[-_.]?[01])?$)")
"""Before the place among several outputs."""
_PLACE = re.compile(r"[-_.]?[01]$")
"""Which of several outputs."""
_FIELDS = "___"
"""Between the fields that sglang's ``dumper`` writes: ``rank=0___name=mlp___layer_id=3``."""


def layers_meant(names: Collection[str], tensors: Collection[str]) -> dict[str, str]:
    """Each name, and that of the layer within it: the name itself where there is none, or several
    hold the same."""
    meant = {name: _meant(name, tensors) for name in names}
    counts = Counter(meant.values())
    return {name: layer if counts[layer] == 1 else name for name, layer in meant.items()}


def own_tensor(name: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """What the model gives under a name, or under that of the module that it stands for."""
    return tensors.get(name) or tensors.get(module_of(name, tensors) or "")


def _meant(name: str, tensors: Collection[str]) -> str:
    bare = next(_of_fields(name, tensors), name.rpartition("/")[2])
    bare = _OUTPUT.sub("", _NUMBERED.sub("", bare))
    is_layer = bare in tensors or _PLACE.sub("", bare) in tensors
    if name in tensors or not (is_layer or module_of(bare, tensors)):
        return name
    return bare


def _of_fields(name: str, tensors: Collection[str]) -> Iterator[str]:
    """The layer of which sglang's fields tell the block and its part."""
    fields = dict(field.partition("=")[::2] for field in name.split(_FIELDS))
    if "name" in fields:
        end = f".{fields.get('layer_id', '')}.{fields['name']}"
        yield from (other for other in tensors if other.endswith(end))
        yield fields["name"]
