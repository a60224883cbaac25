"""How weights follow from others: up to rounding, up to a factor for each row, and in which
order."""

import copy

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from known_warnings import TORCH_EXPORT
from onnx import numpy_helper
from own_seed import RNG
from torch import nn

import probe
from probe.model_comparison.causes.weight_relations import RoundingBetween, relation
from probe.weights_read_back.orders import order_in_words

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)

_WEIGHT = RNG.normal(size=(32, 32, 1, 1))
_PLACES = np.arange(32)
_ORDERS = {
    "reversed": _PLACES[::-1],
    "rolled by 1": np.roll(_PLACES, 1),
    "rolled by -2": np.roll(_PLACES, -2),
    "halves exchanged": np.roll(_PLACES, 16),
    "3 and 7 exchanged": np.r_[_PLACES[:3], 7, _PLACES[4:7], 3, _PLACES[8:]],
    "blocks of 8 in turn": _PLACES.reshape(4, 8).T.ravel(),
    "blocks of 4 in turn": _PLACES.reshape(8, 4).T.ravel(),
    "neighbours exchanged in pairs": _PLACES.reshape(-1, 2)[:, ::-1].ravel(),
    "blocks of 8, 1 and 2 exchanged": _PLACES.reshape(4, 8)[[0, 2, 1, 3]].ravel(),
    "blocks of 8, reversed": _PLACES.reshape(4, 8)[::-1].ravel(),
    "within each block of 8, blocks of 2 in turn": _PLACES.reshape(4, 4, 2).swapaxes(1, 2).ravel(),
    "": np.random.default_rng(1).permutation(32),
}


@pytest.mark.parametrize("words", _ORDERS)
def test_an_order_is_named(words):
    assert order_in_words(_ORDERS[words]) == words
    told = related(_WEIGHT, _WEIGHT[_ORDERS[words]])
    assert told.startswith("B's are A's with ")
    assert told.endswith(f"places of axis 0 exchanged{': ' if words else ''}{words}")


def related(a, b, **known):
    return relation(a, b, a != b, **known)


def test_rows_are_found_although_their_factors_were_folded_in():
    gain, other = RNG.uniform(-2, 2, size=(2, 32, 1, 1, 1))
    a, b = _WEIGHT * gain, np.float32(_WEIGHT[::-1] * other)
    assert ": reversed, each row times a factor of its own" in related(a, b)
    assert ": rolled by 1" in related(a, np.roll(a, 1, 1).astype(np.float32))
    square, turned = _WEIGHT[..., 0, 0] * gain[..., 0, 0], _WEIGHT[..., 0, 0].T * gain[..., 0, 0]
    assert related(square, turned).startswith("B's are A's with two axes exchanged, each row and")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_rows_are_found_in_half_precision(dtype):
    unit = float(ml_dtypes.finfo(dtype).eps) / 2
    b = _WEIGHT[::-1].astype(dtype).astype(np.float64)
    assert related(_WEIGHT, b) == ""
    assert related(_WEIGHT, b, rounding=RoundingBetween(unit)).endswith(": reversed")


def test_rows_are_found_among_integers():
    step = np.abs(_WEIGHT).max() / 127
    b = np.roll(np.rint(_WEIGHT / step), 1, 0) * step
    assert related(_WEIGHT, b, rounding=RoundingBetween(0.0, np.full(b.shape, step))).endswith(
        ": rolled by 1"
    )


def test_a_factor_that_a_normalisation_holds_is_named():
    gain = RNG.uniform(0.5, 2, size=32)
    b = _WEIGHT * gain[:, None, None, None]
    told = related(_WEIGHT, b, gains=[("bn2", gain)])
    assert told == "B's are A's, each row times its factor in bn2, which is folded in once more"
    told = related(b, _WEIGHT, gains=[("bn2", gain)])
    assert told == "B's are A's, each row divided by its factor in bn2, which is not folded in"


def test_a_factor_of_one_is_rounding():
    told = related(_WEIGHT, _WEIGHT * (1 + 3e-7))
    assert told == "B's are A's within 3e-07 of them: rounding"


def test_unrelated_weights_have_no_relation():
    assert related(_WEIGHT, RNG.normal(size=_WEIGHT.shape)) == ""
    assert related(_WEIGHT[:, 0, 0, 0], RNG.normal(size=32)) == ""


X = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = nn.Sequential()
    for number, channels in enumerate((3, 32, 32)):
        made.add_module(f"conv{number}", nn.Conv2d(channels, 32, 1, bias=False))
        norm = nn.BatchNorm2d(32)
        for values, low, high in (
            (norm.weight, 0.5, 1.5),
            (norm.bias, -1, 1),
            (norm.running_mean, -0.3, 0.3),
            (norm.running_var, 0.05, 0.5),
        ):
            nn.init.uniform_(values, low, high)
        made.add_module(f"bn{number}", norm)
        made.add_module(f"relu{number}", nn.ReLU())
    return made.eval()


def changed(net, path, change):
    """An export with the normalisations folded in and the weight of the second convolution
    changed."""
    torch.onnx.export(net, (torch.from_numpy(X),), path, dynamo=False)
    model = onnx.load(path)
    convolution = [node for node in model.graph.node if node.op_type == "Conv"][1]
    (held,) = (x for x in model.graph.initializer if x.name == convolution.input[1])
    values = np.ascontiguousarray(change(numpy_helper.to_array(held)))
    held.CopyFrom(numpy_helper.from_array(values, held.name))
    onnx.save(model, path)
    return path


def test_rows_of_a_folded_weight_are_named_by_their_order(net, tmp_path):
    other = changed(net, tmp_path / "rows.onnx", lambda w: w[_ORDERS["blocks of 8 in turn"]])
    (source,) = probe.compare(net, other, X).sources
    assert source.b == ("/conv1/Conv",)
    assert source.notes == (
        "B's are A's with 30 of 32 places of axis 0 exchanged: blocks of 8 in turn",
        "A's layers with B's weight give B's values",
    )
    assert source.findings == ()


def test_a_normalisation_that_is_folded_in_twice(net, tmp_path):
    gain = (net.bn1.weight / torch.sqrt(net.bn1.running_var + net.bn1.eps)).detach().numpy()
    other = changed(net, tmp_path / "twice.onnx", lambda w: w * gain[:, None, None, None])
    (source,) = probe.compare(net, other, X).sources
    assert len(source.differs) == 1, source.differs
    assert source.notes[0].endswith("times its factor in bn1, which is folded in once more")
    kept = copy.deepcopy(net)  # the same where the normalisation stays behind
    kept.conv1.weight.data *= torch.from_numpy(gain)[:, None, None, None]
    (source,) = probe.compare(net, kept, X).sources
    assert source.notes[0].endswith("times its factor in bn1, which is folded in once more")


def test_rounding_of_a_halved_copy_is_not_listed(net):
    a = nn.Sequential(*(nn.Linear(16, 16) for _ in range(3)))
    b = copy.deepcopy(a).to(torch.bfloat16)
    b[1].weight.data = b[1].weight.data.T.contiguous()
    (source,) = probe.compare(a, b, X.reshape(-1, 16)).sources
    assert [name.partition("[")[0] for name, *_ in source.differs] == ["weight"]
    assert source.notes[0] == "B's are A's with two axes exchanged"
    assert source.findings == ()


@pytest.mark.parametrize(
    "names", [("weight_hh",), ("weight_hh", "weight_ih", "bias_hh", "bias_ih")]
)
def test_two_directions_exchanged(names):
    torch.manual_seed(0)
    a = nn.LSTM(8, 6, bidirectional=True)
    b = copy.deepcopy(a)
    for name in names:
        for ours, theirs in (("_l0", "_l0_reverse"), ("_l0_reverse", "_l0")):
            getattr(b, name + ours).data = getattr(a, name + theirs).data.clone()
    comparison = probe.compare(a, b, X[:, 0])
    assert comparison.verdict == "diverge"
    (source,) = comparison.sources
    assert source.notes[0] == "the two directions are exchanged"
    assert source.findings == ()
    assert not any("copied" in note for note in comparison.notes)


def linears(seed):
    torch.manual_seed(seed)
    return nn.Sequential(*(nn.Linear(16, 16) if k % 2 else nn.Tanh() for k in range(12)))


def test_another_checkpoint_is_one_source():
    a, b, x = linears(0), linears(1), X.reshape(-1, 16)
    b[1].load_state_dict(a[1].state_dict())  # stays frozen in fine-tuning
    comparison = probe.compare(a, b, x)
    (source,) = comparison.sources
    told = "5 of B's 6 layers with weights hold other weights than A's: another checkpoint"
    assert comparison.sentence == f"diverge: {told}"
    assert (source.b, source.notes[0], source.differs) == (("3",), told, ())


def test_another_epoch_is_one_source():
    a, x = linears(0), X.reshape(-1, 16)
    b = copy.deepcopy(a)
    for k in range(1, 12, 2):
        b[k].weight.data += 0.3 * b[k].weight.data.std() * torch.randn(16, 16)
    comparison = probe.compare(a, b, x)
    assert len(comparison.sources) == 1
    assert "off by 0.3" in comparison.sentence
    assert comparison.sentence.endswith("such as of another epoch")


def test_all_transposed_are_no_other_weights():
    a, x = linears(0), X.reshape(-1, 16)
    b = copy.deepcopy(a)
    for k in range(1, 12, 2):
        b[k].weight.data = b[k].weight.data.T.contiguous()
    comparison = probe.compare(a, b, x, search=False)
    assert comparison.sources[0].notes[0] == "B's are A's with two axes exchanged"
