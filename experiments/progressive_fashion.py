"""Progressive growing on Fashion-MNIST, from 4x4 to 32x32: images are surrounded by a border of two, samples cut back to 28x28.

Karras et al. 2018, arXiv:1710.10196, with at most 64 channels, WGAN-GP with a drift of 0.001, and Adam anew for every
level. A level fades in over 20,000 images, and then learns from as many; the last one is whole after 120,000. Pictures
show the level's pixels. Results, where they are kept: experiments/results/progressive_fashion.json.

    python -m experiments.progressive_fashion --seeds 3
"""

import dataclasses
from typing import Any

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Augmented, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import Game, half_life
from gan_jax.games import controls, growing
from gan_jax.games.adversarial import adversarial
from gan_jax.metrics import sliced
from gan_jax.models import progressive
from gan_jax.optim import restarted
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a folder of
    images; digits.
    """
    steps: int = 6_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 32
    """Real images of one discriminator step, a multiple of 4."""
    evaluate_every: int = 1_500
    """Steps between evaluations; 0 for the last only."""
    base: int = 512
    """Channels of a level with 2^k times 2 pixels a side: at most base / 2^k."""
    width: int = 64
    """Largest number of channels, and size of the latent z."""
    train_images: float = 20_000
    """Images that a level learns from before the next one begins."""
    fade_images: Positive = 20_000
    """Images in which a level fades in."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides; b1 is 0, b2 is 0.99."""
    penalty: float = 10.0
    """Weight of the gradient penalty of WGAN-GP."""
    drift: float = 1e-3
    """Weight of the mean square of D's logits of real images."""
    ema_images: float = 10_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    levels = growing.levels_for(spec.shape)
    sizes: dict[str, Any] = {"base": config.base, "most": config.width, "dtype": config.precision}
    gen = progressive.Generator(levels, spec.shape[-1], **sizes)
    disc = progressive.Discriminator(levels, **sizes)
    smooth = [(config.penalty, penalties.wgan_gp)]
    small = [controls.weighted(config.drift, controls.drift())]
    few = controls.augmented(config.augment, config.batch_size, mirror=config.flip, signs=False)

    def at(level: int) -> Any:
        def game(fade: Any) -> Game:
            own: tuple[Any, Any] = growing.At(gen, level, fade), growing.At(disc, level, fade)
            how: dict[str, Any] = {"z_dim": progressive.width(0, config.base, config.width), **few}
            return adversarial(
                own[0],
                own[1],
                losses.wasserstein(),
                penalties=smooth,
                controls=small,
                accumulate=config.accumulate,
                **how,
            )

        return game

    phases = levels, config.train_images, config.fade_images, config.batch_size
    plan = growing.schedule(*phases)
    adam = restarted(optax.adam(config.lr, b1=0.0, b2=0.99), growing.restarts(*phases))
    return training.Recipe(
        game=growing.growing([at(level) for level in range(levels + 1)], plan, spec.shape[0]),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size, ramp_up=None),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    plan = growing.schedule(
        growing.levels_for(images.spec.shape), config.train_images, config.fade_images, config.batch_size
    )
    growing.tell(plan, images.spec.shape, config.steps)
    if config.features == "none":
        return training.Setup(source)
    measures = evaluators.measures_of(config, images)
    evaluate = measures.evaluate(config.evaluate_samples, config.final_samples)
    if sliced.measurable(*images.spec.shape[:2]):
        evaluate = measures.at_end(evaluate, ("sliced",), config.evaluate_samples)
    return training.Setup(source, evaluate)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
