"""docs/adding-an-op.md lists the hooks that there are."""

from repository import script

from probe.ops.base import Elementwise, Op, Sum

gen_op_hooks = script("tools/gen_op_hooks.py")


def test_the_tables_are_those_of_the_docstrings():
    text = gen_op_hooks.PAGE.read_text(encoding="utf-8")
    assert gen_op_hooks.filled(text) == text, "run python tools/gen_op_hooks.py"


def test_every_hook_has_a_row():
    for kind, inherited in ((Op, object), (Elementwise, Op), (Sum, Op)):
        rows = {
            signature.partition("(")[0] for _, signature, *_ in gen_op_hooks.hooks(kind.__name__)
        }
        public = {name for name in vars(kind) if not name.startswith("_")}
        assert public - {*dir(inherited)} <= rows
