"""Layers of HGQ2, with bits of their own for every element, as C programs in integers."""

from c_programs import is_exact
from hgq_cases import MODELS, arrays, drawn

import probe
from probe.by_hand.c.input_formats import input_formats
from probe.by_hand.c.program import c_program

WRITTEN = {
    *("QConv2D", "QConv1D", "QConv3D", "QBatchNormDense", "QEinsumDense"),
    *("QEinsumDenseBatchnorm", "QAdd", "QSubtract", "QMultiply", "QMaximum", "QMinimum"),
    *("QAveragePow2", "QMaxPooling2D", "QAveragePooling1D", "QGlobalMaxPooling3D", "QSum"),
    "Quantizer",
}


def test_layers_as_c_programs(tmp_path):
    found = set()
    for build in MODELS[:3]:
        model, calls = drawn(build()), {}

        def take(capture, calls=calls):
            calls[capture.key] = capture

        probe.open_model(model).run(tuple(arrays(model)), None, take)
        for capture in calls.values():
            try:
                text = c_program(capture, formats=input_formats(capture, calls))
            except probe.ProbeError:
                continue
            assert is_exact(text, tmp_path), capture.layer
            found.add(capture.kind)
    assert found >= WRITTEN
