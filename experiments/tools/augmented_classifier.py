"""Trains classifiers with a GAN's images beside a few real ones: does it help, beside shifts?

python -m experiments.tools.augmented_classifier --json experiments/results/augmented_classifier_mnist.json

For each number of labelled images and each choice of them: a conditional GAN (cgan_mnist with DiffAugment) learns from these
images alone, and a semi-supervised one (semisup_mnist) from them and from all others without labels, whose own D names
the classes of its fakes. Classifiers of one kind then train for equal steps, of 128 images each, half of them fakes where
there are some. Accuracies are on the test images.
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments import cgan_mnist, semisup_mnist
from gan_jax import data
from gan_jax.data import subsets
from gan_jax.data.validate import image_set
from gan_jax.evaluation.classifier_net import Classifier
from gan_jax.training import cli
from gan_jax.types import ImageSet, PyTree, Source, UserError
from gan_jax.workdir import pictures, provenance

BATCH = 128
PLAIN, CLASSIC, BOTH = "real", "real, shifts", "real and fakes, shifts"
CONDITIONAL, POOL, ALONE = (
    "real and a conditional GAN's fakes",
    "real and a semi-supervised GAN's fakes",
    "fakes alone (CAS)",
)
ARMS = (PLAIN, CLASSIC, CONDITIONAL, BOTH, POOL, ALONE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    data: str = "mnist"
    """A set with labels and test images. Fashion-MNIST is mirrored too where images are shifted, digits are not."""
    per_class: tuple[int, ...] = (10, 50, 100, 1_000)
    """Labelled images of each class."""
    draws: int = 3
    """Choices of them, for each of which the GANs are trained once."""
    seeds: int = 2
    """Classifiers of each choice."""
    steps: int = 500
    """Steps of each classifier."""
    gan_steps: int = 2_000
    """Rounds of each conditional GAN."""
    semi_steps: int = 6_000
    """Rounds of each semi-supervised GAN."""
    fakes: int = 20_000
    """Images of each GAN."""
    json: str = ""
    """Also write the accuracies to this file."""


def fakes_of(config: Config, few: ImageSet, count: int, draw: int, home: Path) -> dict[str, ImageSet]:
    """Returns the fakes of both GANs, with their classes."""
    file = home / "few.npz"
    np.savez(file, x_train=np.asarray(few.images), y_train=np.asarray(few.labels))
    quiet: dict[str, Any] = {"sample_every": 0, "checkpoint_every": 0, "log_every": 1_000, "seed": draw}
    plain = cgan_mnist.Config(
        workdir=str(home / "conditional"), data=str(file), augment="diffaugment", features="none",
        steps=config.gan_steps, batch_size=min(64, len(few.images)), evaluate_every=0, **quiet,
    )  # fmt: skip
    cgan_mnist.main(plain)
    sampler = gan_jax.load(plain.workdir)
    labels = np.arange(config.fakes, dtype=np.int32) % few.classes
    made = pictures.to_uint8(np.asarray(sampler.draw({"label": labels})))
    out = {CONDITIONAL: image_set(made, labels, "fakes", few.classes)}
    semi = semisup_mnist.Config(
        workdir=str(home / "semi"), data=config.data, labels=count * few.classes, draw=draw, steps=config.semi_steps,
        evaluate_every=0, **quiet,
    )  # fmt: skip
    semisup_mnist.main(semi)
    sampler = gan_jax.load(semi.workdir)
    made = np.asarray(sampler.draw(config.fakes))
    labels = np.asarray(sampler.ask("classes", made)).argmax(1).astype(np.int32)
    return out | {POOL: image_set(pictures.to_uint8(made), labels, "fakes", few.classes)}


def accuracy(config: Config, parts: list[Source], test: ImageSet, seed: int) -> float:
    """Returns the share of test images that a classifier gets right, which learns from equal parts of these sources."""
    net, key = Classifier(test.classes), jax.random.key(seed)
    tx = optax.adamw(optax.cosine_onecycle_schedule(config.steps, 3e-3, 0.2), weight_decay=1e-4)

    def step(number: jax.Array, state: tuple, sets: tuple) -> tuple:
        params, stats, opt = state
        batches = [part.batch(held, key, number) for part, held in zip(parts, sets, strict=True)]
        images, label = (jnp.concatenate([batch[name] for batch in batches]) for name in ("image", "label"))

        def loss(params: PyTree) -> tuple[jax.Array, PyTree]:
            rngs = {"dropout": jax.random.fold_in(key, number)}
            (_, logits), new = net.apply(
                {"params": params, **stats}, images, train=True, mutable=list(stats), rngs=rngs
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), new

        grads, stats = jax.grad(loss, has_aux=True)(params)
        updates, opt = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), stats, opt

    @jax.jit
    def play(begin: jax.Array, end: jax.Array, state: tuple, sets: tuple) -> tuple:
        return jax.lax.fori_loop(begin, end, lambda number, state: step(number, state, sets), state)

    variables = net.init(key, jnp.zeros((1, *test.spec.shape)), train=False)
    stats = {"batch_stats": variables["batch_stats"]}
    state = (variables["params"], stats, tx.init(variables["params"]))
    sets = tuple(jax.device_put(part.fetch(part.key, 0)) for part in parts)
    for begin in range(0, config.steps, 50):
        state = play(jnp.int32(begin), jnp.int32(min(begin + 50, config.steps)), state, sets)
    classify = jax.jit(lambda x: net.apply({"params": state[0], **state[1]}, x, train=False)[1])
    found = [np.asarray(classify(part)).argmax(1) for part in np.array_split(test.scaled(), 20)]
    return float((np.concatenate(found) == test.labels).mean())


def main(config: Config) -> dict[str, Any]:
    images, test = data.load(config.data), data.load(config.data, "test")
    if images.labels is None or test.labels is None:
        raise UserError(f"{config.data} needs labels: try --data mnist")
    classic: dict[str, Any] = {"shift": 2, "flip": "fashion" in config.data}
    found: dict[str, dict[str, list[float]]] = {arm: {} for arm in ARMS}
    for count in config.per_class:
        for draw in range(config.draws):
            few = subsets.balanced(images, count * images.classes, draw)
            with tempfile.TemporaryDirectory() as home:
                fakes = fakes_of(config, few, count, draw, Path(home))
            tiled = subsets.balanced(images, count * images.classes, draw, at_least=BATCH)
            for seed in range(config.seeds):
                half = {name: data.source(one, BATCH // 2, seed) for name, one in fakes.items()}
                parts = {
                    PLAIN: [data.source(tiled, BATCH, seed)],
                    CLASSIC: [data.source(tiled, BATCH, seed, **classic)],
                    CONDITIONAL: [data.source(tiled, BATCH // 2, seed), half[CONDITIONAL]],
                    BOTH: [
                        data.source(tiled, BATCH // 2, seed, **classic),
                        data.source(fakes[CONDITIONAL], BATCH // 2, seed, **classic),
                    ],
                    POOL: [data.source(tiled, BATCH // 2, seed), half[POOL]],
                    ALONE: [data.source(fakes[CONDITIONAL], BATCH, seed)],
                }
                for arm in ARMS:
                    share = accuracy(config, parts[arm], test, 1_000 * draw + seed)
                    found[arm].setdefault(str(count), []).append(share)
                    print(f"{count:>5} a class, choice {draw}, seed {seed}: {arm:<40} {share:.4f}", flush=True)
    result = {
        **{
            "name": f"augmented_classifier_{config.data.removesuffix('_mnist')}",
            "command": provenance.command(config, ("json",)),
        },
        **provenance.environment(),
        **{name: getattr(config, name) for name in ("draws", "seeds", "steps", "gan_steps", "semi_steps", "fakes")},
        "data": {"name": images.name, "digest": images.digest, "test_digest": test.digest},
        "accuracy": found,
    }
    if config.json:
        Path(config.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    cli.run(main, Config)
