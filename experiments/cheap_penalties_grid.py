"""Gradient penalties that are cheap, on a grid of twenty-five Gaussians: do they keep all modes as exact ones do?

Networks, loss (2501.05441) and schedules of gan_grid; R1 and R2 exactly, along one random direction (arXiv:2511.22475,
2509.24935; `penalties.r1_jvp`), lazily (1912.04958), or not at all. Results, where they are kept: experiments/results/cheap_penalties_grid_*.json;
milliseconds and memory of a round: `python -m experiments.tools.benchmark_penalties`.

    python -m experiments.cheap_penalties_grid --seeds 4
    python -m experiments.cheap_penalties_grid --seeds 4 --penalty jvp_25
"""

import dataclasses
import functools
import math
from typing import Literal

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

SPACING = 1 / math.sqrt(2)  # 2, in units of the coordinates' standard deviation, 2 sqrt(2)
STD = 0.05 / 2 * SPACING
CENTRES = data.grid_centres(spacing=SPACING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    penalty: Literal["exact", "jvp_25", "difference_25", "difference_100", "lazy_8", "none"] = "exact"
    """How R1 and R2 are computed: exactly; along a random direction on a quarter of the rows, as a derivative or as a
    difference over 0.01, or on all rows; exactly in every eighth round; or not at all.
    """
    steps: int = 10_000
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
    pair: list[penalties.Penalty | penalties.Lazy]
    weight = optax.cosine_decay_schedule(config.gamma / 2, config.steps, alpha=0.1)
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
    smooth = [(weight, one) for one in pair]
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
    source = data.grid(config.batch_size, config.seed, spacing=SPACING, std=STD)
    return training.Setup(source, evaluators.mixture(CENTRES, STD), shown=2_500)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
