"""What the averaged generators make of latents that are the same every time."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from gan_jax import game, mesh

CHUNK = 500  # samples drawn at a time


class Samples:
    """Samples of the averaged generators, from latents that are always the same."""

    def __init__(
        self, of: game.Game, z_dim: int, classes: int, seeds: Sequence[int], population: bool, whole: NamedSharding
    ):
        self._seeds = seeds

        @functools.partial(jax.jit, static_argnames=("folded", "chunk", "rows"), out_shardings=whole)
        def draw(
            ema: game.Average, member: jax.Array, seed: jax.Array, part: jax.Array, folded: int, chunk: int, rows: int
        ) -> jax.Array:
            if population:
                ema = jax.tree.map(lambda x: x[member], ema)
            ema = mesh.gather(ema)
            key = jax.random.key(seed)
            z = jax.random.normal(jax.random.fold_in(key, folded) if folded else key, (rows, z_dim))
            z = jax.lax.dynamic_slice_in_dim(z, part * chunk, chunk)
            label = (part * chunk + jnp.arange(chunk)) % classes if classes else None
            return of.sample(ema.params, ema.stats, z, label)

        self._draw = draw

    def draw(self, state: game.State, member: int, folded: int, count: int) -> np.ndarray:
        """`count` samples of a member. The latents' key is that of seed 0, or, with `folded`, made from the member's."""
        seed = np.uint32(self._seeds[member] if folded else 0)
        chunk = min(count, CHUNK)
        rows = -(-count // chunk) * chunk  # one compiled size
        parts = [
            self._draw(state.ema, np.int32(member), seed, np.int32(i), folded=folded, chunk=chunk, rows=rows)
            for i in range(rows // chunk)
        ]
        return np.concatenate([np.asarray(part) for part in parts])[:count]
