"""Accuracy of unsupervised codes as a classification, after each code is matched with one class."""

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from gan_jax.types import Array


def matched_accuracy(codes: Int[Array, " n"], labels: Int[Array, " n"]) -> float:
    """Returns the largest accuracy, in [0, 1], over all one-to-one matchings of codes with labels.

    Where there are more codes than labels, or the reverse, the surplus ones stay unmatched (Kuhn 1955, "The Hungarian
    method"). Random codes score slightly more than 1 / classes, since the best matching is chosen. Raises ValueError
    for arrays of unequal shapes, empty arrays, and negative numbers.
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if codes.shape != labels.shape or not codes.size or min(codes.min(), labels.min()) < 0:
        raise ValueError(f"codes and labels are [n] whole numbers from 0; got {codes.shape} and {labels.shape}")
    table = np.zeros((codes.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (codes, labels), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(codes))
