"""Gradient penalties `penalty(critic, real, fake, key) -> scalar`, unweighted: experiments set the weight.

`critic` maps examples [b ...] to logits, each of which must depend on its own row only: every formula here is about the
gradient of a row's logit with respect to that row, which with batch norm inside is not the gradient of the summed
logits. |.| is the Euclidean norm over the entries of one example, E the mean over the batch. `fake` is data: no
gradient reaches the generator.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from gan_jax.types import Array, Key, at_least_float32

Critic = Callable[[Array], Array]
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
