"""What --save writes of every source that quantises: a program in C that includes the header, and
the .npz, give the effective weights."""

import re
import subprocess

import keras
import numpy as np
import pytest
import qkeras
import tensorflow_model_optimization as tfmot
import tf_keras
import torch
from known_warnings import TORCH_AO
from torch import nn
from torch.ao import quantization
from torch.ao.nn import qat
from torch.ao.nn import quantized as nnq
from torch.nn.utils import prune

import probe

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning", *TORCH_AO
)
X = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def of_qkeras():
    bits = {
        f"{name}_quantizer": qkeras.quantized_bits(4, 1, alpha="auto_po2")
        for name in ("kernel", "bias")
    }
    layer = qkeras.QDense(5, **bits)
    layer.build((None, 8))
    return layer, layer.name


def of_keras(mode):
    def build():
        layer = keras.layers.Dense(5, name="l")
        layer.build((None, 8))
        layer.quantize(mode)
        return layer, "l"

    return build


def of_tfmot():
    data = tf_keras.Input((8,))
    model = tfmot.quantization.keras.quantize_model(
        tf_keras.Model(data, tf_keras.layers.Dense(5, name="l")(data))
    )
    model(X, training=True)
    return model, "quant_l"


def of_qat():
    module = qat.Linear(8, 5, qconfig=quantization.get_default_qat_qconfig("fbgemm"))
    module(torch.from_numpy(X))
    return module.eval(), ""


def of_quantised():
    module = nnq.Linear(8, 5)
    scales = torch.rand(5, dtype=torch.float64) / 50 + 0.01
    module.set_weight_bias(
        torch.quantize_per_channel(
            torch.randn(5, 8), scales, torch.zeros(5, dtype=torch.int64), 0, torch.qint8
        ),
        None,
    )
    return nn.Sequential(nnq.Quantize(0.05, 60, torch.quint8), module, nnq.DeQuantize()), "1"


def of_table():
    module = nnq.Embedding(9, 4)
    rows = torch.randn(9, 4)
    scales = (rows.amax(1) - rows.amin(1)) / 255
    module.set_weight(
        torch.quantize_per_channel(rows, scales, -rows.amin(1) / scales, 0, torch.quint8)
    )
    return module, ""


def of_brevitas(**options):
    def build():
        qnn = pytest.importorskip("brevitas.nn")
        from brevitas import quant  # noqa: PLC0415

        given = {
            name: getattr(quant, value) if isinstance(value, str) else value
            for name, value in options.items()
        }
        return qnn.QuantLinear(8, 5, input_quant=None, **given).eval(), ""

    return build


def of_torchao(make):
    def build():
        torchao = pytest.importorskip("torchao.quantization")
        net = nn.Sequential(nn.Linear(8, 5)).eval()
        torchao.quantize_(net, make(torchao))
        return net, "0"

    return build


def of_pruning():
    return prune.l1_unstructured(nn.Linear(8, 5), "weight", amount=0.4), ""


SOURCES = {
    "qkeras": (of_qkeras, {"kernel": 4, "bias": 4}),
    "keras int8": (of_keras("int8"), {"kernel": 8}),
    "keras int4": (of_keras("int4"), {"kernel": 4}),
    "tfmot": (of_tfmot, {"kernel": 8}),
    "torch.ao qat": (of_qat, {"weight": 8}),
    "torch.ao quantised": (of_quantised, {"weight": 8}),
    "torch.ao embedding": (of_table, {"weight": None}),  # its zero points are no integers
    "brevitas": (
        of_brevitas(weight_bit_width=5, bias_quant="Int8BiasPerTensorFloatInternalScaling"),
        {"weight": 5, "bias": 8},
    ),
    "brevitas shifted": (
        of_brevitas(weight_quant="ShiftedUint8WeightPerChannelFloat"),
        {"weight": 8},
    ),
    "brevitas ternary": (
        of_brevitas(weight_quant="SignedTernaryWeightPerTensorConst"),
        {"weight": 2},
    ),
    "brevitas binary": (
        of_brevitas(weight_quant="SignedBinaryWeightPerTensorConst"),
        {"weight": 1},
    ),
    "torchao int8": (of_torchao(lambda ao: ao.Int8WeightOnlyConfig()), {"weight": 8}),
    "torchao int3": (
        of_torchao(
            lambda ao: ao.IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=ao.PerGroup(4))
        ),
        {"weight": 3},
    ),
    "pruned": (of_pruning, {"weight": None}),
}


def program(header):
    """A program that prints every array of the header under its name, a line each."""
    lines = ["#include <stdio.h>", '#include "layer.h"', "int main(void) {"]
    for name, size in re.findall(r"static const \w+ (\w+)\[(\d+)\]", header):
        lines.append(
            f'  printf("{name}"); for (int i = 0; i < {size}; i++) printf(" %.17g", '
            f'(double){name}[i]); printf("\\n");'
        )
    return "\n".join([*lines, "  return 0;", "}", ""])


def compiled(folder):
    """The arrays by their names, without the layer's before them."""
    header = (folder / "layer.h").read_text(encoding="utf-8")
    prefix = re.search(r"(\w+)input_0\[", header)[1]
    (folder / "main.c").write_text(program(header))
    subprocess.run(["cc", "-Wall", "-Werror", "-o", "main", "main.c"], cwd=folder, check=True)
    printed = subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout
    return {
        name.removeprefix(prefix): np.array(values.split(), float)
        for name, _, values in (line.partition(" ") for line in printed.splitlines())
    }


def listed(path):
    """The tables of the text by their names: numbers under a line of words."""
    tables: dict[str, list[float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"# ([\w./]+): ", line):
            tables[found[1]] = []
        elif not line.startswith("#"):
            tables[next(reversed(tables))].append(float(line))
    return {name: np.array(values) for name, values in tables.items()}


@pytest.mark.costly(default=3)
@pytest.mark.parametrize("source", SOURCES)
def test_what_a_test_bench_reads_is_the_effective_weight(source, tmp_path):
    build, weights = SOURCES[source]
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    model, name = build()
    report = probe.check(model, name, np.arange(9).reshape(3, 3) if "embedding" in source else X)
    assert report.ok, str(report)
    for form in ("npz", "h", "txt"):
        report.save(tmp_path / f"layer.{form}")
    tables, texts = compiled(tmp_path), listed(tmp_path / "layer.txt")
    words = (tmp_path / "layer.h").read_text(encoding="utf-8")
    with np.load(tmp_path / "layer.npz") as held:
        for part, bits in weights.items():
            effective = report.weights[part].effective
            np.testing.assert_array_equal(held[f"effective:{part}"], effective)
            if bits is None:
                assert f"integer:{part}" not in held.files
                for given in (tables, texts):
                    np.testing.assert_array_equal(
                        given[part].reshape(effective.shape).astype(effective.dtype), effective
                    )
                continue
            integers, scale, zero = (
                held[f"{kind}:{part}"] for kind in ("integer", "scale", "zero_point")
            )
            assert held[f"bits:{part}"] == bits and integers.dtype.kind == "i"
            signed = report.weights[part].grid.signed
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            low, high = (-1, 1) if signed and bits == 1 else (low, high)
            assert low <= integers.min() and integers.max() <= high
            told = (
                "signs of 1 bit (-1 or 1)"
                if bits == 1
                else f"{'' if signed else 'un'}signed {bits}-bit integers"
            )
            assert f"{told}, value = " in words
            np.testing.assert_allclose((integers - zero) * scale, effective, rtol=1e-6, atol=0)
            for given in (tables, texts):
                np.testing.assert_array_equal(given[part].reshape(effective.shape), integers)
                np.testing.assert_array_equal(
                    given[f"{part}_scale"].reshape(np.shape(scale)).astype(scale.dtype), scale
                )
                assert (f"{part}_zero_point" in given) == bool(np.any(zero))
                if np.any(zero):
                    np.testing.assert_array_equal(
                        given[f"{part}_zero_point"].reshape(np.shape(zero)), zero
                    )
    np.testing.assert_array_equal(
        tables["output_0"].astype(np.float32), report.outputs["framework"].ravel()
    )
