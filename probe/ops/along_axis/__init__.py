"""Ops that go along an axis: reductions, sorting and running sums, softmax."""
