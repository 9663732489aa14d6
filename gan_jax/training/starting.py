"""Beginning a run with the weights of another, of other data, classes or resolution where shapes allow."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import game, optim
from gan_jax.training.recipe import Build, Recipe
from gan_jax.types import PyTree, Spec, UserError
from gan_jax.workdir.checkpoint import name_of
from gan_jax.workdir.load import load

SHOWN = 6  # names of arrays in one line


class Weights(NamedTuple):
    """What a run begins with: arrays by their names, "gen/params/Dense_0/kernel", and where they are from."""

    arrays: Mapping[str, np.ndarray]
    note: Mapping[str, Any]  # for config.json: run, step, data digest, how many are taken, and those that are not

    def into(self, state: game.State) -> game.State:
        """Returns the state with these arrays in the place of its own; each member of a population begins with them. The
        optimisers stay fresh.
        """

        def own(path: Any, x: jax.Array) -> jax.Array:
            given = self.arrays.get(name_of(path))
            if given is None:
                return x
            return jax.device_put(jnp.broadcast_to(given, x.shape).astype(x.dtype), x.sharding)

        return jax.tree_util.tree_map_with_path(own, state)


def weights_of(run: str, like: game.State, population: bool) -> Weights:
    """Returns the parameters, statistics and averages of the last checkpoint of `run` (of its first member) whose names
    and shapes are those of the state `like`.

    Raises UserError where there is no such run, or nothing of it fits.
    """
    sampler = load(run)
    there = _arrays(sampler.state.replace(ema=sampler.generator))
    here = {name: x.shape[1:] if population else x.shape for name, x in _arrays(like).items()}
    taken = {name: np.asarray(x) for name, x in there.items() if here.get(name) == x.shape}
    left = [
        f"{name} {list(there[name].shape) if name in there else 'absent'} for {list(shape)}"
        for name, shape in here.items()
        if name not in taken
    ]
    if not any("/params/" in name for name in taken):
        raise UserError(f"--start-from {run}: none of its arrays fits: {'; '.join(left[:SHOWN])}")
    note = {
        "run": str(run), "step": sampler.step, "data_digest": sampler.data_digest, "taken": len(taken), "not_taken": left,
    }  # fmt: skip
    return Weights(taken, note)


def freezing(build: Build) -> Build:
    """Returns `build` with D's optimiser leaving the first --freeze-disc layers as they are."""

    def frozen(config: Any, spec: Spec) -> Recipe:
        recipe = build(config, spec)
        return recipe._replace(
            disc_tx=optim.frozen(recipe.disc_tx, first_layers(recipe.game, spec, config.freeze_disc))
        )

    return frozen


def first_layers(this_game: game.Game, spec: Spec, count: int) -> list[str]:
    """Returns the names of D's modules up to the one with its `count`-th kernel, in the order in which they are applied.

    Raises UserError where D has not more layers than that.
    """
    order: list[tuple[str, bool]] = []

    def look(key: jax.Array) -> None:
        params = this_game.init(key, spec.blank(2))[1]["params"]  # in the order of their making: a pytree would sort it
        order.extend((name, any(x.ndim > 1 for x in jax.tree.leaves(part))) for name, part in params.items())

    jax.eval_shape(look, jax.random.key(0))
    kernels = [name for name, kernel in order if kernel]
    if count >= len(kernels):
        raise UserError(
            f"--freeze-disc {count}: D has {len(kernels)} layers, {', '.join(kernels)}, and one at least must learn"
        )
    names = [name for name, _ in order]
    return names[: names.index(kernels[count - 1]) + 1]


def told(note: Mapping[str, Any]) -> str:
    """Returns the line of the greeting that says what is taken, and what begins anew."""
    left = note["not_taken"]
    rest = (
        f"; anew: {'; '.join(left[:SHOWN])}{f' and {len(left) - SHOWN} more' if len(left) > SHOWN else ''}"
        if left
        else ""
    )
    return f"begins with {note['taken']} arrays of {note['run']} at step {note['step']:,}, its optimisers fresh{rest}"


def _arrays(state: game.State) -> dict[str, Any]:
    """Parameters, statistics and averages, by name."""
    parts: PyTree = {
        "gen": {"params": state.gen.params, "stats": state.gen.stats},
        "disc": {"params": state.disc.params, "stats": state.disc.stats},
        "ema": {"params": state.ema.params, "stats": state.ema.stats},
    }
    return {name_of(path): x for path, x in jax.tree_util.tree_leaves_with_path(parts)}
