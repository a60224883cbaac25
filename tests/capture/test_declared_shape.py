"""What is said of an input that does not fit the declared shape brings it to that shape."""

import re

import numpy as np
import pytest

from probe.capture.declared_shape import refuse_order, refuse_shapes
from probe.errors import BadInput
from probe.model import InputSpec

WAY_OUT = re.compile(r"(?:np\.|x)[\w.]*[\[(].*?[\])](?:\)|\[None\])?(?= \(for|$)")
IMAGES = (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        *((IMAGES, given) for given in ((3, 8, 8), (8, 8, 3), (1, 3, 8, 8), (5, 3, 8, 8))),
        *((IMAGES, given) for given in ((2, 8, 8, 3), (1, 8, 8, 3), (192,), (384,))),
        *(((None, 3, 8, 8), given) for given in ((3, 8, 8), (8, 8, 3))),
        *(((1, *IMAGES[1:]), given) for given in ((3, 8, 8), (8, 8, 3), (4, 3, 8, 8))),
        *(((2, 1, 9, 9), given) for given in ((9, 9), (2, 9, 9), (1, 9, 9), (9, 9, 1))),
        *(((2, 192), given) for given in ((192,), (3, 8, 8), (2, 3, 8, 8), (3, 192))),
    ],
)
def test_ways_out_lead_to_the_shape(declared, given):
    x = np.arange(np.prod(given)).reshape(given)
    for _ in range(2):  # the axes, and then the batch
        try:
            refuse_shapes([InputSpec("x", declared)], [x])
        except BadInput as error:
            (way,) = WAY_OUT.findall(str(error))
            for sizes in re.findall(r"--shape ([\d,]+)", str(error)):
                refuse_shapes([InputSpec("x", declared)], [np.zeros(eval(sizes))])
            x = eval(way)
    refuse_shapes([InputSpec("x", declared)], [x])


def test_inputs_in_another_order_are_told():
    specs = [InputSpec("steps", (None, 9, 5)), InputSpec("x/side", (None, 3))]
    arrays = [np.zeros((2, 3)), np.zeros((2, 9, 5))]
    words = "you gave (2, 3), (2, 9, 5): they are in another order, so give them by name, np.savez("
    with pytest.raises(BadInput, match=re.escape(words)) as raised:
        refuse_order(specs, arrays)
    assert str(raised.value).endswith("or in Python {'steps': x0, 'x/side': x1}")
    refuse_order(specs, arrays[::-1])
    refuse_order(specs, [np.zeros((2, 3)), np.zeros((2, 4))])
