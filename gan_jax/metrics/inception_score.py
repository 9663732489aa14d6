"""The Inception Score, which is high where a classifier is certain of the class of each image and the classes vary over
all images (Salimans et al. 2016, arXiv:1606.03498, section 4).
"""

import numpy as np
from jaxtyping import Float

from gan_jax.metrics import checks
from gan_jax.types import Array, Estimate


def inception_score(logits: Float[Array, "b n"], splits: int = 10, seed: int | None = 2020) -> Estimate:
    """Returns exp(E_x KL(p(y|x) || p(y))) of a classifier's logits, in [1, classes].

    The result is the mean and standard deviation over `splits` parts of the images, which are shuffled by `seed` (None:
    kept in order). The number of splits is part of the protocol: more splits have fewer images each, and score lower.
    The order and the default are those of torch-fidelity; StudioGAN uses one split. Raises ValueError for values that
    are not finite, fewer logits than splits, or fewer than one split.
    """
    if splits < 1:
        raise ValueError(f"splits must be at least 1; got {splits}")
    logits = checks.features(logits, "logits as", splits).astype(np.float64)
    if seed is not None:
        logits = logits[np.random.RandomState(seed).permutation(len(logits))]
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    scores = []
    for i in range(splits):
        part = log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]
        p = np.exp(part)
        marginal = p.mean(0)
        # A class may be so unlikely that its probability is 0 in float64; 0 log 0 counts as 0.
        kl = p * (part - np.log(np.where(marginal > 0, marginal, 1)))
        scores.append(np.exp(np.where(p > 0, kl, 0).sum(1).mean()))
    return Estimate(float(np.mean(scores)), float(np.std(scores)))
