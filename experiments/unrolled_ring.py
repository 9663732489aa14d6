"""Unrolled GAN on a ring of eight Gaussians: G looks K steps of D ahead, and learns through them.

Metz et al. 2017, arXiv:1611.02163, section 3.1, with the numbers of the authors' demonstration: two tanh layers of 128
in both networks, z of 256, batches of 512, 25,000 steps, both players moving at once, the minimax loss. There weights
are initialised orthogonal, here as everywhere in `mlp`. There `linspace` puts two of the eight modes in one place, here
all eight are distinct.

    python -m experiments.unrolled_ring
"""

import dataclasses
import functools

import jax.numpy as jnp
import optax

from gan_jax import data, losses, training
from gan_jax.config import Natural, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.games.adversarial import adversarial
from gan_jax.games.unrolled import unrolled
from gan_jax.models import mlp
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import pictures

STD = 0.01
CENTRES = data.ring_centres()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    steps: int = 25_000
    """Rounds of the game: each one discriminator step and one generator step, both from the same networks."""
    batch_size: int = 512
    """Real points of one discriminator step."""
    log_every: int = 500
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 5_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 5_000
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: int = 5_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    unroll: Natural = 5
    """Steps of the discriminator that the generator looks ahead; 0 is the plain GAN."""
    z_dim: int = 256
    """Size of the latent z."""
    width: int = 128
    """Units of each of the two hidden layers."""
    gen_lr: Positive = 1e-3
    """Adam's learning rate of the generator; b1 is 0.5."""
    disc_lr: Positive = 1e-4
    """Adam's learning rate of the discriminator, also in the unrolled steps."""


def build(config: Config, spec: Spec) -> training.Recipe:
    widths = (config.width,) * 2
    gen = mlp.Generator(spec.shape, widths, jnp.tanh, last=None, dtype=config.precision)
    disc = mlp.Discriminator(widths, jnp.tanh, dtype=config.precision)
    plain = adversarial(gen, disc, losses.minimax(), z_dim=config.z_dim, accumulate=config.accumulate)
    disc_tx = optax.adam(config.disc_lr, b1=0.5, eps_root=1e-16)  # a root of 0 has no derivative
    return training.Recipe(
        game=unrolled(plain, disc_tx, config.unroll),
        gen_tx=optax.adam(config.gen_lr, b1=0.5),
        disc_tx=disc_tx,
        simultaneous=True,
        show=functools.partial(pictures.points, real=CENTRES),
    )


def setup(config: Config) -> training.Setup:
    source = data.ring(config.batch_size, config.seed, std=STD)
    return training.Setup(source, evaluators.mixture(CENTRES, STD), shown=2_500)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
