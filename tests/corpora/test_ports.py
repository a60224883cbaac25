"""Ports of layers and blocks to NumPy that were written without a look at this project: the right
ones agree with their frameworks, the wrong ones do not."""

import pytest

import probe
from corpora.ports import FAMILIES, HELD_OUT, cases_of, index, score
from corpora.ports.case import inputs_of
from corpora.ports.tool import tool

WITHIN_ROUNDING = {
    ("bert_layer", "eps_of_pytorch"),
    ("llama_rms_norm_float16", "product_in_float32"),
    ("torch_layer_norm_far_from_zero", "variance_in_one_pass"),
    ("gemma_rms_norm_bfloat16", "cast_before_the_gain"),
    ("torch_layer_norm_bfloat16", "rounded_before_gain_and_bias"),
    ("attention_bfloat16", "softmax_in_bfloat16"),
    ("keras_layer_norm_mixed_bfloat16", "norm_not_rounded"),
}
"""Mistakes that change less than an honest evaluation may differ by."""

pytestmark = [
    # ports take arrays of tensors in a way that NumPy 2 advises against
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", FAMILIES)
def test_right_ports_agree_and_wrong_ones_differ(family):
    for case in cases_of(family):
        model, x = case.build()
        opened = probe.open_model(model)
        right = probe.check(opened, case.layer, inputs_of(x), expected=case.right(model, x))
        assert right.verdict == "agree", (case.name, right)
        assert not right.findings, case.name
        name, mistake = next(iter(case.wrong.items()))
        wrong = probe.check(opened, case.layer, inputs_of(x), expected=mistake.port(model, x))
        verdict = "agree" if (case.name, name) in WITHIN_ROUNDING else "diverge"
        assert wrong.verdict == verdict, (case.name, name, wrong)
        told = (*wrong.diagnosis, *wrong.notes)
        assert not any("internal error" in line for line in told), told


@pytest.mark.slow
def test_the_share_named_of_the_families_held_out_does_not_fall():
    """188 of 201 when it was last counted (`scores.json`)."""
    counts = score.counts([*score.rows(tool("probe"), HELD_OUT)])
    assert (counts["wrong"], counts["seen"], counts["false_alarms"]) == (201, 201, 0)
    assert counts["named"] >= 187


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", FAMILIES)
def test_the_index_lists_every_mistake(family):
    """``python -m corpora.ports --index`` writes it."""
    listed = [entry for entry in index.read() if entry["family"] == family]
    assert listed == [*index.entries(family)]


@pytest.mark.exhaustive
def test_there_are_as_many_as_there_were():
    """None is removed: what they show is worth as much as that they were written before."""
    found = [case for family in FAMILIES for case in cases_of(family)]
    assert len(found) == 308
    assert sum(len(case.wrong) for case in found) == 1282
