"""Mode collapse, counted: samples against a mixture of known, equally likely modes."""

import numpy as np
from jaxtyping import Float, Int

from gan_jax.types import Array


def modes(centres: Float[Array, "k d"], fake: Float[Array, "n d"], std: float, reach: float = 3.0) -> dict[str, float]:
    """A sample is of high quality if it lies within `reach` std of its nearest centre, and counts for that mode.

    modes: how many have such a sample; high_quality: their share (of real data in the plane, 1 - exp(-reach^2 / 2) =
    0.9889);
    reverse_kl: ln k - H(share of each mode among them), in nats, 0 where all modes are equally frequent, infinite
    without a sample of high quality.
    ValueError without samples. Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 4.1.
    """
    counts = _counts(centres, fake, std, reach)
    share = counts[counts > 0] / max(counts.sum(), 1)
    kl = float(np.log(len(centres)) + np.sum(share * np.log(share))) if len(share) else float("inf")
    return {"modes": float(len(share)), "high_quality": float(counts.sum() / len(fake)), "reverse_kl": kl}


def overlap(centres: Float[Array, "k d"], fake: Float[Array, "n d"], std: float, reach: float = 3.0) -> float:
    """sum over modes of min(the share of all samples that are of high quality and lie there, 1 / k), in [0, 1]: what is
    common to the samples and to k equal modes, 1 less their total variation. One number for which it takes both quality
    and variety: `modes`'s quality alone is highest within one narrow mode, its reverse KL lowest of a few even ones.
    ValueError without samples.
    """
    return float(np.minimum(_counts(centres, fake, std, reach) / len(fake), 1 / len(centres)).sum())


def _counts(centres: Array, fake: Array, std: float, reach: float) -> np.ndarray:
    """[k]: samples of high quality that lie nearest to each centre."""
    if len(fake) == 0:
        raise ValueError("no samples to count modes of")
    distances = np.linalg.norm(
        np.asarray(fake, np.float64)[:, None] - np.asarray(centres, np.float64)[None], axis=-1
    )  # [n k]
    return np.bincount(distances.argmin(1)[distances.min(1) <= reach * std], minlength=len(centres))


def categories(labels: Int[Array, " n"], count: int) -> dict[str, float]:
    """How many of `count` classes are there, and how unevenly.

    modes: the number of distinct labels; reverse_kl: KL(their shares || uniform) = ln count - H(shares), in nats, in
    [0, ln count]. Even n samples of uniform classes have a KL of about (count - 1) / 2n for n much above `count`, and more
    below: the floor stands with the number. For stacked MNIST a label is 100 a + 10 b + c of what a classifier sees in
    each channel, and `count` 1,000.
    ValueError without labels, and for labels outside [0, count). Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 4.2.
    """
    labels = np.asarray(labels)
    if labels.size == 0:
        raise ValueError("no labels to count classes of")
    if labels.min() < 0 or labels.max() >= count:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: of {count} classes they are in 0..{count - 1}")
    counts = np.bincount(labels.reshape(-1), minlength=count)
    share = counts[counts > 0] / labels.size
    return {"modes": float(len(share)), "reverse_kl": float(np.log(count) + np.sum(share * np.log(share)))}
