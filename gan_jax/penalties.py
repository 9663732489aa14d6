"""Gradient penalties `penalty(critic, real, fake, key) -> scalar`, unweighted: experiments set the weight.

`critic` maps examples [b ...] to logits, each of which must depend on its own row only: every formula here is about the
gradient of a row's logit with respect to that row, which with batch norm inside is not the gradient of the summed
logits. A penalty on a share of the rows calls it with these and, beside them, the slice of the batch that they are,
`critic(x[rows], rows)`. |.| is the Euclidean norm over the entries of one example, E the mean over the batch. `fake` is
data: no gradient reaches the generator.

R1 and R2 cost a gradient of a gradient for each row. Cheaper are those of a share of the rows, and those of the slope
along one random direction (`r1_jvp`, `r1_difference`); `lazy` computes any penalty in some of the rounds only.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from gan_jax.types import Array, Key, at_least_float32

Critic = Callable[..., Array]
Examples = Float[Array, "b ..."]
Scalar = Float[Array, ""]
Penalty = Callable[[Critic, Examples, Examples, Key], Scalar]


def _gradients(critic: Critic, x: Array) -> Array:
    """[b d]: the gradient of each row's logit, or of the sum over its patches [h w], with respect to that row."""
    slopes = jax.grad(lambda images: jnp.sum(at_least_float32(critic(images))))(x)
    return at_least_float32(slopes.reshape(x.shape[0], -1))


def _squared_norm(critic: Critic, x: Array) -> Array:
    return jnp.sum(_gradients(critic, x) ** 2, axis=-1)  # [b]


def _norm(critic: Critic, x: Array) -> Array:
    # safe_norm: the square root has an infinite derivative at zero, and a critic of zeros has zero gradients.
    return optax.safe_norm(_gradients(critic, x), 1e-12, axis=-1)  # [b]


def _interpolates(real: Array, fake: Array, key: Key) -> Array:
    if real.shape != fake.shape:
        raise ValueError(f"interpolating needs equal shapes: real is {real.shape} and fake {fake.shape}")
    mix = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)  # one number per row
    return mix * real + (1 - mix) * fake


def r1(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
    """E |grad D(x)|^2 on real examples, without the factor 1/2: the weight is the papers' gamma/2. Mescheder et al.
    2018, arXiv:1801.04406, equation 9.
    """
    del fake, key
    return jnp.mean(_squared_norm(critic, real))


def r2(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
    """E |grad D(G(z))|^2 on fake examples, without the 1/2. Mescheder et al. 2018, arXiv:1801.04406, equation 10."""
    del real, key
    return jnp.mean(_squared_norm(critic, fake))


def wgan_gp(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
    """E (|grad D(m)| - 1)^2, m = u x + (1 - u) G(z), with one u per row, uniform in [0, 1]; the usual weight is 10.

    Raises ValueError where the shapes of `real` and `fake` differ. Gulrajani et al. 2017, arXiv:1704.00028, equation 3.
    """
    return jnp.mean((_norm(critic, _interpolates(real, fake, key)) - 1) ** 2)


def wgan_lp(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
    """E max(0, |grad D(m)| - 1)^2, m as in `wgan_gp`, which penalises slopes above 1 only. Petzka et al. 2018,
    arXiv:1709.08894.
    """
    return jnp.mean(jax.nn.relu(_norm(critic, _interpolates(real, fake, key)) - 1) ** 2)


def dragan(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
    """E (|grad D(x + d)| - 1)^2, d = 1/2 std(x) u, with one u per entry, uniform in [0, 1]; the usual weight is 10.

    The standard deviation is over the whole batch. Kodali et al. 2017, arXiv:1705.07215; the noise is that of the
    authors' code.
    """
    del fake
    noise = 0.5 * jnp.std(real) * jax.random.uniform(key, real.shape, real.dtype)
    return jnp.mean((_norm(critic, real + noise) - 1) ** 2)


def zero_centred(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
    """E |grad D(m)|^2, m as in `wgan_gp`. Thanh-Tung et al. 2019, arXiv:1902.03984."""
    return jnp.mean(_squared_norm(critic, _interpolates(real, fake, key)))


def consistency(augment: Callable[[Array, Key, float], Array], *, fakes: bool = False) -> Penalty:
    """Returns E (D(x) - D(T(x)))^2 on real examples, with T = `augment` at p = 1; the usual weight is 10.

    With `fakes`, the same term of the fake examples is added (balanced consistency). T is a flip and a shift of some
    pixels in the papers. G is not given the term. Zhang et al. 2020, arXiv:1910.12027, equation 2; balanced: Zhao et
    al. 2021, arXiv:2002.04724, section 3.1.
    """

    def penalty(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
        def term(x: Array, key: Key) -> jax.Array:
            return jnp.mean((at_least_float32(critic(x)) - at_least_float32(critic(augment(x, key, 1.0)))) ** 2)

        real_key, fake_key = jax.random.split(key)
        return term(real, real_key) + (term(fake, fake_key) if fakes else 0.0)

    penalty.__name__ = "bcr" if fakes else "cr"
    return penalty


# -- cheaper: along a direction, on a share of the rows, in some of the rounds


def _rows(share: float) -> slice:
    """Every k-th row, for share = 1 / k, so that rows that are split over devices stay where they are."""
    step = round(1 / share) if 0 < share <= 1 else 0
    if not step or abs(step * share - 1) > 1e-6:
        raise ValueError(f"share of the rows: 1, 1/2, 1/3, 1/4, ...; got {share}")
    return slice(None, None, step)


def _directions(key: Key, shape: tuple[int, ...], signs: bool) -> jax.Array:
    return jax.random.rademacher(key, shape, jnp.float32) if signs else jax.random.normal(key, shape)


def _some(critic: Critic, x: Array, share: float) -> tuple[Critic, Array]:
    """The critic of every k-th row, and these rows."""
    rows = _rows(share)
    return (critic, x) if rows.step == 1 else (lambda part: critic(part, rows), x[rows])


def _slope(critic: Critic, x: Array, direction: Array) -> jax.Array:
    """[b]: the derivative of each row's logit along its direction.

    It is a Jacobian-vector product, computed as the transpose of a vector-Jacobian product, which is linear: the same
    products as in forward mode, for networks that have reverse mode only, as gan_jax's convolutions on the CPU.
    """
    out, pull = jax.vjp(lambda y: at_least_float32(critic(y)), x)
    _, push = jax.vjp(lambda u: pull(u)[0], jnp.zeros_like(out))
    (slope,) = push(direction.astype(x.dtype))
    return slope.reshape(x.shape[0], -1).sum(-1)


def _along(on_real: bool, share: float, signs: bool) -> Penalty:
    def penalty(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
        part, x = _some(critic, real if on_real else fake, share)
        return jnp.mean(_slope(part, x, _directions(key, x.shape, signs)) ** 2)

    _rows(share)
    penalty.__name__ = "r1_jvp" if on_real else "r2_jvp"
    return penalty


def r1_jvp(*, share: float = 1.0, signs: bool = False) -> Penalty:
    """Returns E (e . grad D(x))^2 on a share of the real examples, e from N(0, I), or with `signs` of entries 1 and -1.

    Its mean over e is `r1`, for every D, without a step size and the rounding of a difference. Of one row the variance
    over e is 2 |g|^4, with signs 2 (|g|^4 - sum g_i^4), g the gradient. It takes as many products as a pass of the rows
    forwards, in place of a pass backwards. Raises ValueError unless `share` is 1 over a whole number. The limit of
    arXiv:2509.24935's difference for steps of 0.
    """
    return _along(True, share, signs)


def r2_jvp(*, share: float = 1.0, signs: bool = False) -> Penalty:
    """As `r1_jvp`, on fake examples; its mean is `r2`."""
    return _along(False, share, signs)


def _difference(on_real: bool, share: float, std: float, central: bool) -> Penalty:
    if not std > 0:
        raise ValueError(f"std is the size of a step, more than 0; got {std}")

    def penalty(critic: Critic, real: Examples, fake: Examples, key: Key) -> Scalar:
        part, x = _some(critic, real if on_real else fake, share)
        step = std * _directions(key, x.shape, False).astype(x.dtype)
        ahead, behind = at_least_float32(part(x + step)), at_least_float32(part(x - step if central else x))
        slopes = ((ahead - behind) / (2 * std if central else std)).reshape(x.shape[0], -1).sum(-1)
        return jnp.mean(slopes**2)

    _rows(share)
    penalty.__name__ = "r1_difference" if on_real else "r2_difference"
    return penalty


def r1_difference(*, share: float = 1.0, std: float = 0.01, central: bool = False) -> Penalty:
    """Returns E (D(x + s e) - D(x))^2 / s^2 on a share of the real examples, e from N(0, I), s = `std`; with `central`
    E (D(x + s e) - D(x - s e))^2 / (2 s)^2.

    Its mean is `r1` for linear D. For D = x'Ax / 2 + b'x it is |g|^2 + s^2 / 4 (tr(A)^2 + 2 |A|^2), so it punishes
    curvature too; the central one is |g|^2 there. Rounding of D is divided by s: logits in float32, not bfloat16.
    Raises ValueError unless `share` is 1 over a whole number and `std` positive. Adversarial flow models,
    arXiv:2511.22475: s = 0.01 on a quarter of the batch.
    """
    return _difference(True, share, std, central)


def r2_difference(*, share: float = 1.0, std: float = 0.01, central: bool = False) -> Penalty:
    """As `r1_difference`, on fake examples."""
    return _difference(False, share, std, central)


class Lazy(NamedTuple):
    """A penalty that is computed in every `every`-th round."""

    penalty: Penalty
    every: int


def lazy(penalty: Penalty, every: int) -> Lazy:
    """Returns the penalty for rounds 0, k, 2k, ..., k = `every`, times k, so that its mean is the same.

    For `adversarial`, which keeps the last value for the log. StyleGAN2 takes a step of Adam of its own for it, with
    learning rate and moments to match k + 1 steps in k rounds; as a term of the same step it is another path of the
    optimiser. Raises ValueError for less than 1. Karras et al. 2020, arXiv:1912.04958, appendix B.
    """
    if every < 1:
        raise ValueError(f"every is a number of rounds, at least 1; got {every}")
    return Lazy(penalty, every)
