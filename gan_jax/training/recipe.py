"""The two descriptions of an experiment that a run needs: the Recipe that `build` returns, and the Setup of `setup`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from gan_jax.game import Game
from gan_jax.types import Batch, Evaluate, HeldOut, PyTree, Source, Spec
from gan_jax.workdir import pictures
from gan_jax.workdir.audible import Sounding

Show = Callable[[PyTree, Batch], Mapping[str, bytes]]  # (samples, what is known of their rows) -> {suffix: file}


class Recipe(NamedTuple):
    """The game, its two optimisers, how they are played, and how samples are shown to a person."""

    game: Game
    gen_tx: optax.GradientTransformation
    disc_tx: optax.GradientTransformation
    n_disc: int = 1
    ema_decay: float | Callable[[jax.Array], jax.Array] = 0.0
    simultaneous: bool = False  # G's step is taken against D as it was before the last D step
    packing: int = 1  # real examples that make one row of D's batch
    show: Show = pictures.show
    sound: Sounding | None = None  # how samples are heard, where they are
    text: Callable[[PyTree], Sequence[str]] | None = None  # the lines of samples, where they are read


class Setup(NamedTuple):
    """The data of a run, how its generators are measured, and which samples are shown."""

    source: Source
    evaluate: Evaluate | None = None
    shown: int | Batch = 64  # number of samples, or a batch on the host whose samples are shown; the same at every step
    held_out: HeldOut | None = None  # where generators are given images


Build = Callable[[Any, Spec], Recipe]  # of (config, spec); reads no data, so that a run can be loaded without its data
