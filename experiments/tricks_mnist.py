"""The "improved techniques" one at a time: DCGAN on MNIST with each, and with none, in equal rounds.

Salimans et al. 2016, arXiv:1606.03498, section 3: feature matching (3.1), minibatch discrimination (3.2), historical
averaging (3.3), one-sided label smoothing (3.4), virtual batch norm in G (3.5); and minibatch standard deviation of
progressive growing (1710.10196, section 3). Networks, optimiser and loss are those of dcgan_mnist. Results, where they are kept:
experiments/results/tricks_mnist_*.json.

    python -m experiments.tricks_mnist --seeds 3
    python -m experiments.tricks_mnist --seeds 3 --trick feature_matching
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromImages, Measured, Positive, Run, require_used
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.models.layers import MinibatchDiscrimination, MinibatchStd
from gan_jax.optim import historical_averaging
from gan_jax.training import cli
from gan_jax.types import Spec, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, FromImages, Run):
    data: str = "mnist"
    """A TFDS name such as mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a folder of
    images; digits.
    """
    trick: Literal[
        "none",
        "feature_matching",
        "minibatch_discrimination",
        "minibatch_std",
        "historical_averaging",
        "label_smoothing",
        "virtual_batch_norm",
    ] = "none"
    """What is done beside dcgan_mnist."""
    steps: int = 3_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 100
    """Size of the latent z."""
    width: int = 32
    """Channels at the finest resolution inside the networks."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""
    real_label: float = 0.9
    """Target of D for real images, with --trick label_smoothing."""
    history: float = 1e-3
    """Weight of the squared distance from the mean of earlier parameters, with --trick historical_averaging."""
    reference: int = 64
    """Latents of the reference batch, with --trick virtual_batch_norm."""


def build(config: Config, spec: Spec) -> training.Recipe:
    loss, adam, reference = losses.non_saturating(), optax.adam(config.lr, b1=config.b1), 0
    coupling: nn.Module | None = None
    match config.trick:
        case "minibatch_discrimination":
            coupling = MinibatchDiscrimination(dtype=config.precision)
        case "minibatch_std":
            coupling = MinibatchStd()
        case "historical_averaging":
            adam = optax.chain(historical_averaging(config.history), adam)
        case "label_smoothing":
            loss = losses.non_saturating(real_label=config.real_label)
        case "virtual_batch_norm":
            reference = config.reference
    gen = dcgan.Generator(spec.shape, width=config.width, reference=reference, dtype=config.precision)
    disc = dcgan.Discriminator(width=config.width, coupling=coupling, dtype=config.precision)
    matching = config.trick == "feature_matching"
    return training.Recipe(
        game=adversarial(gen, disc, loss, z_dim=config.z_dim, accumulate=config.accumulate, match_features=matching),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
    )


def setup(config: Config) -> training.Setup:
    users = {
        "real_label": ("label_smoothing",),
        "history": ("historical_averaging",),
        "reference": ("virtual_batch_norm",),
    }
    require_used(config, "trick", users)
    if not 0.5 < config.real_label <= 1:
        raise UserError(f"--real-label {config.real_label}: the target for real images, in (0.5, 1]")
    if config.trick in ("minibatch_std", "minibatch_discrimination") and config.accumulate > 1:
        raise UserError(
            f"--accumulate {config.accumulate} splits rows that --trick {config.trick} compares: leave it out"
        )
    if config.trick == "minibatch_std" and config.batch_size % MinibatchStd.group:
        raise UserError(
            f"--batch-size {config.batch_size}: --trick minibatch_std takes {MinibatchStd.group} rows together"
        )
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    return training.Setup(source, evaluators.for_run(config, images, more=("two_sample",)))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)
