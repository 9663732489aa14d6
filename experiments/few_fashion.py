"""A thousand images of Fashion-MNIST: what keeps D from learning them by heart, and G with it.

Arms of equal rounds on the same images: none; DiffAugment (2006.10738); ADA (2006.06676); LeCam (2104.03310); APA
(2111.06849); and what gan_jax recommends, the relativistic loss with R1 and R2 (2501.05441) and DiffAugment. Fakes are
compared with the whole training set. D's mean logits of images that it has seen, of others that it has not, and of
fakes tell whether it has learnt by heart: `memory` is (seen - unseen) / (seen - fake), 0 for none and 1 where new images
are to it as fakes. Results, where they are kept: experiments/results/few_fashion_*.json.

    python -m experiments.few_fashion --seeds 3
    python -m experiments.few_fashion --seeds 3 --arm diffaugment
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optax

from gan_jax import augment, data, losses, penalties, training
from gan_jax.config import FromImages, Measured, Positive, Run, require_used
from gan_jax.data import subsets
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.training import cli
from gan_jax.types import Draw, Evaluate, Record, Spec, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a
    folder of images; digits.
    """
    arm: Literal["none", "diffaugment", "ada", "lecam", "apa", "recommended"] = "none"
    """What is done against learning by heart. ada also mirrors, turns and inverts images, whatever they show."""
    images: int = 1_000
    """Images of the set that are trained on, the same for every seed; all of them measure."""
    steps: int = 8_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 2_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 100
    """Size of the latent z."""
    width: int = 32
    """Channels at the finest resolution inside the networks."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides; b1 is 0.5."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""
    adapt_images: Positive = 100_000
    """Images in which ADA's and APA's probability may rise from 0 to 1; their authors take 500,000 for longer runs."""
    lecam: float = 0.3
    """Weight of LeCam's term."""
    gamma: float = 0.1
    """R1 and R2 each enter with weight gamma / 2, in the recommended arm."""


def build(config: Config, spec: Spec) -> training.Recipe:
    how: dict[str, Any] = {}
    loss = losses.non_saturating()
    match config.arm:
        case "diffaugment":
            how = {"augment": augment.diffaugment}
        case "ada":
            speed = controls.ada(config.batch_size, images=config.adapt_images)
            how = {"augment": augment.pipe(), "controls": [speed]}
        case "lecam":
            how = {"controls": [controls.weighted(config.lecam, controls.lecam())]}
        case "apa":
            how = {"controls": [controls.apa(config.batch_size, images=config.adapt_images)]}
        case "recommended":
            smooth = [(config.gamma / 2, penalties.r1), (config.gamma / 2, penalties.r2)]
            how, loss = {"augment": augment.diffaugment, "penalties": smooth}, losses.relativistic_paired()
    gen = dcgan.Generator(spec.shape, config.width, dtype=config.precision)
    disc = dcgan.Discriminator(config.width, batch_norm=False, dtype=config.precision)
    adam = optax.adam(config.lr, b1=0.5)
    return training.Recipe(
        game=adversarial(gen, disc, loss, z_dim=config.z_dim, accumulate=config.accumulate, **how),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
    )


def setup(config: Config) -> training.Setup:
    users = {"adapt_images": ("ada", "apa"), "lecam": ("lecam",), "gamma": ("recommended",)}
    require_used(config, "arm", users)
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    if config.images >= len(images.images):
        raise UserError(
            f"--images {config.images}: fewer than the {len(images.images)} of {config.data}, some are left unseen"
        )
    few, unseen = subsets.some(images, config.images), subsets.some(images, config.images, left_out=True)
    whole = evaluators.for_run(config, images)
    source = data.source(few, config.batch_size, config.seed, flip=config.flip, shift=config.shift)

    def memory(draw: Draw) -> dict[str, Record]:
        sets = {"seen": few.scaled(), "unseen": unseen.scaled(), "fake": np.asarray(draw(config.images))}
        mean = {name: float(np.mean(draw.ask("logits", x))) for name, x in sets.items()}
        how = {"data_digest": few.digest, "unseen_digest": unseen.digest, "fake": config.images}
        apart = mean["seen"] - mean["fake"]
        share = (mean["seen"] - mean["unseen"]) / apart if apart else 0.0
        records = {f"logit_{name}": Record(value, None, how) for name, value in mean.items()}
        return {**records, "memory": Record(share, False, how)}

    def with_memory(measure: Callable[[Draw], dict[str, Record]]) -> Callable[[Draw], dict[str, Record]]:
        return lambda draw: {**measure(draw), **memory(draw)}

    named = ("logit_seen", "logit_unseen", "logit_fake", "memory")
    if whole is None:
        return training.Setup(source, Evaluate(memory, named))
    final = None if whole.final is None else with_memory(whole.final)
    evaluate = Evaluate(with_memory(whole.measure), (*whole.names, *named), final, whole.prepare)
    return training.Setup(source, evaluate)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
