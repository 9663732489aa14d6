"""PacGAN on a ring of eight or a grid of twenty-five Gaussians, as it was published: D judges several points at once.

Lin et al. 2018, arXiv:1712.04086, section 4.1 and table 1, with its networks, optimiser, 100,000 fixed points and
400,000 steps. Packs of one are the plain GAN; packs of three and four are the other rows of the paper's table.
Published for packs of two, mean ± standard error of ten runs: ring 7.9 ± 0.1 modes, high quality .956 ± .020, reverse
KL .07 ± .03; grid 23.8 ± 0.7, .913 ± .008, .13 ± .04. Here a pack is adjacent points of one shuffled order; in the
authors' code each position of the packs was drawn once from the same points, with replacement.

    python -m experiments.pacgan_mixtures --mixture grid --packing 2 --seeds 10
"""

import dataclasses
import functools
from typing import Literal

import numpy as np
import optax

from gan_jax import data, losses, training
from gan_jax.config import Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.games.adversarial import adversarial
from gan_jax.games.packed import packed
from gan_jax.models import maxout_mlp
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    steps: int = 400_000
    """Rounds of the game: each one discriminator step and one generator step, both from the same networks."""
    batch_size: int = 100
    """Packs of one discriminator step, each of PACKING real points."""
    log_every: int = 1_000
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 50_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 50_000
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: int = 10_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    mixture: Literal["ring", "grid"] = "ring"
    """Eight Gaussians of std 0.01 on a circle of radius 1, or 5 x 5 of std 0.05, 2 apart."""
    packing: int = 2
    """Points that the discriminator judges together; 1 is the plain GAN."""
    z_dim: int = 2
    """Size of the latent z."""
    width: int = 400
    """Units of each of the generator's four layers; the discriminator's three have half as many, of five pieces."""
    lr: Positive = 1e-4
    """Adam's learning rate, both sides; b1 is 0.8, b2 is 0.999."""


def mixture(config: Config) -> tuple[np.ndarray, float]:
    """Returns the centres and the standard deviation."""
    return (data.ring_centres(), 0.01) if config.mixture == "ring" else (data.grid_centres(), 0.05)


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = maxout_mlp.Generator(spec.shape, config.width, dtype=config.precision)
    disc = maxout_mlp.Discriminator(config.width // 2, dtype=config.precision)
    plain = adversarial(gen, disc, losses.non_saturating(), z_dim=config.z_dim, accumulate=config.accumulate)
    adam = optax.adam(config.lr, b1=0.8, b2=0.999)
    return training.Recipe(
        game=packed(plain, config.packing),
        gen_tx=adam,
        disc_tx=adam,
        simultaneous=True,
        packing=config.packing,
        show=functools.partial(pictures.points, real=mixture(config)[0]),
    )


def setup(config: Config) -> training.Setup:
    centres, std = mixture(config)
    source = data.source(data.points(centres, std), config.batch_size * config.packing, config.seed)
    return training.Setup(source, evaluators.mixture(centres, std), shown=2_500)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
