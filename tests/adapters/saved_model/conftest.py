"""SavedModels, saved once: what TensorFlow takes seconds for."""

import numpy as np
import pytest
import tensorflow as tf
from own_seed import RNG


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A folder with a SavedModel of each kind by its name."""
    root = tmp_path_factory.mktemp("saved")

    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            with tf.name_scope("first"):
                self.w = tf.Variable(RNG.normal(size=(4, 6)).astype(np.float32), name="w")
            self.pair = [tf.Variable(RNG.normal(size=(4, 4)).astype(np.float32)) for _ in range(2)]
            self.half = tf.Variable(RNG.normal(size=(6, 3)).astype(np.float16), name="half")

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def serve(self, x):
            with tf.name_scope("first"):
                x = tf.nn.relu(tf.matmul(x, self.w))
            with tf.name_scope("second"):
                y = tf.matmul(tf.cast(x, tf.float16), self.half)
            return {"y": y, "argmax": tf.argmax(y, -1)}

        @tf.function(input_signature=[tf.TensorSpec([2, 4], tf.float32, name="x")])
        def branching(self, x):
            w, total = self.w, tf.reduce_sum(x)
            x = tf.cond(total > 0, lambda: tf.matmul(x, w), lambda: -tf.matmul(x, w))
            x = tf.while_loop(
                lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(h)), (tf.constant(0), x)
            )[1]
            return {"y": x}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32, name="codes")])
        def integers(self, codes):
            return {"y": tf.reduce_max(codes * 3 + 1, axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def filled(self, x):
            size = tf.stack([tf.size(x) * 2**15] * 2)
            return {"y": tf.reduce_sum(tf.fill(size, x[0, 0])) + x}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def scopes(self, x):
            with tf.name_scope("outer"):
                with tf.name_scope("inner"):
                    hidden = tf.tanh(tf.matmul(x, self.pair[0]))
                x = hidden + x
            return {"y": tf.matmul(x, self.pair[1]), "hidden": hidden}

    net = Net()
    signatures = {
        "serving_default": net.serve,
        "branching": net.branching,
        "integers": net.integers,
        "filled": net.filled,
        "scopes": net.scopes,
    }
    tf.saved_model.save(net, str(root / "net"), signatures=signatures)

    class Table(tf.Module):
        def __init__(self):
            super().__init__()
            keys = tf.lookup.KeyValueTensorInitializer([1, 2], [3, 4], tf.int64, tf.int64)
            self.table = tf.lookup.StaticHashTable(keys, -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def serve(self, x):
            return {"y": self.table.lookup(x)}

    table = Table()
    tf.saved_model.save(table, str(root / "table"), signatures=table.serve)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        y = tf.nn.relu(x @ tf.constant(np.eye(4, dtype=np.float32)), name="y")
        tf.compat.v1.saved_model.simple_save(session, str(root / "old"), {"x": x}, {"y": y})
    return root
