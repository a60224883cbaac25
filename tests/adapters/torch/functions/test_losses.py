"""Losses of PyTorch, as modules and as functions, over options drawn at random: PyTorch, NumPy and
ONNX Runtime agree, and in float64 a wrong formula cannot pass."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_functions import assert_close

import probe

DRAWS = 4


class Loss(nn.Module):
    """A loss of the input and of what is fixed, as a module or as a function."""

    def __init__(self, loss, rest):
        super().__init__()
        self.loss, self.rest = loss, rest

    def forward(self, x):
        return self.loss(x, *self.rest)


def numbers(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape))


def shares(rng, *shape):
    return torch.from_numpy(rng.uniform(0.05, 0.95, size=shape))


def signs(rng, *shape):
    return torch.from_numpy(rng.choice([-1.0, 1.0], size=shape))


def places(rng, *shape, ignored=-100):
    found = rng.integers(0, 5, size=shape)
    found.reshape(-1)[0] = ignored
    return torch.from_numpy(found)


def reduction(rng, *more):
    return {"reduction": str(rng.choice(["none", "mean", "sum", *more]))}


def maybe(rng, **options):
    return {name: value for name, value in options.items() if rng.random() < 0.5}


def of_numbers(rng, **options):
    """(scores, what comes behind them, options)."""
    return numbers(rng, 3, 5), [numbers(rng, 3, 5)], reduction(rng) | maybe(rng, **options)


def of_classes(rng, **options):
    shape = [(5,), (3, 5), (3, 5, 2, 4)][rng.integers(3)]
    ignored = int(rng.choice([-100, 2]))
    target = places(rng, *shape[:1], *shape[2:], ignored=ignored) if len(shape) > 1 else None
    target = torch.tensor(3) if target is None else target
    more = {"ignore_index": ignored} | maybe(rng, weight=shares(rng, 5), **options)
    return numbers(rng, *shape), [target], reduction(rng) | more


def of_probabilities(rng):
    target = torch.softmax(numbers(rng, 3, 5, 4), 1)
    more = maybe(rng, weight=shares(rng, 5), label_smoothing=0.2)
    return numbers(rng, 3, 5, 4), [target], reduction(rng) | more


def of_logs(rng):
    log = bool(rng.integers(2))
    target = torch.log_softmax(numbers(rng, 3, 5), 1)
    target = target if log else target.exp()
    target[0, 0] = target[0, 0] if log else 0.0
    return numbers(rng, 3, 5), [target], reduction(rng, "batchmean") | {"log_target": log}


def of_variance(rng):
    shape = [(3, 5), (3, 1), (3,)][rng.integers(3)]
    return (
        numbers(rng, 3, 5),
        [numbers(rng, 3, 5), shares(rng, *shape)],
        reduction(rng) | maybe(rng, full=True, eps=0.3),
    )


def of_counts(rng):
    log = bool(rng.integers(2))
    counts = torch.from_numpy(rng.poisson(2.0, size=(3, 5)).astype(float))
    x = numbers(rng, 3, 5) if log else shares(rng, 3, 5)
    return x, [counts], reduction(rng) | {"log_input": log} | maybe(rng, full=True)


def of_shares(rng):
    more = maybe(rng, weight=shares(rng, 3, 5))
    return shares(rng, 3, 5), [shares(rng, 3, 5)], reduction(rng) | more


def of_signs(rng, **options):
    return numbers(rng, 3, 5), [signs(rng, 3, 5)], reduction(rng) | maybe(rng, **options)


def of_rows(rng, count, **options):
    rest = [numbers(rng, 3, 5) for _ in range(count)]
    return numbers(rng, 3, 5), rest, reduction(rng) | maybe(rng, **options)


def of_pairs(rng):
    x, rest, options = of_rows(rng, 1, margin=0.3)
    return x, [*rest, signs(rng, 3)], options


def of_ranks(rng):
    x, rest, options = of_rows(rng, 1, margin=0.3)
    return x, [*rest, signs(rng, 3, 5)], options


def of_labels(rng):
    more = maybe(rng, weight=shares(rng, 5))
    target = torch.from_numpy(rng.integers(0, 2, size=(3, 5)).astype(float))
    return numbers(rng, 3, 5), [target], reduction(rng) | more


def of_margins(rng):
    more = maybe(rng, weight=shares(rng, 5), p=2, margin=0.7)
    return numbers(rng, 3, 5), [places(rng, 3, ignored=1)], reduction(rng) | more


def of_targets(rng):
    """Up to a negative one, none and all of them; twice the same."""
    target = torch.tensor([[1, 2, -1, 0, 0], [-1, 0, 3, 3, 3], [4, 3, 2, 1, 0], [2, 2, 0, -1, 1]])
    if rng.integers(2):
        return numbers(rng, 4, 5), [target], reduction(rng)
    return numbers(rng, 5), [target[int(rng.integers(4))]], reduction(rng)


def of_sequences(rng):
    """Labels that repeat and none, samples that end early, and one too short for its labels."""
    logs = torch.log_softmax(numbers(rng, 6, 4, 5), 2)
    blank = int(rng.choice([0, 4]))
    targets = torch.tensor([[1, 1, 2], [3, 2, 3], [2, 2, 2], [1, 2, 3]])
    lengths = [torch.tensor([6, 5, 4, 3]), torch.tensor([3, 2, 3, 0])]
    more = maybe(rng, zero_infinity=True) | {"blank": blank}
    if rng.integers(2):
        return logs, [targets, *lengths], reduction(rng) | more
    return logs[:, 0], [targets[0], *(one[:1] for one in lengths)], reduction(rng) | more


CASES = {
    "ctc_loss": (nn.CTCLoss, of_sequences),
    "mse_loss": (nn.MSELoss, of_numbers),
    "l1_loss": (nn.L1Loss, of_numbers),
    "smooth_l1_loss": (nn.SmoothL1Loss, lambda rng: of_numbers(rng, beta=0.4)),
    "smooth_l1_loss without a square": (
        nn.SmoothL1Loss,
        lambda rng: (numbers(rng, 3, 5), [numbers(rng, 3, 5)], reduction(rng) | {"beta": 0.0}),
    ),
    "huber_loss": (nn.HuberLoss, lambda rng: of_numbers(rng, delta=0.6)),
    "nll_loss": (nn.NLLLoss, of_classes),
    "cross_entropy": (nn.CrossEntropyLoss, lambda rng: of_classes(rng, label_smoothing=0.1)),
    "cross_entropy of probabilities": (nn.CrossEntropyLoss, of_probabilities),
    "binary_cross_entropy": (nn.BCELoss, of_shares),
    "binary_cross_entropy_with_logits": (
        nn.BCEWithLogitsLoss,
        lambda rng: (
            numbers(rng, 3, 5),
            [shares(rng, 3, 5)],
            reduction(rng) | maybe(rng, weight=shares(rng, 3, 5), pos_weight=shares(rng, 5)),
        ),
    ),
    "kl_div": (nn.KLDivLoss, of_logs),
    "gaussian_nll_loss": (nn.GaussianNLLLoss, of_variance),
    "poisson_nll_loss": (nn.PoissonNLLLoss, of_counts),
    "margin_ranking_loss": (nn.MarginRankingLoss, of_ranks),
    "hinge_embedding_loss": (nn.HingeEmbeddingLoss, lambda rng: of_signs(rng, margin=0.5)),
    "soft_margin_loss": (nn.SoftMarginLoss, of_signs),
    "multilabel_soft_margin_loss": (nn.MultiLabelSoftMarginLoss, of_labels),
    "multi_margin_loss": (nn.MultiMarginLoss, of_margins),
    "cosine_embedding_loss": (nn.CosineEmbeddingLoss, of_pairs),
    "multilabel_margin_loss": (nn.MultiLabelMarginLoss, of_targets),
    "triplet_margin_loss": (
        nn.TripletMarginLoss,
        lambda rng: of_rows(rng, 2, margin=0.5, p=3.0, swap=True),
    ),
}


def in_type(value, dtype):
    """Floats in a type."""
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype) if floating else value


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_loss(name):
    module, draw = CASES[name]
    function, rng = getattr(F, name.partition(" ")[0]), np.random.default_rng(len(name))
    for at in range(DRAWS):
        x, rest, options = draw(rng)
        dtype = (torch.float64, torch.float32)[at % 2]
        options = {key: in_type(value, dtype) for key, value in options.items()}
        rest = [in_type(one, dtype) for one in rest]
        nets = [
            Loss(module(**options), rest),
            Loss(lambda *args, options=options: function(*args, **options), rest),
        ]
        for net in nets:
            reports = list(probe.sweep(net.eval(), x.to(dtype)))
            assert reports and [one.verdict for one in reports] == ["agree"], (
                options,
                [str(one) for one in reports],
            )
            if dtype == torch.float64:
                assert_close(reports)
            assert not reports[0].missing


@pytest.mark.parametrize("reduction", range(3))
def test_the_operators_have_numbers_for_reductions(reduction):
    x, target = torch.randn(3, 5), torch.randn(3, 5)
    for operator, more in (
        (torch.ops.aten.mse_loss, []),
        (torch.ops.aten.huber_loss, [0.5]),
        (torch.ops.aten.kl_div, []),
        (torch.ops.aten.hinge_embedding_loss, None),
    ):
        rest = [target, 1.0, reduction] if more is None else [target.abs(), reduction, *more]
        reports = list(probe.sweep(Loss(operator, rest).eval(), x))
        assert [one.verdict for one in reports] == ["agree"], str(reports[0])


@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated:UserWarning")
def test_the_deprecated_flags():
    x, target = torch.randn(3, 5), torch.randn(3, 5)
    for size_average, reduce in ((False, None), (None, False), (True, True), (False, True)):

        def loss(x, size_average=size_average, reduce=reduce):
            return F.mse_loss(x, target, size_average, reduce)

        (report,) = probe.sweep(Loss(loss, []).eval(), x)
        assert report.verdict == "agree", str(report)


def test_a_triplet_loss_of_another_distance():
    """PyTorch's own, as a function and as modules, and a function that nothing is known of."""
    rest = [torch.randn(3, 5, dtype=torch.float64) for _ in range(2)]
    x = torch.randn(3, 5, dtype=torch.float64)
    function, module = F.triplet_margin_with_distance_loss, nn.TripletMarginWithDistanceLoss
    far = nn.PairwiseDistance(p=3.0, eps=0.1, keepdim=True)
    for loss in (
        lambda *three: function(*three, margin=0.5, swap=True, reduction="none"),
        lambda *three: function(*three, distance_function=F.pairwise_distance),
        module(margin=0.5, reduction="sum"),
        module(distance_function=far, swap=True),
        module(distance_function=far, reduction="none"),
    ):
        report = list(probe.sweep(Loss(loss, rest).eval(), x))[-1]
        assert report.ok and not report.missing, str(report)
        assert report.kind == "functional.triplet_margin_with_distance_loss"
        assert_close([report])
    own = module(distance_function=lambda a, b: (a - b).abs().sum(1))
    (report,) = probe.sweep(Loss(own, rest).eval(), x)
    assert report.verdict == "unchecked"
    assert "its distance is a function of the user's own" in report.sentence


@pytest.mark.skipif(
    not hasattr(nn, "LinearCrossEntropyLoss"), reason="this PyTorch has no LinearCrossEntropyLoss"
)
def test_a_cross_entropy_of_a_product():
    rng, x = np.random.default_rng(0), torch.randn(4, 6, dtype=torch.float64)
    for bias, ignored in ((True, 2), (False, -100)):
        loss = nn.LinearCrossEntropyLoss(6, 5, bias=bias, ignore_index=ignored)
        report = probe.check(Loss(loss.double(), [places(rng, 4, ignored=ignored)]).eval(), "", x)
        assert report.ok and not report.missing, str(report)
        assert_close([report])


def test_lengths_that_the_model_is_given():
    """Whole numbers that it takes as floats, in the block as a whole."""
    targets, lengths = torch.tensor([[1, 2, 2], [3, 1, 4]]), torch.tensor([6, 5])
    given = [torch.randn(6, 2, 5).log_softmax(2), targets, lengths, torch.tensor([3, 2])]
    report = probe.check(nn.CTCLoss(), "", given)
    assert report.ok and not report.missing, str(report)
    report = probe.check(nn.CTCLoss(), "", [given[0][:, 0], targets[0], lengths[0], lengths[1] - 2])
    assert report.ok and not report.missing, str(report)


def test_more_steps_of_a_sequence_than_are_described():
    given = [torch.randn(129, 2, 5).log_softmax(2), torch.ones(2, 3, dtype=int)]
    given += [torch.tensor([129, 129]), torch.tensor([3, 3])]
    (report,) = probe.sweep(nn.CTCLoss(), given)
    assert "129 steps; up to 128 are described" in report.sentence
