"""A GAN on a ring of eight Gaussians: does it find every mode, and nothing between them?

Data as in PacGAN, arXiv:1712.04086, section 4.1 (radius 1, std 0.01), in units in which each coordinate of the centres
has variance 1, so that one recipe serves the ring and the grid. The loss is the relativistic paired one with R1 and R2,
the remedy of R3GAN, arXiv:2501.05441, section 2. The networks are residual; learning rate and penalty fall along a
cosine, as there. Measured: experiments/results/gan_ring.json.

    python -m experiments.gan_ring
"""

import dataclasses
import functools
import math

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import residual_mlp
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import pictures

RADIUS = math.sqrt(2)  # 1, in units of the coordinates' standard deviation, 1 / sqrt(2)
STD = 0.01 * RADIUS
CENTRES = data.ring_centres(radius=RADIUS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    steps: int = 25_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 128
    """Real points of one discriminator step."""
    log_every: int = 500
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 5_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 5_000
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: int = 5_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    z_dim: int = 2
    """Size of the latent z."""
    width: int = 128
    """Units of each hidden layer."""
    gen_blocks: int = 6
    """Residual blocks of the generator, of two layers each."""
    disc_blocks: int = 2
    """Residual blocks of the discriminator."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides, falling to 0 along a cosine over --steps, so more steps make another run."""
    gamma: float = 0.06
    """R1 and R2 each enter with weight gamma / 2, falling to a tenth of it along a cosine over --steps."""
    ema_images: float = 50_000
    """Half-life, in real points, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = residual_mlp.Generator(spec.shape, config.width, config.gen_blocks, dtype=config.precision)
    disc = residual_mlp.Discriminator(config.width, config.disc_blocks, dtype=config.precision)
    weight = optax.cosine_decay_schedule(config.gamma / 2, config.steps, alpha=0.1)
    smooth = [(weight, penalties.r1), (weight, penalties.r2)]
    adam = optax.adam(optax.cosine_decay_schedule(config.lr, config.steps), b1=0.0, b2=0.99)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.relativistic_paired(), z_dim=config.z_dim, accumulate=config.accumulate, penalties=smooth
        ),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=functools.partial(pictures.points, real=CENTRES),
    )


def setup(config: Config) -> training.Setup:
    source = data.ring(config.batch_size, config.seed, radius=RADIUS, std=STD)
    return training.Setup(source, evaluators.mixture(CENTRES, STD), shown=2_500)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
