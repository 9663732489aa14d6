"""How well codes that nobody has named tell classes apart: each code is matched with one class."""

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from gan_jax.types import Array


def matched_accuracy(codes: Int[Array, " n"], labels: Int[Array, " n"]) -> float:
    """The largest share of examples whose code is that of their label, over all one-to-one matchings of codes with labels,
    in [0, 1]; codes or labels that are more than the others stay alone (Kuhn 1955, "The Hungarian method").

    Codes drawn at random score about 1 / classes, and a little more: the best of all matchings is taken. ValueError for
    unequal numbers, none, or numbers below 0.
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if codes.shape != labels.shape or not codes.size or min(codes.min(), labels.min()) < 0:
        raise ValueError(f"codes and labels are [n] whole numbers from 0; got {codes.shape} and {labels.shape}")
    table = np.zeros((codes.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (codes, labels), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(codes))
