"""Every layer class of HGQ2 is described or left out with its reason, and the table says what is
registered."""

import importlib
import inspect
import pkgutil

import hgq.layers
import keras
from probe.adapters import hgq as adapter
from probe.adapters.keras.describe.describe import REGISTERED
from probe.adapters.keras.describe.described_classes import DESCRIBED
from probe.adapters.keras.describe.undescribed_classes import LEFT_OUT
from repository import script

gen_class_table = script("tools/gen_class_table.py")

HERE = {name.removeprefix("hgq.") for name, module in DESCRIBED.items() if module == "..hgq"}


def classes():
    """The public layer classes that hgq.layers and the modules in it define, by name; ``Quantizer``
    comes from elsewhere."""
    modules = [
        importlib.import_module(one.name)
        for one in pkgutil.walk_packages(hgq.layers.__path__, "hgq.layers.")
    ]
    found = [value for module in (hgq.layers, *modules) for value in vars(module).values()]
    return {
        value.__name__: value
        for value in found
        if inspect.isclass(value)
        and issubclass(value, keras.layers.Layer)
        and value.__module__.startswith("hgq.layers.")
        if not value.__name__.startswith("_")
    }


def test_every_class_is_described_or_left_out_with_its_reason():
    left = LEFT_OUT["hgq"]
    assert set(hgq.layers.__all__) <= {
        name for name, value in vars(hgq.layers).items() if getattr(value, "__name__", "") in HERE
    }
    assert set(classes()) - HERE == set(left)
    assert set(classes()) >= HERE - {"Quantizer"}
    assert all(left.values()) and not set(left) & HERE


def test_the_table_is_what_the_adapter_registers():
    registered = {name for name in REGISTERED if name.startswith("hgq.")}
    assert {f"hgq.{name}" for name in HERE} == registered
    assert adapter.__name__ == "probe.adapters.hgq"


def test_the_tool_writes_the_table_also_where_the_other_adapters_cannot_be_imported():
    assert gen_class_table.text() == gen_class_table.TABLE.read_text(encoding="utf-8")
