"""A GAN on a grid of twenty-five Gaussians: does it find every mode? Under a minute on two cores.

Data as in PacGAN, arXiv:1712.04086, section 4.1 (5 x 5, 2 apart, std 0.05). The relativistic paired loss with R1 and
R2, the remedy of R3GAN, arXiv:2501.05441, section 2. Measured: experiments/results/gan_grid.json.

    python -m experiments.gan_grid
"""

import dataclasses
import functools

import optax

from gan_jax import cli, data, evaluate, images, loop, losses, penalties
from gan_jax.config import Run
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.layers import leaky_relu
from gan_jax.models import mlp
from gan_jax.types import Spec

STD = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    steps: int = 15_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 128
    """Real points of one discriminator step."""
    log_every: int = 500
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 3_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 3_000
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: int = 5_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    z_dim: int = 2
    """Size of the latent z."""
    width: int = 128
    """Units of each of the three hidden layers."""
    lr: float = 1e-3
    """Adam's learning rate, both sides, falling to 0 along a cosine over --steps: a run of more steps is another run."""
    gamma: float = 0.5
    """R1 and R2 each enter with weight gamma / 2."""
    ema_images: float = 50_000
    """Half-life, in real points, of the averaged generator."""


def build(config: Config, spec: Spec) -> loop.Recipe:
    gen = mlp.Generator(
        spec.shape, widths=(config.width,) * 3, activation=leaky_relu, last=None, dtype=config.precision
    )
    disc = mlp.Discriminator(widths=(config.width,) * 3, activation=leaky_relu, dtype=config.precision)
    smooth = [(config.gamma / 2, penalties.r1), (config.gamma / 2, penalties.r2)]
    adam = optax.adam(optax.cosine_decay_schedule(config.lr, config.steps), b1=0.0, b2=0.99)
    return loop.Recipe(
        game=adversarial(
            gen, disc, losses.relativistic_paired(), z_dim=config.z_dim, accumulate=config.accumulate, penalties=smooth
        ),
        gen_tx=adam,
        disc_tx=adam,
        z_dim=config.z_dim,
        ema_decay=half_life(config.ema_images, config.batch_size),
    )


def main(config: Config) -> None:
    centres = data.grid_centres()
    picture = functools.partial(images.scatter, real=centres)
    source = data.grid(config.batch_size, config.seed, std=STD)
    loop.run(config, build, source, evaluate.mixture(centres, STD), picture, pictured=2_500)


if __name__ == "__main__":
    cli.run(main, Config)
