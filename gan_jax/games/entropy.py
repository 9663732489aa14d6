"""Entropy-regularised GANs: G is also rewarded for the entropy of what it makes, so that it does not make one thing only.

The density is that of x = G(z) + noise e, with z and e from N(0, I); D sees real examples with noise e too (PresGAN: Dieng
et al. 2019, arXiv:1910.04302, section 3). Entropies here are in nats for each entry of an example, H / d, d = h w c: a
weight means the same at any size. Three estimates: `log_det`, `mixture` and `hmc`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, UserError, rows_of


class Estimate(NamedTuple):
    """How the entropy is estimated. `init() -> aux`, what is kept in the state. `apply(generate, fake, noise, key, aux) ->
    (h, aux, metrics)`: the gradient of h is that of H / d; `generate` is G in evaluation mode, `fake` has z [b z],
    "mean" = G(z) and "image", the mean with noise.
    """

    init: Callable[[], dict[str, jax.Array]]
    apply: Callable[[Callable, PyTree, Any, Key, Mapping[str, Any]], tuple[jax.Array, dict[str, Any], dict[str, Any]]]


def gaussian_log_det(jacobian: Float[Array, "b d z"], noise: float | Array) -> Float[Array, ""]:
    """Returns E 1/2 log det(2 pi e (J J' + noise^2 I)), [d d], of each row's J: the entropy of x where G is linear, or
    injective with d = z and without noise; elsewhere, where the images of z overlap, it counts them more than once.
    """
    d = jacobian.shape[-2]
    spread = jnp.einsum("biz,bjz->bij", jacobian, jacobian, precision="highest")
    spread = spread + noise**2 * jnp.eye(d, dtype=spread.dtype)[None]
    return d / 2 * math.log(2 * math.pi * math.e) + jnp.mean(jnp.linalg.slogdet(spread)[1]) / 2


def log_det() -> Estimate:
    """The exact log-determinant, for a few entries and latents: `gaussian_log_det` of the Jacobian of G in evaluation
    mode. It takes a pass of G for each entry of z.
    """

    def apply(generate: Callable, fake: PyTree, noise: Any, key: Key, aux: Mapping[str, Any]) -> tuple:
        z = fake["z"]
        # Columns as the transpose of vector-Jacobian products: gan_jax's convolutions have no forward mode on the CPU.
        out, pull = jax.vjp(generate, z)
        _, push = jax.vjp(lambda u: pull(u)[0], jnp.zeros_like(out))
        columns = [push(jnp.zeros_like(z).at[:, i].set(1))[0].reshape(z.shape[0], -1) for i in range(z.shape[-1])]
        jacobian = jnp.stack(columns, -1)  # [b d z]
        value = gaussian_log_det(jacobian, jnp.maximum(noise, 1e-6)) / jacobian.shape[1]
        return value, dict(aux), {"gen/entropy": value}

    return Estimate(dict, apply)


def require(config: Any) -> None:
    """Raises UserError for a member of an experiment whose flags `entropy` and `noise` are no game: an entropy by a density
    needs noise, and one of a batch needs two rows.
    """
    if config.batch_size < 2:
        raise UserError(f"--batch-size {config.batch_size}: an entropy is of 2 rows or more")
    for member in config.members():
        weight, noise = (member.values.get(name, getattr(config, name)) for name in ("entropy", "noise"))
        if weight > 0 and noise == 0 and config.estimate != "log_det":
            raise UserError(
                f"--entropy {weight:g} --noise 0 --estimate {config.estimate}: without noise there is no density: "
                "give --noise, or --entropy 0"
            )


def mixture_entropy(x: Float[Array, "b d"], means: Float[Array, "b d"], noise: float | Array) -> Float[Array, ""]:
    """Returns -E_b log 1/(b - 1) sum over m != b of N(x_b; means_m, noise^2 I): the entropy of x by the others of its
    batch, an upper bound in expectation (Jensen). Row b's own mean is left out, which would make it a lower one. It needs
    two rows or more.
    """
    rows, d = x.shape
    squares = (x**2).sum(1)[:, None] + (means**2).sum(1)[None]
    distances = jnp.maximum(squares - 2 * jnp.matmul(x, means.T, precision="highest"), 0)  # [b b]
    logs = -distances / (2 * noise**2) - jnp.where(jnp.eye(rows, dtype=bool), jnp.inf, 0.0)
    density = jax.nn.logsumexp(logs, 1) - math.log(rows - 1)
    return -jnp.mean(density) + d / 2 * jnp.log(2 * jnp.pi * noise**2)


def without_noise(noise: float | Array) -> bool:
    """Whether the noise is 0 for all members: then there is no density, and nothing to estimate."""
    return isinstance(noise, int | float) and noise == 0


def mixture() -> Estimate:
    """`mixture_entropy` of the batch, distances of b x b rows, and no further pass. Without noise it is 0 and not told."""

    def apply(generate: Callable, fake: PyTree, noise: Any, key: Key, aux: Mapping[str, Any]) -> tuple:
        if without_noise(noise):
            return 0.0, dict(aux), {}
        x, means = (fake[name].reshape(fake[name].shape[0], -1) for name in ("image", "mean"))
        value = mixture_entropy(x, means, jnp.maximum(noise, 1e-6)) / x.shape[1]
        return value, dict(aux), {"gen/entropy": value}

    return Estimate(dict, apply)


def posterior(
    generate: Callable, x: Array, z: jax.Array, noise: Any, step: Any, key: Key, *, burn: int, keep: int, leapfrog: int
) -> tuple[jax.Array, jax.Array]:
    """Returns `keep` samples [keep b z] of z given x = G(z) + noise e, by Hamiltonian Monte Carlo from `z` on, after
    `burn` others, and the share of moves that were accepted. Each has `leapfrog` steps of the size `step`; the energy is
    |z|^2 / 2 + |x - G(z)|^2 / (2 noise^2), with its full gradient.
    """

    def energy(z: jax.Array) -> jax.Array:
        off = (x - generate(z)).reshape(z.shape[0], -1)
        return (z**2).sum(1) / 2 + (off**2).sum(1) / (2 * noise**2)  # [b]

    slope = jax.grad(lambda z: energy(z).sum())

    def move(z: jax.Array, key: Key) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        speed_key, accept_key = jax.random.split(key)
        speed = jax.random.normal(speed_key, z.shape, z.dtype)
        before = energy(z) + (speed**2).sum(1) / 2

        def leap(carry: tuple, _: None) -> tuple[tuple, None]:
            z, speed = carry
            z = z + step * speed
            return (z, speed - step * slope(z)), None

        new, speed = z, speed - step / 2 * slope(z)
        (new, speed), _ = jax.lax.scan(leap, (new, speed), None, length=leapfrog)
        speed = speed + step / 2 * slope(new)  # the last step's half was too much
        after = energy(new) + (speed**2).sum(1) / 2
        taken = jnp.log(jax.random.uniform(accept_key, before.shape)) < before - after
        z = jnp.where(taken[:, None], new, z)
        return z, (z, jnp.mean(taken.astype(jnp.float32)))

    _, (drawn, accepted) = jax.lax.scan(move, z, jax.random.split(key, burn + keep))
    return drawn[burn:], jnp.mean(accepted)


def hmc(*, burn: int = 2, keep: int = 2, leapfrog: int = 5, start: float = 0.01, target: float = 0.67) -> Estimate:
    """PresGAN's: the gradient of H is that of E c'x, c = (x - E[G(z) | x]) / noise^2 = -grad log p(x) a constant, with the
    mean over samples of `posterior`, which begin at the z that x was made of.

    The step size, "hmc_step" in aux, becomes 2 % larger after a round whose share of accepted moves is above `target`,
    else smaller. Dieng et al. 2019, arXiv:1910.04302, equation 11; burn-in, length and adaptation are those of
    adjidieng/PresGANs, which moves by the gradient of the prior alone. Without noise it is 0 and not told.
    """

    def init() -> dict[str, jax.Array]:
        return {"hmc_step": jnp.full((), start, jnp.float32)}

    def apply(generate: Callable, fake: PyTree, noise: Any, key: Key, aux: Mapping[str, Any]) -> tuple:
        if without_noise(noise):
            return 0.0, dict(aux), {}
        noise, z = jnp.maximum(noise, 1e-6), jax.lax.stop_gradient(fake["z"])
        # All by G in evaluation mode: batch norm of a batch would part x from the means by more than the entropy does.
        image = generate(z) + jax.lax.stop_gradient(fake["image"] - fake["mean"])
        x = jax.lax.stop_gradient(image)
        drawn, accepted = posterior(
            generate, x, z, noise, aux["hmc_step"], key, burn=burn, keep=keep, leapfrog=leapfrog
        )
        mean = jnp.mean(jnp.stack([generate(z) for z in drawn]), 0)
        score = jax.lax.stop_gradient((x - mean) / noise**2)  # nothing of the search for it is differentiated
        value = jnp.mean((score * image).reshape(len(z), -1).sum(1)) / score[0].size
        step = aux["hmc_step"] * jnp.where(accepted > target, 1.02, 0.98)
        return value, {**aux, "hmc_step": step}, {"gen/accepted": accepted, "gen/hmc_step": step}

    return Estimate(init, apply)


def entropic(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    estimate: Estimate,
    *,
    z_dim: int,
    weight: float | jax.Array,
    noise: float | jax.Array,
    accumulate: int = 1,
) -> Game:
    """Returns the game in which G minimises its loss minus weight H / d, estimated by `estimate`.

    z is drawn from N(0, I), [b z_dim]. D sees fakes and real images with the same noise, of standard deviation `noise`;
    samples are without. With weight 0 it is the game with noise alone, beside which an entropy term has to be set: the
    noise itself may be what helps. The term is that of the fakes of D's last step; PresGAN also learns the noise, which
    is a constant here.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def inputs(key: Key, batch: Batch) -> tuple:
        return (jax.random.normal(key, (rows_of(batch), z_dim)),)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        disc_vars = disc.init(disc_key, batch["image"], train=False)
        return gen.init(gen_key, *inputs(gen_key, batch), train=False), disc_vars, estimate.init()

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
        z_key, net_key, noise_key = jax.random.split(key, 3)
        z = mesh.split_rows(inputs(z_key, batch))[0]
        mean, stats = gen_apply(params, state.gen.stats, net_key, z)
        return {
            "image": mean + noise * jax.random.normal(noise_key, mean.shape, mean.dtype),
            "mean": mean,
            "z": z,
        }, stats

    def noisy(batch: Batch, fake: PyTree) -> jax.Array:
        """Real images with the noise of the fakes."""
        return batch["image"] + jax.lax.stop_gradient(fake["image"] - fake["mean"])

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_key, fake_key = jax.random.split(key)
        real_logits, stats = disc_apply(params, state.disc.stats, real_key, noisy(batch, fake))
        fake_logits, stats = disc_apply(params, stats, fake_key, fake["image"])
        total = loss.disc(real=real_logits, fake=fake_logits)
        metrics = {"disc/loss": total, **logit_metrics(real_logits, fake_logits)}
        return total, (stats, state.aux, {**metrics, **diversity(batch["image"], fake["mean"])})

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_key, fake_key, estimate_key = jax.random.split(key, 3)
        disc = state.disc
        fake_logits, _ = disc_apply(disc.params, disc.stats, fake_key, fake["image"])
        real_logits, _ = disc_apply(disc.params, disc.stats, real_key, noisy(batch, fake))
        of_loss = loss.gen(real=real_logits, fake=fake_logits)

        def generate(z: Array) -> jax.Array:
            return gen.apply({"params": params, **state.gen.stats}, z, train=False)  # type: ignore[return-value]

        entropy, aux, told = estimate.apply(generate, fake, noise, estimate_key, state.aux)
        metrics = {"gen/loss": of_loss, **told}
        return of_loss - weight * entropy, (state.gen.stats, jax.lax.stop_gradient(aux), metrics)

    def sample(params: PyTree, stats: PyTree, z: Array) -> jax.Array:
        return gen.apply({"params": params, **stats}, z, train=False)  # type: ignore[return-value]

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, parts=accumulate)
