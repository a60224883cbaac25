"""Attention layers, einsum, dot products and embeddings over their constructors' options and their
arguments."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given
from hypothesis import strategies as st
from hypothesis_examples import examples

import probe

QUICK = examples(10, phases=[Phase.explicit, Phase.generate])
SEED = st.integers(0, 999)


def normal(rng, shape):
    return rng.normal(size=shape).astype("float32")


def whole(keras, layer, arrays, call, seed=0):
    """The report of a layer called by ``call`` on the symbolic inputs of a model, with drawn
    weights: all parties agree."""
    inputs = [keras.Input(x.shape[1:], dtype=x.dtype.name) for x in arrays]
    model = keras.Model(inputs, call(*inputs))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    report = probe.check(model, layer.name, arrays)
    assert set(report.outputs) == {"framework", "numpy", "onnx"}, f"{layer.get_config()}\n{report}"
    settled = report.ok or "own range" in report.sentence
    assert settled, f"{layer.get_config()} on {[x.shape for x in arrays]}\n{report}"
    return report


@QUICK
@given(
    heads=st.integers(1, 3),
    dims=st.sampled_from([(4, None), (3, 5), (8, 2)]),
    options=st.fixed_dictionaries(
        {"use_bias": st.booleans(), "output_shape": st.sampled_from([None, 3, (2, 3)])}
    ),
    call=st.fixed_dictionaries(
        {"return_attention_scores": st.booleans(), "use_causal_mask": st.booleans()}
    ),
    mask=st.sampled_from(["", "bool", "int", "heads"]),
    keyed=st.booleans(),
    policy=st.sampled_from(
        ["float32", "float32", "float64", "mixed_float16", "mixed_bfloat16", "float16"]
    ),
    seed=SEED,
)
def test_multi_head_attention(keras, heads, dims, options, call, mask, keyed, policy, seed):
    rng = np.random.default_rng(seed)
    layer = keras.layers.MultiHeadAttention(heads, *dims, **options, dtype=policy)
    x, y = normal(rng, (2, 4, 6)), normal(rng, (2, 5, 7))
    arrays = [x, y, *([normal(rng, (2, 5, 3))] if keyed else [])]
    if mask:
        m = rng.random((2, heads, 4, 5) if mask == "heads" else (2, 4, 5)) < 0.6
        m[..., 0] = True
        arrays.append(m.astype("int32" if mask == "int" else "bool"))

    def called(*inputs):
        query, value, *rest = inputs
        more = {"attention_mask": rest[-1]} if mask else {}
        return layer(query, value, key=rest[0] if keyed else None, **more, **call)

    report = whole(keras, layer, arrays, called, seed)
    assert report.weights["query/kernel"].stored.shape == (6, heads, dims[0])


@pytest.mark.parametrize("axes", [None, (1,), (2,), (-2,), (1, 2)])
@pytest.mark.parametrize("scores", [False, True])
def test_several_axes(keras, axes, scores):
    if keras.__name__ == "tf_keras" and axes and min(axes) < 0:
        pytest.skip("Keras 2 counts from behind the heads")
    rng = np.random.default_rng(0)
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=axes)
    whole(
        keras,
        layer,
        [normal(rng, (2, 4, 5, 6))],
        lambda x: layer(x, x, return_attention_scores=scores),
    )


def test_a_query_over_several_axes_that_looks_nowhere():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))
    mask = rng.random((2, 4, 5, 4, 5)) < 0.6
    mask[1, 2, 3] = False
    report = whole(
        keras, layer, [normal(rng, (2, 4, 5, 6)), mask], lambda x, m: layer(x, x, attention_mask=m)
    )
    assert not report.missing, report


@pytest.mark.parametrize("kind", ["MultiHeadAttention", "GroupQueryAttention"])
def test_masks_of_the_inputs(keras, kind):
    """Made by an Embedding's mask_zero; a query without positions left is judged too."""
    if not hasattr(keras.layers, kind):
        pytest.skip("Keras 2 has no such layer")
    tokens = np.array([[3, 1, 2, 0, 0], [0, 0, 0, 0, 0]], "int32")
    embedding = keras.layers.Embedding(6, 8, mask_zero=True)
    layer = (
        keras.layers.MultiHeadAttention(2, 4)
        if kind == "MultiHeadAttention"
        else keras.layers.GroupQueryAttention(4, 4, 2)
    )
    for causal in (False, True):
        inputs = keras.Input((5,), dtype="int32")
        model = keras.Model(
            inputs, layer(embedding(inputs), embedding(inputs), use_causal_mask=causal)
        )
        report = probe.check(model, layer.name, tokens)
        assert report.ok or keras.__name__ == "tf_keras", report
        assert (
            report.comparisons["framework", "numpy"].ok and report.comparisons["numpy", "onnx"].ok
        )


def test_a_mask_of_its_own_beside_masks_of_the_inputs(keras):
    tokens, rng = np.array([[3, 1, 2, 0, 0], [4, 5, 1, 2, 0]], "int32"), np.random.default_rng(0)
    embedding = keras.layers.Embedding(6, 8, mask_zero=True)
    layer = keras.layers.MultiHeadAttention(2, 4)
    inputs, mask = keras.Input((5,), dtype="int32"), keras.Input((5, 5), dtype="bool")
    found = layer(embedding(inputs), embedding(inputs), attention_mask=mask)
    own = rng.random((2, 5, 5)) < 0.6
    own[..., 0] = True
    report = probe.check(keras.Model([inputs, mask], found), layer.name, [tokens, own])
    assert not report.missing, report
    assert report.comparisons["framework", "numpy"].ok and report.comparisons["numpy", "onnx"].ok


def test_grouped_query_attention():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    for number, (heads, shared, options) in enumerate(
        [(4, 2, {}), (6, 2, {"use_bias": False}), (3, 3, {"use_gate": True}), (4, 1, {})]
    ):
        for policy in ("float32", "float64", "mixed_bfloat16"):
            layer = keras.layers.GroupQueryAttention(5, heads, shared, **options, dtype=policy)
            x, y = normal(rng, (2, 4, 6)), normal(rng, (2, 3, 6))
            mask = rng.random((2, 4, 3)) < 0.7
            how = {"use_causal_mask": number == 1, "return_attention_scores": number == 2}
            whole(
                keras,
                layer,
                [x, y, mask],
                lambda q, v, m, how=how, layer=layer: layer(q, v, attention_mask=m, **how),
            )


def test_options_of_keras_3():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    for options in (
        {"use_gate": True},
        {"sliding_window": 2},
        {"sliding_window": 1, "dropout": 0.5},
        {"dropout": 0.2},
    ):
        layer = keras.layers.MultiHeadAttention(2, 3, 4, **options)
        whole(
            keras,
            layer,
            [normal(rng, (2, 5, 6))],
            lambda x, layer=layer: layer(x, x, use_causal_mask=True),
        )


@QUICK
@given(
    additive=st.booleans(),
    scaled=st.booleans(),
    mode=st.sampled_from(["dot", "concat"]),
    keyed=st.booleans(),
    masks=st.sampled_from(["", "value", "both"]),
    call=st.fixed_dictionaries(
        {"return_attention_scores": st.booleans(), "use_causal_mask": st.booleans()}
    ),
    policy=st.sampled_from(["float32", "float32", "float64", "float16", "mixed_bfloat16"]),
    seed=SEED,
)
def test_attention(keras, additive, scaled, mode, keyed, masks, call, policy, seed):
    rng = np.random.default_rng(seed)
    kind = keras.layers.AdditiveAttention if additive else keras.layers.Attention
    layer = kind(use_scale=scaled, **({} if additive else {"score_mode": mode}), dtype=policy)
    width = 6 if (additive and keras.__name__ == "tf_keras") or not keyed else 4
    arrays = [
        normal(rng, (2, 4, 6)),
        normal(rng, (2, 5, width)),
        *([normal(rng, (2, 5, 6))] if keyed else []),
    ]
    count = len(arrays)
    if masks:
        value = rng.random((2, 5)) < 0.7
        value[:, 0] = True
        arrays += [value, *([rng.random((2, 4)) < 0.6] if masks == "both" else [])]

    def called(*inputs):
        given, more = list(inputs[:count]), inputs[count:]
        mask = [more[1] if masks == "both" else None, more[0]] if masks else None
        return layer(given, mask=mask, **call)

    whole(keras, layer, arrays, called, seed)


EQUATIONS = [
    ("abc,cd->abd", (None, 5), "d", (2, 3, 4)),
    ("abc,cde->abde", (None, 2, 5), "de", (2, 3, 4)),
    ("abcd,cde->abe", (None, 5), "e", (2, 3, 4, 2)),
    ("...x,xy->...y", (3, 5), "y", (2, 3, 4)),
    ("ab...,bc->ac...", (5, 3), "c", (2, 4, 3)),
    ("abc,cd->adb", (5, 3), "d", (2, 3, 4)),
    ("abc,bcd->abd", (3, 5), "bd", (2, 3, 4)),
    ("abc,bd->adc", (5, 4), "dc", (2, 3, 4)),
    ("ab,b->a", (), None, (2, 4)),
    ("abc,c->abc", (3, 4), "c", (2, 3, 4)),
]


@pytest.mark.parametrize(("equation", "shape", "bias", "given"), EQUATIONS)
def test_einsum_dense(keras, drawn, agrees, equation, shape, bias, given):
    for axes, activation in ((None, "relu"), (bias, None)):
        agrees(
            keras.layers.EinsumDense(equation, shape, bias_axes=axes, activation=activation), given
        )
    layer = drawn(
        keras.layers.EinsumDense(equation, shape, bias_axes=bias, dtype="mixed_float16"), given
    )
    x = normal(np.random.default_rng(0), given)
    halves = [array.astype("float16") for array in (x, layer.get_weights()[0])]
    true = np.einsum(equation, *(array.astype("float64") for array in halves))
    if np.abs(tf.einsum(equation, *halves).numpy() - true).max() < 0.1:
        agrees(layer, x)
    else:  # TensorFlow 2.21 (oneDNN) with an ellipsis, on CPUs with AVX512-FP16
        assert (
            "the framework is the odd one out" in probe.check(layer, layer.name, given=x).sentence
        )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("axes", "shapes"),
    [
        (1, [(3, 4), (3, 4)]),
        ((1, 2), [(2, 3, 5), (2, 4, 3)]),
        (-1, [(2, 3, 5), (2, 4, 5)]),
        ((2, 1), [(2, 3, 5), (2, 5)]),
        (1, [(2, 5), (2, 5, 3, 2)]),
    ],
)
def test_dot(keras, normalize, axes, shapes):
    rng = np.random.default_rng(0)
    layer = keras.layers.Dot(axes, normalize=normalize)
    whole(keras, layer, [normal(rng, shape) for shape in shapes], lambda *x: layer(list(x)))


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_embedding(keras, policy, dtype):
    tokens = np.random.default_rng(0).integers(0, 7, size=(2, 4)).astype(dtype)
    layer = keras.layers.Embedding(7, 5, mask_zero=True, dtype=policy)
    report = whole(keras, layer, [tokens], layer)
    assert report.weights["embeddings"].stored.shape == (7, 5)


@pytest.mark.parametrize(
    "options", [{}, {"tie_weights": False}, {"logit_soft_cap": 2.0}, {"reverse_dtype": "float32"}]
)
def test_reversible_embedding(options):
    keras = pytest.importorskip("keras")
    if not hasattr(keras.layers, "ReversibleEmbedding"):
        pytest.skip("a release of Keras without it")
    rng = np.random.default_rng(0)
    for policy in ("float32", "mixed_bfloat16"):
        layer = keras.layers.ReversibleEmbedding(7, 5, dtype=policy, **options)
        tokens = rng.integers(0, 7, size=(2, 4)).astype("int32")

        def there_and_back(i, x, layer=layer):
            return [layer(i), layer(x, reverse=True)]

        inputs = [keras.Input((4,), dtype="int32"), keras.Input((4, 5))]
        model = keras.Model(inputs, there_and_back(*inputs))
        arrays = [tokens, normal(rng, (2, 4, 5))]
        reports = [probe.check(model, layer.name, arrays, call=call) for call in (0, 1)]
        refused = [one for one in reports if not one.ok]
        assert len(refused) == (policy != "float32" and "reverse_dtype" in options), refused
        assert all(
            "its reverse_dtype float32 differs from its compute dtype bfloat16" in one.sentence
            for one in refused
        )


@pytest.mark.filterwarnings(
    "ignore:Layer .* does not support masking", "ignore:You are saving your model as an HDF5"
)
# Keras 3.15 saving
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_a_file_with_all_of_them(keras, tmp_path):
    """Saved, reopened and swept: every layer has its description there too."""
    layers = keras.layers
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    x = layers.Embedding(9, 8, mask_zero=True)(tokens)
    y = layers.MultiHeadAttention(2, 4, output_shape=8)(x, x, use_causal_mask=True)
    y = layers.GroupQueryAttention(4, 4, 2)(y, x) if keras.__name__ == "keras" else y
    y = layers.EinsumDense("abc,cd->abd", (None, 8), bias_axes="d", activation="tanh")(y)
    y = layers.Attention(use_scale=True)([y, x])
    z = layers.AdditiveAttention()([y, x])
    outputs = layers.Dot(2)([z, y])
    path = tmp_path / ("net.keras" if keras.__name__ == "keras" else "net.h5")
    keras.Model(tokens, outputs).save(path)
    reports = list(probe.sweep(str(path), np.array([[3, 1, 2, 0, 0], [5, 7, 8, 2, 1]], "int32")))
    assert len(reports) >= 6
    for report in reports:
        assert report.ok and "numpy" in report.outputs, report
