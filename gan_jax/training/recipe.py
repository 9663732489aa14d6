"""What an experiment says of itself, and a run plays: `build` makes a Recipe, `setup` a Setup."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from gan_jax.game import Game
from gan_jax.types import Batch, Evaluate, Source, Spec
from gan_jax.workdir import pictures

Show = Callable[[Any, Batch], Mapping[str, bytes]]  # (samples, what is known of them) -> suffix: bytes of a file


class Recipe(NamedTuple):
    """The game, its two optimisers, how they are played, and how a person is shown what comes of it."""

    game: Game
    gen_tx: optax.GradientTransformation
    disc_tx: optax.GradientTransformation
    n_disc: int = 1
    ema_decay: float | Callable[[jax.Array], jax.Array] = 0.0
    simultaneous: bool = False  # G moves against the D that stood before its last step
    packing: int = 1  # real examples that D takes for one row of its batch
    show: Show = pictures.show


class Setup(NamedTuple):
    """What a run reads and measures: its data, its measures, and of what samples are shown."""

    source: Source
    evaluate: Evaluate | None = None
    shown: int | Batch = 64  # so many samples, or those of this batch on the host; the same at every step


Build = Callable[[Any, Spec], Recipe]  # of (config, spec); it reads no data, so that a run can be loaded without them
