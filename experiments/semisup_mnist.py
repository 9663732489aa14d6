"""Semi-supervised MNIST: a discriminator that learns the ten digits from 100 labels, and the rest from images without.

Salimans et al. 2016, arXiv:1606.03498, section 5.1: their networks, noise and optimiser; they publish 93 ± 6.5 errors of
10,000 with 100 labels after 300 epochs, over ten choices of labels. An epoch of 60,000 images is 600 steps. Each run
draws its labels anew, by --draw. Measured: experiments/results/semisup_mnist_*.json; beside them stand the same network
without unlabelled images, and other baselines: `python -m experiments.tools.semisup_baselines`.

    python -m experiments.semisup_mnist
    python -m experiments.semisup_mnist --labels 50 --draw 1

`gan_jax.load("runs/semisup_mnist").ask("classes", images)` gives the logits of the digits.
"""

import dataclasses

import numpy as np
import optax

from gan_jax import data, training
from gan_jax.config import Fraction, FromSet, Natural, Positive, Run
from gan_jax.data import subsets
from gan_jax.evaluation import evaluators
from gan_jax.games.semisupervised import semisupervised
from gan_jax.models import weight_normed
from gan_jax.training import cli
from gan_jax.types import Draw, Evaluate, Record, Spec, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    data: str = "mnist"
    """A set with labels: mnist, fashion_mnist, digits, an .npz. It is measured on its test images or, where
    there are none, on a fifth that is left out."""
    steps: int = 60_000
    """Rounds of the game: each one discriminator step and one generator step. 600 are an epoch of MNIST."""
    batch_size: int = 100
    """Labelled images of one step, and as many unlabelled ones, and fakes."""
    log_every: int = 600
    """Steps between rows of metrics.jsonl."""
    sample_every: Natural = 6_000
    """Steps between sample pictures; 0 for the first and the last only."""
    checkpoint_every: Natural = 6_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    evaluate_every: Natural = 6_000
    """Steps between evaluations; 0 for the last only."""
    labels: int = 100
    """Images whose labels are used: as many of each class, drawn by --draw. All images are used without labels."""
    draw: Natural = 0
    """Seed of the choice of labels, which is the same for every --seed."""
    z_dim: int = 100
    """Size of the latent z, which is uniform in [0, 1]."""
    lr: Positive = 3e-3
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    average: Fraction = 1e-4
    """Share of the new parameters in the average of D's, in every step."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = weight_normed.Generator(spec.arrays["image"].shape, dtype=config.precision)
    disc = weight_normed.Classifier(spec.meta["image"]["classes"], dtype=config.precision)
    game = semisupervised(gen, disc, z_dim=config.z_dim, average=config.average, accumulate=config.accumulate)
    # As in the paper's code, where 1e-8 stands under the root: else D, once it is sure, makes full steps of its noise.
    tx = optax.adam(config.lr, b1=config.b1, eps=0.0, eps_root=1e-8)
    return training.Recipe(game, tx, tx)


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit)
    test, split = evaluators.held_out(config.data, config.size, config.fit), "test"
    if test is None:
        mixed = np.random.default_rng(0).permutation(len(images.images))
        fifth, split = len(mixed) // 5, "a fifth of train, left out"
        test, images = (subsets.part(images, rows, images.name) for rows in (mixed[:fifth], mixed[fifth:]))
    if images.labels is None or test.labels is None:
        raise UserError(f"{config.data} has no labels: try --data mnist")
    few = subsets.balanced(images, config.labels, config.draw, at_least=config.batch_size)
    labels = test.labels

    def measure(draw: Draw) -> dict[str, Record]:
        wrong = int((np.asarray(draw.ask("classes", test.scaled())).argmax(1) != labels).sum())
        how = {"real": len(labels), "real_split": split, "data": test.name, "data_digest": test.digest}
        how |= {"labelled": config.labels, "labelled_digest": few.digest, "disc_weights": "averaged"}
        return {"test_errors": Record(float(wrong), False, how)}

    parts = {
        name: data.source(one, config.batch_size, config.seed) for name, one in (("image", images), ("labelled", few))
    }
    return training.Setup(data.together(**parts), Evaluate(measure, ("test_errors",)))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
