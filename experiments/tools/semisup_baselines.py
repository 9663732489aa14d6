"""Classifies MNIST by a few labels without a GAN: what stands beside semisup_mnist, on the same choices of labels.

python -m experiments.tools.semisup_baselines --json experiments/results/semisup_baselines.json

Errors on the test images of: the nearest labelled image; logistic regression on pixels; the network of semisup_mnist
trained on the labelled images alone, also with shifts by up to two pixels, and also with pseudo-labels (Lee 2013: the
unlabelled images too, with the class that the network finds likeliest, at a weight that rises from 0 to 1).
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.linear_model import LogisticRegression

from gan_jax import data
from gan_jax.config import Positive
from gan_jax.data import subsets
from gan_jax.games.network import network
from gan_jax.games.semisupervised import labelled
from gan_jax.metrics.two_sample import nearest
from gan_jax.models import weight_normed
from gan_jax.training import cli
from gan_jax.types import Batch, ImageSet, PyTree, UserError
from gan_jax.workdir import provenance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    data: str = "mnist"
    """A set with labels and test images."""
    labels: tuple[int, ...] = (100, 50, 20, 200)
    """Numbers of labels, as many of each class."""
    draws: int = 5
    """Choices of labels: those of semisup_mnist --draw 0, 1, ..."""
    steps: int = 3_000
    """Steps of each network, of 100 labelled images."""
    lr: Positive = 3e-3
    """Adam's learning rate; b1 is 0.5."""
    json: str = ""
    """Also write the errors to this file."""


def learnt(config: Config, few: ImageSet, images: ImageSet, draw: int, *, shift: int, pseudo: bool) -> Any:
    """Returns the network's function of images after training, by the average of its parameters."""
    net = weight_normed.Classifier(images.classes)
    apply = network(net)
    known, rest = data.source(few, 100, draw, shift=shift), data.source(images, 100, draw + 1)
    tx = optax.adam(config.lr, b1=0.5, eps=0.0, eps_root=1e-8)
    key = jax.random.key(draw)

    def step(state: tuple, batch: Batch, other: Batch, number: jax.Array) -> tuple:
        params, stats, opt, mean = state
        now = jax.random.fold_in(key, number)

        def loss(params: PyTree) -> jax.Array:
            (logits, _), _ = apply(params, stats, now, batch["image"])
            total = labelled(logits, batch["label"])
            if pseudo:
                (guess, _), _ = apply(params, stats, jax.random.fold_in(now, 1), other["image"])
                weight = jnp.clip((number / config.steps - 0.2) / 0.5, 0, 1)
                total = total + weight * labelled(guess, jnp.argmax(guess, 1))
            return jnp.asarray(total)

        updates, opt = tx.update(jax.grad(loss)(params), opt, params)
        params = optax.apply_updates(params, updates)
        # Of the last fifth of the steps.
        share = jnp.where(number < 0.8 * config.steps, 1.0, 1 / (number - 0.8 * config.steps + 1))
        return params, stats, opt, jax.tree.map(lambda m, p: m + share * (p - m), mean, params)

    @jax.jit
    def play(state: tuple, begin: jax.Array, end: jax.Array, sets: tuple) -> tuple:
        def one(number: jax.Array, state: tuple) -> tuple:
            batch, other = known.batch(sets[0], known.key, number), rest.batch(sets[1], rest.key, number)
            return step(state, batch, other, number)

        return jax.lax.fori_loop(begin, end, one, state)

    first = known[0]["image"]
    variables = net.init(key, first, train=False)
    rngs = {"dropout": key}
    _, stats = net.apply(variables, first, train=True, measure=True, rngs=rngs, mutable=["buffers"])
    params = variables["params"]
    state = (params, stats, tx.init(params), params)
    sets = tuple(jax.device_put(source.fetch(source.key, 0)) for source in (known, rest))
    for begin in range(0, config.steps, 100):
        state = play(state, jnp.int32(begin), jnp.int32(min(begin + 100, config.steps)), sets)
    return jax.jit(lambda x: net.apply({"params": state[3], **stats}, x, train=False)[0])


def main(config: Config) -> dict[str, Any]:
    images, test = data.load(config.data), data.load(config.data, "test")
    if images.labels is None or test.labels is None:
        raise UserError(f"{config.data} needs labels: try --data mnist")
    arms: dict[str, dict[str, Any]] = {
        "the network, labelled images alone": {"shift": 0, "pseudo": False},
        "the network, with shifts": {"shift": 2, "pseudo": False},
        "the network, with pseudo-labels": {"shift": 0, "pseudo": True},
    }
    names = ["nearest labelled image", "logistic regression", *arms]
    errors: dict[str, dict[str, list[int]]] = {name: {} for name in names}
    flat = test.scaled().reshape(len(test.images), -1)
    for count in config.labels:
        for draw in range(config.draws):
            few = subsets.balanced(images, count, draw)
            if few.labels is None:
                raise UserError(f"{config.data} has no labels")
            rows = few.scaled().reshape(count, -1)
            found = {"nearest labelled image": few.labels[nearest(flat, rows, 1)[1][:, 0]]}
            found["logistic regression"] = LogisticRegression(max_iter=2_000).fit(rows, few.labels).predict(flat)
            for name, how in arms.items():
                classify = learnt(config, subsets.balanced(images, count, draw, at_least=100), images, draw, **how)
                parts = [np.asarray(classify(part)) for part in np.split(test.scaled(), 10)]
                found[name] = np.concatenate(parts).argmax(1)
            for name in names:
                wrong = int((found[name] != test.labels).sum())
                errors[name].setdefault(str(count), []).append(wrong)
                print(f"{count:>5} labels, draw {draw}: {name:<36} {wrong:>5}", flush=True)
    result = {
        **{"name": "semisup_baselines", "command": provenance.command(config, ("json",)), **provenance.environment()},
        **{"steps": config.steps, "data": {"name": images.name, "digest": images.digest, "test_digest": test.digest}},
        "errors": errors,
    }
    if config.json:
        Path(config.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    cli.run(main, Config)
