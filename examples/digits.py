"""scikit-learn's handwritten digits (1797 real images of 8×8 pixels), as the three nets here are
trained and judged on.

Running it writes ``digits.npy``: one unseen image of each digit, shaped (10, 8, 8, 1) as Keras
wants them. PyTorch wants the channel first: ``np.load("digits.npy").transpose(0, 3, 1, 2)``.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images, unseen images (both (batch, 8, 8, 1), from 0 to 1), training labels, unseen
    labels."""
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    return tuple(
        train_test_split(
            images, digits.target, test_size=360, random_state=0, stratify=digits.target
        )
    )


if __name__ == "__main__":
    _, unseen, _, labels = load()
    np.save(HERE / "digits.npy", np.stack([unseen[labels == digit][0] for digit in range(10)]))
