"""Converts digits.keras into five .tflite files, as one would for a microcontroller.

digits_float.tflite, digits_int8.tflite (a scale for each channel), digits_int8_per_tensor.tflite,
digits_int16x8.tflite (activations of 16 bits, weights of 8) and digits_dynamic.tflite (weights of 8
bits, activations float), by the converter of TensorFlow 2.21.
"""

import keras
import tensorflow as tf
from digits import HERE, load

images = load()[0][:200].astype("float32")
model = keras.saving.load_model(HERE / "digits.keras")
OPS = tf.lite.OpsSet


def converter(*supported: OPS) -> tf.lite.TFLiteConverter:
    """A converter that quantises where operators are given."""
    made = tf.lite.TFLiteConverter.from_keras_model(model)
    if supported:
        made.optimizations = [tf.lite.Optimize.DEFAULT]
        made.target_spec.supported_ops = [*supported]
    return made


def calibrated(kind: OPS, dtype: tf.DType) -> tf.lite.TFLiteConverter:
    """One whose inputs and outputs are codes, too."""
    made = converter(kind)
    made.representative_dataset = lambda: ([image[None]] for image in images)
    made.inference_input_type = made.inference_output_type = dtype
    return made


per_tensor = calibrated(OPS.TFLITE_BUILTINS_INT8, tf.int8)
per_tensor._experimental_disable_per_channel = True
per_tensor._experimental_disable_per_channel_quantization_for_dense_layers = True
int16x8 = OPS.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
for name, made in (
    ("float", converter()),
    ("int8", calibrated(OPS.TFLITE_BUILTINS_INT8, tf.int8)),
    ("int8_per_tensor", per_tensor),
    ("int16x8", calibrated(int16x8, tf.int16)),
    ("dynamic", converter(OPS.TFLITE_BUILTINS)),
):
    (HERE / f"digits_{name}.tflite").write_bytes(made.convert())
