"""Steps with others put before those that take a tensor: the layer's output stays the last one."""

from types import SimpleNamespace

from probe import ops
from probe.description import Ref, Step
from probe.hypotheses.edits.rewriting import Rewiring, only, rewired

STEPS = (
    Step(ops.Relu()),
    Step(ops.Neg(), (Ref(0),)),
    Step(ops.Add(), (Ref(0), Ref(1))),
)
CASE = SimpleNamespace(steps=STEPS)


def rewritten(*changes):
    return [(type(step.op).__name__, step.inputs) for step in rewired(CASE, changes)]


def test_all_who_take_a_tensor_or_one_of_them():
    exp = (ops.Exp(),)
    assert rewritten(Rewiring(Ref(0), exp)) == [
        *(("Relu", (Ref(-1),)), ("Exp", (Ref(0),)), ("Neg", (Ref(1),)), ("Add", (Ref(1), Ref(2)))),
    ]
    assert rewritten(Rewiring(Ref(0), exp, only(2))) == [
        *(("Relu", (Ref(-1),)), ("Neg", (Ref(0),)), ("Exp", (Ref(0),)), ("Add", (Ref(2), Ref(1)))),
    ]
    both = rewritten(Rewiring(Ref(0), exp, only(1)), Rewiring(Ref(0), (ops.Sqrt(),), only(2)))
    assert [name for name, _ in both] == ["Relu", "Exp", "Neg", "Sqrt", "Add"]


def test_what_is_behind_the_last_step_is_the_layers_output():
    whole = rewritten()
    after = rewritten(Rewiring(Ref(2), (ops.Exp(), ops.Neg())))
    assert after == [*whole, ("Exp", (Ref(2),)), ("Neg", (Ref(3),))]
    assert rewritten(Rewiring(Ref(2), (ops.Exp(),), only(3))) == [*whole, ("Exp", (Ref(2),))]
    assert rewritten(Rewiring(Ref(2), (ops.Exp(),), only(1))) == whole
    assert rewritten(Rewiring(Ref(0, 1), (ops.Exp(),))) == whole, "which nobody takes"


def test_one_input_more_and_another_source():
    more = rewritten(Rewiring(None, (ops.Exp(),), only(2), source=Ref(1)))
    assert more[-2:] == [("Exp", (Ref(1),)), ("Add", (Ref(0), Ref(1), Ref(2)))]
    twice = rewritten(Rewiring(Ref(1), (ops.Mul(),), copies=2))
    assert twice[-2:] == [("Mul", (Ref(1), Ref(1))), ("Add", (Ref(0), Ref(2)))]
