"""A convolution whose output is the buffer of its input."""

from collections.abc import Iterator

from probe import ops
from probe.hypotheses.edits.overwritten import in_place
from probe.hypotheses.registry import more
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@more("changed-step")
def convolution_in_place(case: Case) -> Iterator[Edit]:
    """Results that overwrite the input which later ones are computed from."""
    for position, op in case.having(ops.Conv):
        for words, loop in in_place(op):
            call = case.calls[position] if position < len(case.calls) else ""
            yield case.edit(
                f"{call or 'the convolution'} overwrites its own input, {words}",
                case.with_op(position, loop),
                do="write the output to a buffer of its own",
                as_healthy=True,
            )
