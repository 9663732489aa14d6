"""What an experiment builds, and a run plays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from gan_jax.game import Game
from gan_jax.types import Spec


class Recipe(NamedTuple):
    """The game, its two optimisers, and how they are played."""

    game: Game
    gen_tx: optax.GradientTransformation
    disc_tx: optax.GradientTransformation
    z_dim: int
    n_disc: int = 1
    ema_decay: float | Callable[[jax.Array], jax.Array] = 0.0
    classes: int = 0
    simultaneous: bool = False  # G moves against the D that stood before its last step
    packing: int = 1  # real examples that D takes for one row of its batch


Build = Callable[[Any, Spec], Recipe]
