"""In-painting of photographs of facades, at 64 pixels: windows and walls where a hole was.

Three ways: context encoder (Pathak et al. 2016, arXiv:1604.07379), partial convolutions (Liu et al. 2018, arXiv:1804.07723, here
with a discriminator), and CC-GAN (Denton et al. 2016, arXiv:1611.06430, without its classes), which is told nothing but
what D thinks of the whole. Strokes and rectangles drawn anew are missing in training, the centre in the measures; D sees
filled images, and but for CC-GAN the mask. Known pixels are copied. Results, where they are kept: experiments/results/inpaint_facades_*.json.

    python -m experiments.inpaint_facades --data photographs.npz --seeds 3 --way partial
    python -m experiments.inpaint_facades --data photographs.npz --seeds 3 --way context --workdir runs/inpaint_facades_context
    python -m experiments.inpaint_facades --data photographs.npz --seeds 3 --way cc --workdir runs/inpaint_facades_cc
    gan-jax apply runs/inpaint_facades folder/ --out mended/ --masks masks/
"""

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromSet, Natural, Positive, Run
from gan_jax.data import masks, subsets
from gan_jax.data.derived import derived
from gan_jax.evaluation import evaluators, filling
from gan_jax.game import half_life
from gan_jax.games.paired import Term, l1, paired
from gan_jax.models import inpainting
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet
from gan_jax.training import cli
from gan_jax.types import Batch, Spec
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    data: str = ""
    """An .npz with images and test images, or a folder of pictures, with --size; every tenth is then held out."""
    way: Literal["partial", "context", "cc"] = "partial"
    """Partial convolutions; a context encoder; or a U-Net that D alone teaches (CC-GAN)."""
    steps: int = 6_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 16
    """Images of one step."""
    evaluate_every: Natural = 2_000
    """Steps between evaluations; 0 for the last only."""
    flip: bool = True
    """Mirror each image left to right with probability 1/2."""
    width: int = 32
    """Channels of the first convolution of both networks."""
    distance: float = 10.0
    """Weight of the L1 distance; none for cc."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    ema_images: float = 10_000
    """Half-life, in images, of the averaged generator."""


def show(samples: np.ndarray, batch: Batch) -> dict[str, bytes]:
    """Shows the image with what is missing in grey, what is filled, and the whole one."""
    if len(samples) == 1:
        return pictures.show(samples, batch)
    holes = np.where(batch["mask"] > 0, 0, batch["image"])
    return pictures.show(pictures.beside(holes, samples, batch["image"]), batch, columns=6)


def build(config: Config, spec: Spec) -> training.Recipe:
    side, channels = math.gcd(*spec.shape[:2]), spec.shape[-1]
    downs = next((i for i in range(6, 0, -1) if side % 2**i == 0), 1)
    sizes: dict[str, Any] = {"width": config.width, "dtype": config.precision}
    match config.way:
        case "partial":
            gen = inpainting.Filled(inpainting.PartialUNet(channels, downs=min(downs, 5), **sizes), partial=True)
        case "context":
            gen = inpainting.Filled(inpainting.ContextEncoder(channels, bottleneck=512, **sizes))
        case "cc":
            gen = inpainting.Filled(UNet(channels, downs=downs, **sizes))
    game = paired(
        gen, PatchGAN(2, affine=True, **sizes), losses.non_saturating(),
        [] if config.way == "cc" else [Term("l1", config.distance, l1)], given=("image", "mask"), target="image",
        condition=None if config.way == "cc" else lambda batch: batch["mask"], accumulate=config.accumulate,
    )  # fmt: skip
    tx = optax.adam(config.lr, b1=config.b1)
    return training.Recipe(game, tx, tx, ema_decay=half_life(config.ema_images, config.batch_size), show=show)


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit)
    test = evaluators.held_out(config.data, config.size, config.fit)
    images, test = subsets.tenths(images) if test is None else (images, test)
    h, w = images.spec.shape[:2]

    def missing(batch: Batch, key: Any) -> dict[str, Any]:
        return {"mask": masks.free_form(key, len(batch["image"]), h, w)}

    plain = images._replace(labels=None, classes=0, names=())
    source = derived(
        data.source(plain, config.batch_size, config.seed, flip=config.flip), "strokes and rectangles", missing
    )
    centre = masks.centre(24, h, w)
    evaluate = filling.measures(images, test, centre[0], "the centre, half of both sides")
    shown = {"image": test.scaled(slice(24)), "mask": centre[: len(test.images)]}
    return training.Setup(source, evaluate, shown, masks.held_out(test.scaled(slice(500)), centre[0]))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
