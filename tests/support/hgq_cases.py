"""Models of HGQ2's layers, and weights and bits for them that no training gives."""

import keras
import numpy as np
from hgq.layers import (
    QGRU,
    QLIF,
    QAdd,
    QAffinedUnaryFunctionLUT,
    QAveragePooling1D,
    QAveragePow2,
    QBatchNormalization,
    QBatchNormDense,
    QConv1D,
    QConv2D,
    QConv3D,
    QConvT1D,
    QConvT2D,
    QDense,
    QDenseT,
    QDot,
    QEinsum,
    QEinsumDense,
    QEinsumDenseBatchnorm,
    QEinsumDenseT,
    QGlobalAveragePooling2D,
    QGlobalMaxPooling3D,
    QLinformerAttention,
    QLinformerAttentionT,
    QMaximum,
    QMaxPooling2D,
    QMeanPow2,
    QMinimum,
    QMultiHeadAttention,
    QMultiHeadAttentionT,
    QMultiply,
    QSimpleRNN,
    QSimpleSNN,
    QSoftmax,
    QSubtract,
    QSum,
    Quantizer,
    QUnaryFunctionLUT,
)
from hgq.layers.attn import QSALTAttention
from hgq.layers.rnn import QGRUCell, QSimpleRNNCell
from hgq.layers.snn import LIFCell, QLIFCell, QSimpleSNNCell, SpikingNeuralCell
from hgq.quantizer import QuantizerConfig
from qkeras.quantizers import quantized_bits

__all__ = ["MODELS", "alone", "arrays", "drawn", "floats", "values"]

_DRAWN = (
    "kernel",
    "recurrent_kernel",
    "bias",
    "bn_gamma",
    "bn_beta",
    "gamma",
    "beta",
    "scale",
    "moving_mean",
)


def drawn(model, seed=0):
    """Weights, and bits by element, some of them none at all and none of them whole numbers."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in _DRAWN and (variable.trainable or name == "moving_mean"):
            variable.assign(rng.normal(size=variable.shape))
        elif name == "moving_variance":
            variable.assign(rng.uniform(0.5, 2, size=variable.shape))
        elif name in ("f", "b"):
            variable.assign(
                rng.integers(0, 7, size=variable.shape)
                + rng.uniform(-0.4, 0.4, size=variable.shape)
            )
        elif name == "i" and variable.constraint is None:  # a hard sigmoid's or tanh's stay
            variable.assign(rng.integers(0, 3, size=variable.shape))
        elif name in ("m", "e"):
            variable.assign(rng.integers(2, 5, size=variable.shape))
    return model


def arrays(model, seed=1):
    """An input for each of the model's; of the first sample some rows are zero, which masks
    hide."""
    rng = np.random.default_rng(seed)
    made = [(2 * rng.normal(size=(3, *one.shape[1:]))).astype(np.float32) for one in model.inputs]
    for one in made:
        one[0, 1:3] = 0
    return made


def values(model):
    """Copies of all variables."""
    return [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]


def images():
    data = keras.Input((6, 6, 3))
    x = QMaxPooling2D(2)(
        QBatchNormalization()(
            QConv2D(4, 3, activation="relu", padding="same", enable_oq=True)(data)
        )
    )
    y = QConv2D(4, 2, padding="same", use_bias=False)(x)
    x = QAveragePow2()([QAdd()([x, y]), y])
    x = QMinimum()([QMaximum()([QSubtract()([x, QMultiply()([x, y])]), y]), x])
    x = QSoftmax()(QDense(3, name="last", activation="tanh")(QGlobalAveragePooling2D()(x)))
    return keras.Model(data, x)


def sequences():
    data = keras.Input((6, 5))
    x = QConv1D(4, 3)(QEinsumDense("bti,ij->btj", (6, 4), bias_axes="j", enable_oq=True)(data))
    x = QEinsumDenseBatchnorm("bti,ij->btj", (4, 4), bias_axes="j")(QBatchNormDense(4)(x))
    x = QAffinedUnaryFunctionLUT("sigmoid")(QUnaryFunctionLUT("tanh")(x))
    x = Quantizer(QuantizerConfig("kif", "datalane"))(QAveragePooling1D(2)(x))
    y, z = QSum(axes=1, scale=0.5)(x), QMeanPow2(axes=(1,))(x)
    return keras.Model(data, [QEinsum("ab,ab->ab")([y, z]), QDot(axes=1)([y, z])])


def volumes():
    data = keras.Input((3, 4, 4, 2))
    return keras.Model(data, QSoftmax(stable=False)(QGlobalMaxPooling3D()(QConv3D(3, 2)(data))))


def floats(place, **options):
    """HGQ2 0.2.0 hands its float quantizer an option that this does not have."""
    config = QuantizerConfig("float", place, **options)
    config.config.pop("is_weight")
    return config


def of_floats():
    data = keras.Input((5,))
    bias = floats("bias", homogeneous_axis=(), heterogeneous_axis=None)
    return keras.Model(
        data, QDense(4, kq_conf=floats("weight"), bq_conf=bias, iq_conf=floats("datalane"))(data)
    )


def recurrent():
    data = keras.Input((7, 4))
    masked = keras.layers.Masking()(data)
    of_cells = keras.layers.RNN(
        [QGRUCell(3, reset_after=False), QSimpleRNNCell(5)], return_sequences=True
    )
    return keras.Model(
        data,
        [
            QGRU(5, return_sequences=True)(masked),
            *QGRU(
                3,
                reset_after=False,
                activation="tanh",
                recurrent_activation="sigmoid",
                go_backwards=True,
                return_state=True,
            )(data),
            QGRU(2, use_bias=False)(data),
            QSimpleRNN(5)(masked),
            QSimpleRNN(6, enable_sq=True, activation="tanh", return_sequences=True, use_bias=False)(
                data
            ),
            of_cells(data),
        ],
    )


def attention():
    query, value = keras.Input((7, 4)), keras.Input((5, 4))
    masked = keras.layers.Masking()(value)
    return keras.Model(
        [query, value],
        [
            *QMultiHeadAttention(2, 3)(query, masked, return_attention_scores=True),
            QMultiHeadAttention(
                3, 2, value_dim=5, fuse="qkv", stable_softmax=False, use_bias=False
            )(query, query, use_causal_mask=True),
            QMultiHeadAttentionT(2, 3, d_hl=1, batch_norm=True)(query, value),
            QLinformerAttention(2, 3, 4, share_kv_proj=True)(query, query),
            QLinformerAttentionT(2, 3, 4, n_hl=0)(query, value),
            QSALTAttention(2, 3, 4, cluster_k_proj=True, cluster_v_proj=True, conv_size=0)(
                query, value
            ),
        ],
    )


def tables():
    vectors, pixels = keras.Input((6, 4)), keras.Input((5, 6, 2))
    return keras.Model(
        [vectors, pixels],
        [
            QDenseT(3, activation="relu")(vectors),
            QDenseT(3, n_hl=2, d_hl=3, batch_norm=True, use_bias=False, enable_iq=False)(vectors),
            QConvT1D(3, 2, strides=2, padding="same")(vectors),
            QConvT2D(3, (2, 3), dilation_rate=(1, 2))(pixels),
            QConvT2D(3, 2, strides=2, padding="same", subnn_activation="tanh", n_hl=2, d_hl=2)(
                pixels
            ),
            QEinsumDenseT("bij,jk->bik", (6, 3), bias_axes="k", n_hl=0, enable_oq=True)(vectors),
            QEinsumDenseT(
                "bij,jk->bki", (3, 6), bias_axes="k", d_hl=1, batch_norm=True, activation="relu"
            )(vectors),
        ],
    )


def spiking():
    data = keras.Input((9, 4))
    several = {"return_sequences": True, "return_state": True}
    masked, ends = (
        keras.layers.Masking()(data),
        {"return_sequences": True, "zero_output_for_mask": True},
    )
    return keras.Model(
        data,
        [
            *QLIF(4, **several)(masked),
            QLIF(
                4,
                beta=[0.5, 0.6, 0.7, 0.8],
                reset_mechanism="zero",
                enable_oq=True,
                enable_sq=False,
                go_backwards=True,
            )(data),
            QSimpleSNN(4, inhibition=True, return_sequences=True)(data),
            QSimpleSNN(
                4,
                reset_mechanism="none",
                graded_spikes_factor=[1.0, 2.0, 0.3, 0.7],
                threshold=0.4,
                surrogate_disable=True,
            )(data),
            keras.layers.RNN([QGRUCell(4), QLIFCell(4), QSimpleSNNCell(4)], **ends)(masked),
            *keras.layers.RNN(
                QLIFCell(4, reset_mechanism="zero"), go_backwards=True, return_state=True
            )(masked),
            keras.layers.Bidirectional(QLIF(4, return_sequences=True))(masked),
        ],
    )


MODELS = (images, sequences, volumes, recurrent, attention, tables, spiking)
"""Those that HGQ2 can save and load again."""


def _built(layer, shape):
    layer.build((None, *shape))
    return layer


def _alone():
    """(layer, shapes of the inputs, what makes its call's arguments of them) of layers that a model
    above does not hold."""
    one, several = (lambda x: ((x,), {})), {"return_sequences": True}
    activation = _built(Quantizer(QuantizerConfig("kif", "datalane")), (4,))
    bits = {
        "kq_conf": quantized_bits(4, 1, alpha=0.5),
        "bq_conf": quantized_bits(5, 1, keep_negative=False),
    }
    yield QDense(4, activation=activation), [(5,)], one
    yield (
        QDense(4, iq_conf=quantized_bits(6, 2, symmetric=1, alpha="trainable_po2"), **bits),
        [(5,)],
        one,
    )
    for part in ("center", "scale"):
        yield QBatchNormalization(**{part: False}), [(5,)], one
    yield keras.layers.TimeDistributed(QDense(3)), [(6, 4)], one
    yield keras.layers.Bidirectional(QGRU(3, **several)), [(6, 4)], one
    yield (
        QSimpleRNN(3, **several),
        [(6, 4), (3,)],
        lambda x, state: ((x,), {"initial_state": state}),
    )
    yield QLIF(4, **several), [(6, 4), (4,)], lambda x, state: ((x,), {"initial_state": state})
    for cell in (
        QGRUCell(4),
        QSimpleRNNCell(4),
        QLIFCell(4),
        QSimpleSNNCell(4),
        LIFCell(4, beta=0.6),
        SpikingNeuralCell(4),
    ):
        yield cell, [(4,), (4,)], lambda x, state: ((x, [state]), {})
    yield keras.layers.RNN([LIFCell(4, beta=0.6), SpikingNeuralCell(4)], **several), [(6, 4)], one
    yield keras.layers.Bidirectional(QSimpleSNN(4)), [(6, 4)], one
    cells = keras.layers.StackedRNNCells([QLIFCell(4), LIFCell(4, beta=0.6)])
    yield cells, [(4,), (4,), (4,)], lambda x, *states: ((x, list(states)), {})
    yield (
        QMultiHeadAttention(2, 3),
        [(6, 4), (6, 6)],
        lambda x, mask: ((x,), {"attention_mask": mask}),
    )
    yield QMultiHeadAttention(2, 3, attention_axes=(1, 2)), [(3, 2, 4)], one
    yield QSoftmax(), [(6, 4), (6, 4)], lambda x, mask: ((x,), {"mask": mask})


def alone():
    """(name, model of one layer) of each."""
    for layer, shapes, called in _alone():
        given = [keras.Input(shape) for shape in shapes]
        args, kwargs = called(*given)
        yield layer.name, keras.Model(given, layer(*args, **kwargs))
