"""What the averaged generators make of latents that are the same every time."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import game
from gan_jax.system import mesh
from gan_jax.training.program import Program

CHUNK = 500  # samples drawn at a time


class Samples:
    """Samples of the averaged generators, from latents that are always the same."""

    def __init__(self, rounds: Program):
        self._members, population = rounds.members, rounds.population
        recipe = rounds.recipe()
        z_dim, classes = recipe.z_dim, recipe.classes

        @functools.partial(jax.jit, static_argnames=("folded", "chunk", "rows"), out_shardings=rounds.whole)
        def draw(
            ema: game.Average, member: Any, seed: Any, values: Any, part: Any, folded: int, chunk: int, rows: int
        ) -> jax.Array:
            if population:
                ema = jax.tree.map(lambda x: x[member], ema)
            ema = mesh.gather(ema)
            key = jax.random.key(seed)
            z = jax.random.normal(jax.random.fold_in(key, folded) if folded else key, (rows, z_dim))
            z = jax.lax.dynamic_slice_in_dim(z, part * chunk, chunk)
            label = (part * chunk + jnp.arange(chunk)) % classes if classes else None
            return rounds.recipe(values).game.sample(ema.params, ema.stats, z, label)

        self._draw = draw

    def draw(self, state: game.State, member: int, folded: int, count: int) -> np.ndarray:
        """`count` samples of a member. The latents' key is that of seed 0, or, with `folded`, made from the member's."""
        own = self._members[member]
        seed = np.uint32(own.seed if folded else 0)
        values = {name: np.float32(value) for name, value in own.values.items()}
        chunk = min(count, CHUNK)
        rows = -(-count // chunk) * chunk  # one compiled size
        # One after another: of several calls in flight, each of which gathers from all devices, the CPU's threads may
        # take one device's share of each, and wait for ever.
        parts = [
            np.asarray(self._draw(state.ema, np.int32(member), seed, values, np.int32(i), folded, chunk, rows))
            for i in range(rows // chunk)
        ]
        return np.concatenate(parts)[:count]
