"""Entropy-regularised GAN on a ring of eight Gaussians: do networks that collapse find more modes when G is paid for entropy?

Networks, optimiser and data of pacgan_mixtures, packs of one, alternating steps. G minimises its loss minus ENTROPY H / 2, with H
the entropy of its points, by the log-determinant of its Jacobian or by the mixture of the others of its batch
(`games.entropy`); D sees all points with noise (PresGAN, arXiv:1910.04302, section 3). ENTROPY 0 is
the noise alone, and --noise 0 with it the plain GAN. Results, where they are kept: experiments/results/entropy_ring_*.json.

    python -m experiments.entropy_ring --seeds 3 --noise 0
    python -m experiments.entropy_ring --seeds 3 --sweep entropy=0,1e-4,1e-3,1e-2,1e-1
    python -m experiments.entropy_ring --seeds 3 --estimate log_det --sweep entropy=1e-4,1e-3,1e-2,1e-1
"""

import dataclasses
import functools
from typing import Any, Literal

import optax

from gan_jax import data, losses, training
from gan_jax.config import Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.games import entropy
from gan_jax.models import maxout_mlp
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import pictures

CENTRES, STD = data.ring_centres(), 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    estimate: Literal["mixture", "log_det", "hmc"] = "mixture"
    """How the entropy is estimated: by the others of a batch, by G's Jacobian, or by samples of z given a point (PresGAN)."""
    entropy: float = 0.0
    """Weight of the entropy, in nats for each coordinate, in G's loss."""
    noise: float = 0.05
    """Standard deviation of the noise on all points that D sees. 0: none, and no entropy by mixture or hmc."""
    steps: int = 5_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 100
    """Real points of one discriminator step."""
    log_every: int = 500
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 2_500
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 2_500
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: int = 2_500
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    z_dim: int = 2
    """Size of the latent z."""
    width: int = 400
    """Units of each of the generator's four layers; the discriminator's three have half as many, of five pieces."""
    lr: Positive = 1e-4
    """Adam's learning rate, both sides; b1 is 0.8, b2 is 0.999."""


def build(config: Config, spec: Spec) -> training.Recipe:
    match config.estimate:
        case "mixture":
            estimate = entropy.mixture()
        case "log_det":
            estimate = entropy.log_det()
        case "hmc":
            estimate = entropy.hmc()
    gen = maxout_mlp.Generator(spec.shape, config.width, dtype=config.precision)
    disc = maxout_mlp.Discriminator(config.width // 2, dtype=config.precision)
    how: dict[str, Any] = {
        "z_dim": config.z_dim,
        "weight": config.entropy,
        "noise": config.noise,
        "accumulate": config.accumulate,
    }
    adam = optax.adam(config.lr, b1=0.8, b2=0.999)
    return training.Recipe(
        game=entropy.entropic(gen, disc, losses.non_saturating(), estimate, **how),
        gen_tx=adam,
        disc_tx=adam,
        show=functools.partial(pictures.points, real=CENTRES),
    )


def setup(config: Config) -> training.Setup:
    entropy.require(config)
    source = data.source(data.points(CENTRES, STD), config.batch_size, config.seed)
    return training.Setup(source, evaluators.mixture(CENTRES, STD), shown=2_500)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
