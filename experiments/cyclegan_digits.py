"""Translation between digits and their edges, without pairs, by CycleGAN, DiscoGAN or DualGAN: a translator each way.

Zhu et al. 2017, arXiv:1703.10593; Kim et al. 2017, arXiv:1703.05192, without its feature matching; Yi et al. 2017,
arXiv:1704.02510, with clipped weights as published: one game, whose losses, distances and optimisers differ, with equal
small networks. The domains are the digits of one half and the edges (grey dilation minus image) of the other half.
Held-out digits have a true translation, by which each direction is measured; digits made of edges are also to keep
their class; of a set without test images the classifier that tells it has learnt those too. Results, where they are kept:
experiments/results/cyclegan_digits_*.json.

    python -m experiments.cyclegan_digits --seeds 4
    python -m experiments.cyclegan_digits --data mnist --seeds 3 --method discogan
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
from scipy.ndimage import grey_dilation

from gan_jax import data, losses, optim, training
from gan_jax.config import Fraction, FromSet, Natural, Positive, Run
from gan_jax.data.validate import image_set
from gan_jax.evaluation import classifier, evaluators
from gan_jax.games.cycle import Pair, cycle
from gan_jax.games.paired import l1
from gan_jax.metrics import fidelity
from gan_jax.models.translator import Patches, Translator
from gan_jax.training import cli
from gan_jax.types import Array, Batch, Draw, Evaluate, HeldOut, ImageSet, Record, Spec
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    method: Literal["cyclegan", "discogan", "dualgan"] = "cyclegan"
    """Least squares and 10 times L1; cross entropies and squares; or the Wasserstein loss and 500 times L1."""
    steps: int = 2_000
    """Rounds of the game: each one step of both discriminators and one of both translators."""
    batch_size: int = 16
    """Images of each domain in one step."""
    evaluate_every: Natural = 500
    """Steps between evaluations; 0 for the last only."""
    width: int = 16
    """Channels of the first convolution of every network."""
    pool: Natural = 50
    """Earlier fakes kept of each domain, of CycleGAN; half of the time the discriminators see one of them instead of a new one."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides; DualGAN's RMSProp takes a quarter of it."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment; RMSProp has none."""


def show(samples: np.ndarray, batch: Batch) -> dict[str, bytes]:
    """Shows each input beside its translation."""
    return pictures.show(samples if len(samples) == 1 else pictures.beside(batch["a"], samples), batch, columns=8)


def squares(fake: Array, real: Array) -> Any:
    return jnp.mean((fake - real) ** 2)


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = Pair(*(Translator(config.width, dtype=config.precision) for _ in range(2)))
    disc = Pair(*(Patches(config.width, dtype=config.precision) for _ in range(2)))
    gen_tx = disc_tx = optax.adam(config.lr, b1=config.b1)
    options: dict[str, Any] = {"pool": 0, "accumulate": config.accumulate}
    match config.method:
        case "cyclegan":
            loss, options = losses.least_squares(), {**options, "pool": config.pool}
        case "discogan":
            loss, options = losses.non_saturating(), {**options, "weight": 1.0, "distance": squares}
        case "dualgan":
            loss, options = losses.wasserstein(), {**options, "weight": 500.0, "distance": l1}
            gen_tx = optax.rmsprop(config.lr / 4)
            disc_tx = optax.chain(gen_tx, optim.clip_weights(0.1))
    return training.Recipe(cycle(gen, disc, loss, **options), gen_tx, disc_tx, show=show)


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit)
    held = evaluators.held_out(config.data, config.size, config.fit)
    rows = np.random.default_rng(0).permutation(len(images.images))
    fifth, name = len(rows) // 5, "a fifth, held out"
    if held is None:
        held, test_rows, rows = images, rows[:fifth], rows[fifth:]
    else:
        test_rows, name = np.arange(min(2_000, len(held.images))), "test"

    def domain(of: ImageSet, rows: np.ndarray, edges: bool, name: str) -> ImageSet:
        pixels = pictures.to_uint8(of.scaled(rows))
        pixels = grey_dilation(pixels, (1, 3, 3, 1)) - pixels if edges else pixels
        return image_set(pixels, None, f"{name} of {of.name}")

    a, b = domain(images, rows[::2], False, "half"), domain(images, rows[1::2], True, "edges of the other half")
    real_a, real_b = (domain(held, test_rows, edges, name).scaled() for edges in (False, True))
    classify = classifier.trained(images, classifier.STEPS) if images.classes else None
    learnt = (
        "all images, those held out too," if held is images else "the training images"
    )  # of a set without test images, all of it
    known = (
        {}
        if classify is None
        else {"classifier": f"of {learnt}, {classify.steps} steps", "network_weights": classify.digest}
    )
    labels = None if classify is None or held.labels is None else held.labels[test_rows]
    how = {
        "real": len(test_rows),
        "real_split": name,
        "data": images.name,
        "data_digest": images.digest,
        "pixels": "8 bits",
    }

    def values(made: np.ndarray, true: np.ndarray) -> dict[str, float]:
        pixels, truth = pictures.to_uint8(np.clip(made, -1, 1)), pictures.to_uint8(true)
        found = {"l1": fidelity.l1(pixels, truth).mean(), "psnr": fidelity.psnr(pixels, truth).mean()}
        found["agreement"] = ((pixels > 127) == (truth > 127)).mean()
        if classify is not None and labels is not None and true is real_a:
            found["class_kept"] = (np.asarray(classify(pixels)[1]).argmax(1) == labels).mean()
        return {key: float(value) for key, value in found.items()}

    def answers(given: np.ndarray, true: np.ndarray, learnt: ImageSet) -> dict[str, dict[str, float]]:
        mean = np.broadcast_to(learnt.scaled().mean(0, keepdims=True), true.shape)
        other = learnt.scaled(np.arange(len(true)) % len(learnt.images))
        trivial = {"copy": given, "mean_target": mean, "black": np.full_like(true, -1), "another": other}
        return {answer: values(x, true) for answer, x in trivial.items()} | {"real": values(true, true)}

    ways = {"to_b": (real_a, real_b, b), "to_a": (real_b, real_a, a)}
    beside = {way: answers(*of) for way, of in ways.items()}

    def measure(draw: Draw) -> dict[str, Record]:
        made = {"to_b": np.asarray(draw({"a": real_a})), "to_a": np.asarray(draw.ask("to_a", real_b))}
        found = {}
        for way, (_, true, _) in ways.items():
            for key, value in values(made[way], true).items():
                told = {
                    answer: of[key]
                    for answer, of in beside[way].items()
                    if key not in ("l1", "psnr") or answer != "real"
                }
                more = known if key == "class_kept" else {}
                found[f"{key}_{way}"] = Record(value, key != "l1", {**how, **more, "answers": told})
        return found

    names = tuple(f"{key}_{way}" for way in ways for key in beside[way]["copy"])
    parts = {name: data.source(one, config.batch_size, config.seed) for name, one in (("a", a), ("b", b))}
    judged = HeldOut({"a": real_a}, real_b, real_a)
    return training.Setup(data.together(**parts), Evaluate(measure, names), {"a": real_a[:32]}, judged)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
