"""Gradient penalties that are cheap, on stacked MNIST: do they find the thousand modes as exact ones do?

Data, networks at half width and loss of `stacked_mnist_dcgan --width 32`, in fewer rounds; R1 and R2 exactly, along one
random direction (arXiv:2511.22475, 2509.24935; `penalties.r1_jvp`), lazily (1912.04958), or not at all. Results, where they are kept:
experiments/results/cheap_penalties_stacked_*.json; milliseconds and memory of a round:
`python -m experiments.tools.benchmark_penalties`.

    python -m experiments.cheap_penalties_stacked --seeds 4
    python -m experiments.cheap_penalties_stacked --seeds 4 --penalty jvp_25
"""

import dataclasses
from typing import Literal

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import FromSet, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    data: str = "mnist"
    """A set of grey images of ten classes, three of which make an image: mnist, digits, an .npz."""
    penalty: Literal["exact", "jvp_25", "difference_25", "difference_100", "lazy_8", "none"] = "exact"
    """How R1 and R2 are computed: exactly; along a random direction on a quarter of the rows, as a derivative or as a
    difference over 0.01, or on all rows; exactly in every eighth round; or not at all.
    """
    steps: int = 2_500
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 64
    """Real images of one discriminator step."""
    sample_every: int = 1_250
    """Steps between sample pictures; 0 for the first and the last only."""
    triples: int = 128_000
    """Fixed images of three digits each; at least as many as a batch."""
    evaluate_every: int = 1_250
    """Steps between evaluations; 0 for the last only."""
    evaluate_samples: int = 26_000
    """Fakes whose digits are counted in an evaluation."""
    z_dim: int = 100
    """Size of the latent z."""
    width: int = 32
    """Channels next to the images; the innermost layer has four times as many."""
    lr: Positive = 2e-3
    """Adam's learning rate, both sides, falling to 0 along a cosine over --steps, so more steps make another run."""
    gamma: float = 1.0
    """R1 and R2 each enter with weight gamma / 2."""
    ema_images: float = 40_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = dcgan.Generator(spec.shape, config.width, dtype=config.precision)
    disc = dcgan.Discriminator(config.width, batch_norm=False, dtype=config.precision)
    pair: list[penalties.Penalty | penalties.Lazy]
    match config.penalty:
        case "exact":
            pair = [penalties.r1, penalties.r2]
        case "jvp_25":
            pair = [penalties.r1_jvp(share=0.25), penalties.r2_jvp(share=0.25)]
        case "difference_25":
            pair = [penalties.r1_difference(share=0.25), penalties.r2_difference(share=0.25)]
        case "difference_100":
            pair = [penalties.r1_difference(), penalties.r2_difference()]
        case "lazy_8":
            pair = [penalties.lazy(penalties.r1, 8), penalties.lazy(penalties.r2, 8)]
        case "none":
            pair = []
    smooth = [(config.gamma / 2, one) for one in pair]
    adam = optax.adam(optax.cosine_decay_schedule(config.lr, config.steps), b1=0.0, b2=0.99)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.relativistic_paired(), z_dim=config.z_dim, accumulate=config.accumulate, penalties=smooth
        ),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
    )


def setup(config: Config) -> training.Setup:
    digits = data.load(config.data, size=config.size or None, fit=config.fit)
    source = data.stacked(digits, config.batch_size, config.seed, count=config.triples)
    return training.Setup(source, evaluators.stacked(digits, config.evaluate_samples))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
