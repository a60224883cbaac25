"""What is tried of the layers in which mistakes are planted, cause by cause: how many changes, in
which words, and how far they move the output.

what_is_tried.txt has a line for each cause. Where a change of the search is meant, it is written
anew: ``PYTHONPATH=tests/support python tests/hypotheses/test_what_is_tried.py``.
"""

import re
from collections import defaultdict
from pathlib import Path
from zlib import crc32

import numpy as np
from fault_catalogue import ROWS

import probe
from probe.capture.passes import captured
from probe.capture.question import Question
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.reference import inputs_of, recomputed
from probe.hypotheses import REGISTERED
from probe.hypotheses.edits.changes import Changes
from probe.trial.case import of_output
from probe.trial.edit import Edit
from probe.trial.refusals import refused

FAMILIES = (
    "Keras Rescaling",
    "Keras Normalization, inverted",
    "Keras Dense",
    "Keras Embedding",
    "ConvTranspose2d",
    "Concatenated",
    "Conv2d",
    "Parallel",
    "BatchNorm1d",
    "PyTorch RNN",
    "Block",
    "ReLU",
    "ELU",
    "SiLU",
    "FakeQuantize",
    "Gated",
    "Language model",
    "Normalised pixels",
    "PyTorch LSTM, both directions",
    "LeakyReLU",
    "Upsample bilinear",
    "MultiheadAttention",
    "Residual",
    "Upsample nearest",
    "MaxPool2d",
    "Packed",
    "CircularPad2d",
    "LocalResponseNorm",
    "ReplicationPad2d",
    "DequantizeLinear",
    "Patch embedding",
    "Conv3d",
    "RMSNorm",
    "MaxPool2d, places",
    "ReflectionPad2d",
    "Decoder",
)
"""Of which together most is tried in the least time."""
SMALL = ("Gated", "LeakyReLU", "MaxPool2d", "RMSNorm", "PyTorch RNN")
"""Of which all changes of single steps are made, too."""
SOLVED = {"other-weights"}
"""What is solved for and not tried."""
FILE = Path(__file__).parent / "what_is_tried.txt"


def case_of(make):
    """The layer of a planted mistake, and the values that it gives."""
    layer, x, wrong, *options = make()
    if options and "at" in options[0]:
        question = Question(options[0]["at"], x)
    else:
        question = Question(probe.open_model(layer).layers[0].name, given=x)
    call = captured(layer, question).calls[0]
    reference = recomputed(call.description, inputs_of(call))
    observed = wrong[0] if isinstance(wrong, tuple | list) else wrong
    return of_output(
        call.description.steps,
        tuple(inputs_of(call)),
        reference.values,
        0,
        np.asarray(observed, np.float64),
    )


def moved(case, edit):
    """How far an edit moves what is comparable of the output, on the average; 0 where the layer
    with it cannot be computed."""
    try:
        with np.errstate(all="ignore"):
            y = np.asarray(recompute(edit.steps, edit.inputs)[-1][0], np.float64)
            apart = np.abs(y - case.healthy if y.shape == case.healthy.shape else y)
    except Exception as error:
        refused(error)
        return 0.0
    finite = apart[np.isfinite(apart)]
    return float(finite.mean()) if finite.size else 0.0


def made(case, changes):
    """The changes of a layer that are tried without being edits first, in words."""
    for reading, inner in changes.readings(case):
        yield from (change.claim for change in changes.of(reading, reading, inner))


def tried():
    """By cause a line, of the changes, their words without numbers that were fitted, and the moves
    of the first of each layer; and the words."""
    rows = {}
    for _, family, make in ROWS:
        rows.setdefault(family, make)
    counts, words, moves = defaultdict(int), defaultdict(set), defaultdict(float)
    for family in FAMILIES:
        case = case_of(rows[family])
        for hypothesis in REGISTERED:
            slug = hypothesis.slug
            if slug in SOLVED:
                continue
            yielded = [*hypothesis(case)]
            edits = [edit for edit in yielded if isinstance(edit, Edit)]
            claims = [edit.claim for edit in edits]
            for changes in yielded:
                if isinstance(changes, Changes) and family in SMALL:
                    claims += made(case, changes)
            counts[slug] += len(claims)
            words[slug] |= {re.sub(r"\d+\.\d{4,}", "#", claim) for claim in claims}
            moves[slug] += sum(moved(case, edit) for edit in edits[:1])
    lines = {}
    for slug in sorted(counts):
        digest = crc32("\n".join(sorted(words[slug])).encode())
        lines[slug] = f"{slug} {counts[slug]} {len(words[slug])} {digest:08x} {moves[slug]:.5g}"
    return lines, words


def test_what_is_tried():
    lines, words = tried()
    expected = {line.split()[0]: line for line in FILE.read_text("utf-8").splitlines()}
    assert lines.keys() == expected.keys()
    for slug, line in lines.items():
        *exactly, far = line.split()
        *as_before, before = expected[slug].split()
        same = exactly == as_before and np.isclose(float(far), float(before), rtol=1e-3, atol=1e-6)
        assert same, f"{line}\n(it was {expected[slug]})\n" + "\n".join(sorted(words[slug]))


if __name__ == "__main__":
    FILE.write_text("\n".join(tried()[0].values()) + "\n", "utf-8")
