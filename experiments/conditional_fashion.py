"""Four ways to tell a GAN the class, on Fashion-MNIST, 28x28, in equal rounds.

concatenation: the class beside z, and as one more channel of D's images (1411.1784), in DCGAN's networks. The others
have those of biggan_fashion, with conditional norms in G: projection (1802.05637); an auxiliary classifier, as AC-GAN is
trained today (1610.09585); ReACGAN (2111.01118). All with the hinge loss. At the end a classifier is also trained on
fakes, and tested on real images (CAS, 1905.10887). Results, where they are kept:
experiments/results/conditional_fashion_*.json.

    python -m experiments.conditional_fashion --seeds 3
    python -m experiments.conditional_fashion --seeds 3 --way reacgan
"""

import dataclasses
import functools
from typing import Any, Literal

import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromImages, Measured, Positive, Run, require_used
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.games.auxiliary import auxiliary, cross_entropy, data_to_data
from gan_jax.models import biggan, dcgan
from gan_jax.models.heads import Classes, Proxies
from gan_jax.models.layers import halvings
from gan_jax.training import cli
from gan_jax.types import Spec, UserError
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a
    folder of images; digits.
    """
    way: Literal["concatenation", "projection", "acgan", "reacgan"] = "projection"
    """How the networks are told the class."""
    steps: int = 3_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 60
    """Size of the latent z: a multiple of the number of sizes, of which each has its part."""
    width: int = 32
    """Channels at every size (of DCGAN's networks at the finest), a multiple of 8."""
    lr: Positive = 2e-4
    """Adam's learning rate of G; D's is twice as large. b2 is 0.999."""
    b1: Fraction = 0.0
    """Adam's decay rate of the first moment."""
    weight: Positive = 0.5
    """Weight of the auxiliary classifier's loss, of acgan and reacgan."""
    ema_images: float = 10_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    common: dict[str, Any] = {"z_dim": config.z_dim, "accumulate": config.accumulate}
    ups, width, kind = halvings(spec.shape[0], spec.shape[1], "BigGAN"), config.width, config.precision
    gen: Any = biggan.Generator(spec.shape, (width,) * (ups + 1), spec.classes, 32, (), kind)
    network = functools.partial(biggan.Discriminator, (width,) * 4, 2, dtype=kind)
    loss = losses.hinge()
    match config.way:
        case "concatenation":
            gen = dcgan.Generator(spec.shape, width, classes=spec.classes, dtype=kind)
            disc: Any = dcgan.Discriminator(width, batch_norm=False, classes=spec.classes, dtype=kind)
            game = adversarial(gen, disc, loss, classes=spec.classes, one_pass=True, **common)
        case "projection":
            game = adversarial(gen, network(spec.classes), loss, classes=spec.classes, one_pass=True, **common)
        case "acgan":
            disc = network(head=Classes(spec.classes, kind))
            game = auxiliary(gen, disc, loss, cross_entropy(), weight=config.weight, **common)
        case "reacgan":
            disc = network(head=Proxies(spec.classes, 128, kind))
            game = auxiliary(gen, disc, loss, data_to_data(), weight=config.weight, **common)
    return training.Recipe(
        game=game,
        gen_tx=optax.adam(config.lr, b1=config.b1),
        disc_tx=optax.adam(2 * config.lr, b1=config.b1),
        ema_decay=half_life(config.ema_images, config.batch_size, ramp_up=None),
        show=functools.partial(pictures.show, columns=spec.classes or None),
    )


def setup(config: Config) -> training.Setup:
    require_used(config, "way", {"weight": ("acgan", "reacgan")})
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    if images.classes < 2:
        raise UserError(
            f"a conditional GAN needs at least two classes; {images.name} has {images.classes}. Try a folder with one sub-folder a class"
        )
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    if config.features == "none":
        return training.Setup(source, shown=8 * images.classes)
    measures = evaluators.measures_of(config, images, evaluators.IN_TURN)
    named = () if config.features else ("class_accuracy",)
    evaluate = measures.evaluate(config.evaluate_samples, config.final_samples, named)
    test = measures.reference.test
    if test is not None and test.labels is not None:
        evaluate = measures.at_end(evaluate, ("cas",), config.final_samples)
    return training.Setup(source, evaluate, shown=8 * images.classes)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
