"""Super-resolution of photographs: a small network without norms, by mean differences first, then against a discriminator.

--stage psnr learns by E |G(low) - image| alone. --stage gan goes on from such a run (--start-from RUN) with a
discriminator of patches, the relativistic average loss at 0.005, 0.01 of the difference of pixels and, with --perceptual FILE,
that of VGG-19's features (ESRGAN, Wang et al. 2018, arXiv:1809.00219, whose features are deeper, and whose rate there is
1e-4). Squares are cut from a folder of photographs; small images are made by bicubic resizing. Results, where they are kept:
experiments/results/superres_photos_*.json.

    python -m experiments.superres_photos --data photographs/ --test Set5/ Set14/ --grey set14/img_003
    python -m experiments.superres_photos --data photographs/ --test Set5/ Set14/ --stage gan --start-from runs/superres_photos --workdir runs/gan
    gan-jax apply runs/superres_photos folder/ --out enlarged/
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optax

from gan_jax import data, losses, training
from gan_jax.config import Natural, Positive, Run
from gan_jax.data import bicubic, photographs
from gan_jax.data.derived import derived
from gan_jax.data.understood import understood
from gan_jax.evaluation import enlargement
from gan_jax.game import half_life
from gan_jax.games.paired import Term, l1, paired
from gan_jax.models import perceptual, superres
from gan_jax.models.patchgan import PatchGAN
from gan_jax.system.terminal import say
from gan_jax.training import cli
from gan_jax.types import Array, Batch, HeldOut, Spec, UserError
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    data: str = ""
    """Folder of photographs, of any sizes."""
    test: tuple[str, ...] = ()
    """Folders of photographs by which it is measured; default: every tenth of those of --data, which is then not learnt."""
    grey: str = ""
    """The one of --test that is grey although it has three channels, as FOLDER/NAME: set14/img_003."""
    scale: int = 4
    """How much larger: 2, 3, 4 or 8 times."""
    stage: Literal["psnr", "gan"] = "psnr"
    """Mean differences of pixels alone, or a discriminator beside them."""
    network: Literal["residual", "compact", "dense"] = "residual"
    """MSRResNet; Real-ESRGAN's small one; or ESRGAN's."""
    width: int = 32
    """Channels of its layers."""
    blocks: int = 6
    """Its blocks."""
    crop: int = 96
    """Side of the squares that are learnt, in pixels of the large image."""
    perceptual: str = ""
    """An .npz with VGG-19's weights (`gan_jax.models.perceptual`), for --stage gan."""
    judge: str = ""
    """An .npz with SqueezeNet's weights (`gan_jax.models.perceptual`), by whose features results are compared as well."""
    steps: int = 6_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 16
    """Squares of one step."""
    evaluate_every: Natural = 2_000
    """Steps between evaluations; 0 for the last only."""
    lr: Positive = 5e-4
    """Adam's learning rate of G at the start; it ends at 0 along a cosine. D's is a fifth, constant."""
    ema_images: float = 20_000
    """Half-life, in squares, of the averaged generator."""


def show(samples: np.ndarray, batch: Batch) -> dict[str, bytes]:
    """Shows the small image, its pixels repeated, beside what is made of it and the true one."""
    if len(samples) == 1:
        return pictures.show(samples, batch)
    scale = samples.shape[1] // batch["low"].shape[1]
    small = np.asarray(batch["low"]).repeat(scale, 1).repeat(scale, 2)
    return pictures.show(pictures.beside(small, samples, batch["image"]), batch, columns=6)


def build(config: Config, spec: Spec) -> training.Recipe:
    sizes: dict[str, Any] = {"blocks": config.blocks, "dtype": config.precision}
    match config.network:
        case "residual":
            gen: Any = superres.Residual(config.scale, config.width, **sizes)
        case "compact":
            gen = superres.Compact(config.scale, config.width, **sizes)
        case "dense":
            gen = superres.Dense(config.scale, config.width, config.width // 2, **sizes)
    # One that looks on should cost nothing.
    layers, width = (2, config.width) if config.stage == "gan" else (0, 4)
    disc = PatchGAN(layers, width, affine=True, dtype=config.precision)
    terms, weight = [Term("l1", 1.0, l1)], 0.0
    if config.stage == "gan":
        terms, weight = [Term("l1", 0.01, l1)], 0.005
        if config.perceptual:
            terms.append(Term("features", 1.0, of_features(config.perceptual)))
    return training.Recipe(
        game=paired(
            gen, disc, losses.relativistic_average(), terms, given=("low",), target="image", condition=None, weight=weight,
            accumulate=config.accumulate,
        ),
        gen_tx=optax.adam(optax.cosine_decay_schedule(config.lr, config.steps), b1=0.9, b2=0.99),
        disc_tx=optax.adam(config.lr / 5, b1=0.9, b2=0.99),
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=show,
    )  # fmt: skip


def of_features(path: str) -> Any:
    network = perceptual.vgg19(path)

    def distance(fake: Array, real: Array) -> Any:
        return l1(network(fake)["relu3_1"], network(real)["relu3_1"])

    return distance


def setup(config: Config) -> training.Setup:
    superres.steps_of(config.scale)
    if config.crop % config.scale:
        raise UserError(f"--crop {config.crop} must be a multiple of --scale {config.scale}")
    if config.stage == "gan" and not config.perceptual:
        say("without --perceptual FILE the term of VGG-19's features is left out")
    if config.stage == "gan" and not config.start_from:
        say("without --start-from RUN, a run of --stage psnr, it begins from plain enlargements")
    if not config.data:
        raise UserError("--data is empty: name a folder of photographs")
    held = photographs.read(config.data)
    names = sorted(held)
    tests = {Path(one).name.lower(): photographs.read(one) for one in config.test}
    if len(tests) < len(config.test):
        raise UserError(
            f"--test {' '.join(config.test)}: folders of different names are needed, by which metrics are called"
        )
    if not tests and len(names) < 2:
        raise UserError(
            f"{config.data}: one photograph is learnt or measured by, not both: give --test, or more of them"
        )
    tests = tests or {"held_out": {name: held[name] for name in names[::10]}}
    learnt = [held[name] for name in names if config.test or name not in tests["held_out"]]
    squares = photographs.squares(learnt, config.crop, config.data)
    path = str(Path(config.data).expanduser().absolute())
    squares = understood(squares._replace(facts={"folder": path, "path": path}))
    inner = data.source(squares, config.batch_size, config.seed, flip=True)

    def small(batch: Batch, key: Any) -> dict[str, Any]:
        return {"low": bicubic.shrunk(batch["image"], config.scale)}

    source = derived(inner, f"low: bicubic, 1/{config.scale}", small)
    # Held out, where those are large enough.
    unseen = [image for test in tests.values() for image in test.values() if min(image.shape[:2]) >= config.crop]
    looked = photographs.squares(unseen, config.crop, "test photographs") if unseen else squares
    shown, judged = (
        looked.scaled(np.linspace(0, len(looked.images) - 1, count).astype(int)) for count in (24, min(200, len(looked.images)))
    )  # fmt: skip
    small_shown, small_judged = (np.asarray(bicubic.shrunk(x, config.scale)) for x in (shown, judged))
    distance = perceptual.feature_distance(perceptual.squeezenet(config.judge)) if config.judge else None
    weights = perceptual.weights_digest(config.judge) if config.judge else ""
    evaluate = enlargement.measures(tests, config.scale, [config.grey], distance, weights)
    seen = small_judged.repeat(config.scale, 1).repeat(config.scale, 2)
    held_out = HeldOut({"low": small_judged}, judged, seen)
    return training.Setup(source, evaluate, {"image": shown, "low": small_shown}, held_out if unseen else None)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
