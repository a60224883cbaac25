"""Which configs of functional models name a layer that waits for ever."""

import pytest
from probe.adapters.keras.loading.layer_order import endless


def layer(name, *calls, kind="Dense", config=None):
    """Each call takes the outputs of calls: [layer, call, output, keyword arguments]."""
    nodes = [[[source, number, 0, {}] for source, number in taken] for taken in calls]
    return {"name": name, "class_name": kind, "config": config or {}, "inbound_nodes": nodes}


def model(*layers, name="x"):
    first = {"name": name, "class_name": "InputLayer", "config": {}, "inbound_nodes": []}
    return {"input_layers": [[name, 0, 0]], "layers": [first, *layers]}


ONE = [("x", 0)]
BY_KEYWORD = layer("b", ONE)
BY_KEYWORD["inbound_nodes"][0][0][3] = {"mask": [["c", 0, 0]]}
INNER = {"class_name": "Functional", "config": model(layer("i", [("i", 0)]), name="y")}
CASES = {
    "a chain": (model(layer("a", ONE), layer("b", [("a", 0)])), ""),
    "in another order": (model(layer("b", [("a", 0)]), layer("a", ONE)), ""),
    "called twice": (model(layer("a", ONE, [("a", 0)]), layer("b", [("a", 1)])), ""),
    "its own output": (model(layer("a", [("a", 0)])), "a"),
    "a ring": (model(layer("a", [("b", 0)]), layer("b", [("a", 0)])), "a|b"),
    "a later call of its own": (model(layer("a", [("a", 1)], ONE)), "a"),
    "no such layer": (model(layer("a", [("z", 0)])), "a"),
    "no such call": (model(layer("a", ONE), layer("b", [("a", 1)])), "b"),
    "by keyword": (model(BY_KEYWORD, layer("c", [("b", 0)])), "b|c"),
    "any call of an input": (model(layer("a", [("x", 7)])), ""),
    "a model within": ({"parts": [INNER]}, "i"),
    "no functional model": ({"layers": [layer("a", [("a", 0)])]}, ""),
    "a model that was called as it was made": (
        model(
            layer("m", ONE, kind="Functional", config={"input_layers": [], "layers": []}),
            layer("b", [("m", 1)]),
        ),
        "",
    ),
    "its first call is none": (
        model(
            layer("m", ONE, kind="Functional", config={"input_layers": [], "layers": []}),
            layer("b", [("m", 0)]),
        ),
        "b",
    ),
    "a sequence that was not built": (
        model(layer("m", ONE, kind="Sequential", config={"layers": []}), layer("b", [("m", 0)])),
        "",
    ),
    "a sequence that was": (
        model(
            layer(
                "m",
                ONE,
                kind="Sequential",
                config={"layers": [{"config": {"batch_input_shape": [None, 3]}}]},
            ),
            layer("b", [("m", 0)]),
        ),
        "b",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_waits_for_ever(name):
    config, waiting = CASES[name]
    assert endless(config) in waiting.split("|")
