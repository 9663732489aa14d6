"""Adversarial losses, each a pair `gen(*, real, fake)` and `disc(*, real, fake)` of scalars to be minimised.

`real` is a = D(x) and `fake` is b = D(G(z)): logits of any one shape, [b] or [b h w] for patches, averaged over all
entries (E below). Arguments are keyword only, because swapping two of them would silently change the sign. Everything
is computed in float32 (float64 where a logit is float64), and in the stable form: -log sigmoid(a) = softplus(-a) and
-log(1 - sigmoid(a)) = softplus(a), finite for every finite logit.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.types import Array, at_least_float32

Logits = Float[Array, "..."]
Scalar = Float[Array, ""]


@runtime_checkable
class PlayerLoss(Protocol):
    """The loss of one player, of the logits of real and of fake examples."""

    def __call__(self, *, real: Logits, fake: Logits) -> Scalar: ...


class Loss(NamedTuple):
    """The losses of both players; each player minimises its own."""

    gen: PlayerLoss
    disc: PlayerLoss


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(at_least_float32(x))


def _logits(real: Logits, fake: Logits) -> tuple[jax.Array, jax.Array]:
    return at_least_float32(real), at_least_float32(fake)


def _paired(real: Logits, fake: Logits) -> tuple[jax.Array, jax.Array]:
    if real.shape != fake.shape:
        raise ValueError(
            f"a relativistic paired loss compares logits one by one: real is {real.shape} and fake {fake.shape}; give it equal shapes"
        )
    return _logits(real, fake)


def _cross_entropy(real_label: float) -> PlayerLoss:
    """E[t softplus(-a) + (1 - t) softplus(a)] + E softplus(b), with softplus(a) = softplus(-a) + a."""
    if not 0.5 < real_label <= 1:
        raise ValueError(
            f"real_label is the target for real examples, in (0.5, 1]; got {real_label}; 0.9 is the paper's, 1 is no smoothing"
        )

    def disc(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _logits(real, fake)
        return _mean(jax.nn.softplus(-real) + (1 - real_label) * real) + _mean(jax.nn.softplus(fake))

    return disc


def minimax(*, real_label: float = 1.0) -> Loss:
    """The original zero-sum game: D minimises E softplus(-a) + E softplus(b), G minimises -E softplus(b).

    G's loss is E log(1 - D(G(z))). `real_label` < 1 is one-sided label smoothing (Salimans et al. 2016,
    arXiv:1606.03498, section 3.4). At a = b = 0: D 2 ln 2, G -ln 2. Raises ValueError unless 0.5 < real_label <= 1.
    Goodfellow et al. 2014, arXiv:1406.2661, equation 1.
    """

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        _, fake = _logits(real, fake)
        return -_mean(jax.nn.softplus(fake))

    return Loss(gen, _cross_entropy(real_label))


def non_saturating(*, real_label: float = 1.0) -> Loss:
    """D as in `minimax`; G minimises E softplus(-b) = -E log D(G(z)), whose gradient does not vanish where D wins.

    `real_label` < 1 is one-sided label smoothing (arXiv:1606.03498, section 3.4). At a = b = 0: D 2 ln 2, G ln 2.
    Raises ValueError unless 0.5 < real_label <= 1. Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        _, fake = _logits(real, fake)
        return _mean(jax.nn.softplus(-fake))

    return Loss(gen, _cross_entropy(real_label))


def least_squares(*, real_label: float = 1.0) -> Loss:
    """D minimises 1/2 E(a - t)^2 + 1/2 E b^2 with t = `real_label`, G minimises 1/2 E(b - 1)^2, on the raw logits.

    t < 1 is one-sided label smoothing. At a = b = 1/2, t = 1: D 1/4, G 1/8. Raises ValueError unless 0.5 < t <= 1. Mao
    et al. 2017, arXiv:1611.04076, equation 9: D's targets are 1 for real and 0 for fake examples, G's target is 1.
    """
    if not 0.5 < real_label <= 1:
        raise ValueError(
            f"real_label is the target for real examples, in (0.5, 1]; got {real_label}; 1 is no smoothing"
        )

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        _, fake = _logits(real, fake)
        return _mean((fake - 1) ** 2) / 2

    def disc(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _logits(real, fake)
        return _mean((real - real_label) ** 2) / 2 + _mean(fake**2) / 2

    return Loss(gen, disc)


def hinge() -> Loss:
    """D minimises E max(0, 1 - a) + E max(0, 1 + b), G minimises -E b.

    At a = b = 0: D 2, G 0. Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, equations 16 and
    17.
    """

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        _, fake = _logits(real, fake)
        return -_mean(fake)

    def disc(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _logits(real, fake)
        return _mean(jax.nn.relu(1 - real)) + _mean(jax.nn.relu(1 + fake))

    return Loss(gen, disc)


def wasserstein() -> Loss:
    """D minimises E b - E a, G minimises -E b; D must be kept Lipschitz by clipping (`optim.clip_weights`) or a
    penalty.

    At a = b: D 0. -(D loss) estimates the Wasserstein-1 distance times the Lipschitz constant. Arjovsky et al. 2017,
    arXiv:1701.07875, algorithm 1.
    """

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        _, fake = _logits(real, fake)
        return -_mean(fake)

    def disc(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _logits(real, fake)
        return _mean(fake) - _mean(real)

    return Loss(gen, disc)


def relativistic_paired() -> Loss:
    """RpGAN: D minimises E softplus(-(a - b)), G minimises E softplus(-(b - a)), with a and b of the same row.

    At a = b: ln 2 each. Raises ValueError where the shapes of `real` and `fake` differ. Jolicoeur-Martineau 2018,
    arXiv:1807.00734, section 4; with R1 and R2 the loss of R3GAN, arXiv:2501.05441, equation 2.
    """

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _paired(real, fake)
        return _mean(jax.nn.softplus(real - fake))

    def disc(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _paired(real, fake)
        return _mean(jax.nn.softplus(fake - real))

    return Loss(gen, disc)


def relativistic_average() -> Loss:
    """RaGAN: D minimises E softplus(-(a - E b)) + E softplus(b - E a); G the same with the roles of a and b exchanged.

    This is the sum of the two terms, not their mean: at a = b = 0, 2 ln 2 each. Jolicoeur-Martineau 2018,
    arXiv:1807.00734, section 4.
    """

    def compare(more: jax.Array, less: jax.Array) -> jax.Array:
        return _mean(jax.nn.softplus(_mean(less) - more)) + _mean(jax.nn.softplus(less - _mean(more)))

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _logits(real, fake)
        return compare(fake, real)

    def disc(*, real: Logits, fake: Logits) -> Scalar:
        real, fake = _logits(real, fake)
        return compare(real, fake)

    return Loss(gen, disc)


def boundary_seeking(*, real_label: float = 1.0) -> Loss:
    """BGAN for continuous data: D as in `minimax`; G minimises 1/2 E b^2, least at D's decision boundary.

    1/2 E b^2 = 1/2 E(log D(G(z)) - log(1 - D(G(z))))^2. At a = b = 0: D 2 ln 2, G 0. Raises ValueError unless 0.5 <
    real_label <= 1. Hjelm et al. 2018, arXiv:1702.08431, section 3.2.
    """

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        _, fake = _logits(real, fake)
        return _mean(fake**2) / 2

    return Loss(gen, _cross_entropy(real_label))


def feature_matching(*, real: Float[Array, "b d"], fake: Float[Array, "b d"]) -> Scalar:
    """Mean over d of (E f(x) - E f(G(z)))^2, of D's features f: a loss for G in the place of one of logits.

    Equal means give 0, whatever else differs. Salimans et al. 2016, arXiv:1606.03498, section 3.1, where it is the sum
    over d; the authors' code has the mean.
    """
    real, fake = _logits(real, fake)
    return _mean((jnp.mean(real, 0) - jnp.mean(fake, 0)) ** 2)


def top_k(loss: Loss, share: float) -> Loss:
    """Returns the loss with G's computed on the k = max(1, floor(share b + 1/2)) fakes of the largest logits only.

    `share` = 1 is the loss itself. Logits are [b]; a relativistic paired loss compares each of these with the real one
    of its row. Raises ValueError for a share outside (0, 1]. Sinha et al. 2020, arXiv:2002.06224, section 3, who let
    the share fall from 1 to 0.5 or 0.75 while they train; here it stays. G's loss raises ValueError for patches.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share of the fakes that G learns from: in (0, 1]; got {share}")
    if share == 1:
        return loss

    def gen(*, real: Logits, fake: Logits) -> Scalar:
        if fake.ndim != 1:
            raise ValueError(f"top_k takes one logit a fake, [b]; got {fake.shape}")
        count = max(1, int(share * fake.shape[0] + 0.5))
        _, rows = jax.lax.top_k(jax.lax.stop_gradient(at_least_float32(fake)), count)
        return loss.gen(real=jnp.asarray(real)[rows], fake=jnp.asarray(fake)[rows])

    return Loss(gen, loss.disc)
