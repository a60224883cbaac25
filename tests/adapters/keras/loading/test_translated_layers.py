"""Keras 2 learns a layer's shapes with its Python as it is, and translated where it branches on a
tensor."""

import numpy as np
import pytest
import tf_keras

import probe

pytestmark = pytest.mark.tensorflow

OWN = """
import inspect
from pathlib import Path

import tensorflow as tf
import tf_keras


def ran():
    file = inspect.currentframe().f_back.f_code.co_filename
    with Path(__file__).with_suffix(".txt").open("a") as told:
        told.write("as it is\\n" if file == __file__ else "translated\\n")


class Plain(tf_keras.layers.Layer):
    def call(self, x):
        ran()
        return 2 * x if self.trainable else x


class Branching(tf_keras.layers.Layer):
    def call(self, x):
        ran()
        if tf.reduce_sum(x) > 0:
            return x
        return -x


class Looping(tf_keras.layers.Layer):
    def call(self, x):
        ran()
        for _ in tf.range(3):
            x = x + 1.0
        return x
"""
X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "translated"), [("Plain", False), ("Branching", True), ("Looping", True)]
)
def test_only_what_needs_it_is_translated(kind, translated, tmp_path):
    source = tmp_path / "own_layers.py"
    source.write_text(OWN)
    own: dict = {"__file__": str(source)}
    exec(compile(OWN, str(source), "exec"), own)
    given = tf_keras.Input((4,))
    hidden = own[kind](name="own")(given)
    made = tf_keras.Model(given, tf_keras.layers.Dense(3, name="dense")(hidden))
    made.save(tmp_path / "net.keras")
    told = source.with_suffix(".txt")
    told.unlink()

    model = probe.open_model(tmp_path / "net.keras", imports=[str(source)])
    assert "dense" in model.names()  # it is loaded
    ran = told.read_text(encoding="utf-8").split("\n")
    assert ("translated" in ran) is translated and ran[0] == "as it is"
    report = probe.check(model, "dense", X)
    assert report.ok
    np.testing.assert_array_equal(report.outputs["framework"], np.asarray(made(X)))
