"""The functions that may stand at the head of a script."""

__all__ = ["HELPERS"]

HELPERS = {
    "erf": "erf = np.vectorize(math.erf, otypes=[float])  # NumPy has none",
    "sigmoid": """
def sigmoid(x):
    return 1 / (1 + np.exp(-x))
""",
    "softmax": """
def softmax(x, axis):
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)
""",
    "softplus": """
def softplus(x):
    return np.logaddexp(x, 0)  # log(1 + exp(x))
""",
}
