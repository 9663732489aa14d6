"""Measures of mode collapse, for data with known, equally likely modes or classes."""

import numpy as np
from jaxtyping import Float, Int

from gan_jax.types import Array


def modes(centres: Float[Array, "k d"], fake: Float[Array, "n d"], std: float, reach: float = 3.0) -> dict[str, float]:
    """Counts the modes that samples cover (PacGAN: Lin et al. 2018, arXiv:1712.04086, section 4.1).

    A sample is of high quality if it lies within `reach` std of its nearest centre, and then counts for that mode.
    modes: the number of modes with at least one such sample.
    high_quality: the share of such samples; for real data in the plane 1 - exp(-reach^2 / 2), 0.9889 at 3 std.
    reverse_kl: ln k - H(shares of the modes among these samples), in nats; 0 where all modes are equally frequent,
    infinite where no sample is of high quality.
    Raises ValueError without samples.
    """
    counts = _counts(centres, fake, std, reach)
    share = counts[counts > 0] / max(counts.sum(), 1)
    kl = float(np.log(len(centres)) + np.sum(share * np.log(share))) if len(share) else float("inf")
    return {"modes": float(len(share)), "high_quality": float(counts.sum() / len(fake)), "reverse_kl": kl}


def overlap(centres: Float[Array, "k d"], fake: Float[Array, "n d"], std: float, reach: float = 3.0) -> float:
    """Returns the overlap of the samples with k equally likely modes, in [0, 1].

    It is the sum over modes of min(share of all samples that are of high quality and belong to the mode, 1 / k), which
    is 1 minus the total variation distance. It is high only with both quality and variety, whereas `high_quality` of
    `modes` is highest for samples within one narrow mode, and its `reverse_kl` can be low for a few good samples that
    are evenly spread. Raises ValueError without samples.
    """
    return float(np.minimum(_counts(centres, fake, std, reach) / len(fake), 1 / len(centres)).sum())


def _counts(centres: Array, fake: Array, std: float, reach: float) -> np.ndarray:
    """[k], the number of samples of high quality of each mode."""
    if len(fake) == 0:
        raise ValueError("no samples to count modes of")
    distances = np.linalg.norm(
        np.asarray(fake, np.float64)[:, None] - np.asarray(centres, np.float64)[None], axis=-1
    )  # [n k]
    return np.bincount(distances.argmin(1)[distances.min(1) <= reach * std], minlength=len(centres))


def categories(labels: Int[Array, " n"], count: int) -> dict[str, float]:
    """Counts the classes that occur among `count`, and measures how unevenly (PacGAN, arXiv:1712.04086, section 4.2).

    modes: the number of distinct labels.
    reverse_kl: KL(shares of the labels || uniform) = ln count - H(shares), in nats, in [0, ln count]. For n uniformly
    distributed labels its expectation is not 0 but about (count - 1) / 2n for n much larger than `count`, and more for
    fewer, so a value is to be compared with that of real data.
    For stacked MNIST a label is 100 a + 10 b + c, of the digits a classifier sees in the three channels, and `count` is
    1,000. Raises ValueError without labels, and for labels outside [0, count).
    """
    labels = np.asarray(labels)
    if labels.size == 0:
        raise ValueError("no labels to count classes of")
    if labels.min() < 0 or labels.max() >= count:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: of {count} classes they are in 0..{count - 1}")
    counts = np.bincount(labels.reshape(-1), minlength=count)
    share = counts[counts > 0] / labels.size
    return {"modes": float(len(share)), "reverse_kl": float(np.log(count) + np.sum(share * np.log(share)))}
