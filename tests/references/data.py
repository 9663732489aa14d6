"""The data of the references: made from a seed with NumPy, and the digits of scikit-learn. The script that asks the
published packages and the tests that compare with their answers both make it here.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: real features [m d] and fake ones [n d], float64.

    Gaussians with correlations and different means from `default_rng`, one generator a case, drawn in the order written
    here; rows fewer than dimensions; covariances of rank 5 in 16 dimensions; the pixels of the digits, divided by 16; and
    what a classifier of MNIST makes of 500 of its training and 500 of its test images (features.py).
    """

    def correlated(rng: np.random.Generator, n: int, d: int, rank: int) -> np.ndarray:
        return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) / np.sqrt(rank) + 0.3 * rng.normal(size=d)

    sizes = {  # m, n, d, rank
        "small": (500, 400, 8, 8),
        "wide": (300, 200, 64, 64),
        "few": (30, 30, 64, 64),
        "singular": (120, 100, 16, 5),
    }
    out = {}
    for seed, (name, (m, n, d, rank)) in enumerate(sizes.items()):
        rng = np.random.default_rng(seed)
        out[name] = (correlated(rng, m, d, rank), correlated(rng, n, d, rank))
    rng = np.random.default_rng(len(sizes))
    mixing = rng.normal(size=(12, 12)) / np.sqrt(12)  # one law, a little moved: here precision and recall are not 0
    out["near"] = (rng.normal(size=(400, 12)) @ mixing, 0.9 * rng.normal(size=(350, 12)) @ mixing + 0.1)
    digits = load_digits().data / 16
    out["digits"] = (digits[:700], digits[700:1300])
    with np.load(Path(__file__).parent / "mnist.npz") as kept:
        out["mnist"] = (kept["train"].astype(float), kept["test"].astype(float))
    return out


def images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: two batches [b h w c] of uint8, of which the second is the first, disturbed. Whole numbers throughout,
    so that they are the same on every machine.
    """
    sizes = {  # b, h, w, c
        "even": (3, 176, 192, 3),
        "odd": (2, 161, 203, 1),
        "small": (4, 32, 28, 3),
        "least": (2, 11, 13, 1),
    }
    out = {}
    for seed, (name, (b, h, w, c)) in enumerate(sizes.items()):
        rng = np.random.default_rng(100 + seed)
        blocks = rng.integers(0, 200, (b, -(-h // 8), -(-w // 8), c)).repeat(8, 1).repeat(8, 2)[:, :h, :w]
        x = blocks + rng.integers(0, 56, (b, h, w, c))
        strength = np.arange(1, b + 1)[:, None, None, None]  # each pair further apart than the one before
        y = np.clip(x + strength * rng.integers(-25, 26, (b, h, w, c)), 0, 255)
        out[name] = (x.astype(np.uint8), y.astype(np.uint8))
    return out
