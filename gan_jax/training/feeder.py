"""How a run's data come to its devices: a set that stays there once, else each step's rows."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan_jax.system import mesh
from gan_jax.types import Key, PyTree, Source

# Folded into a member's key. Steps are folded into what comes of it, and never come this far; `data` takes those around it.
ATTEMPT = 2**32 - 4


def attempt_key(key: Key, attempt: int) -> Key:
    """The key of a run that has gone back `attempt` times: the same seed, another order of data and other noise."""
    return jax.random.fold_in(jax.random.fold_in(key, ATTEMPT), attempt) if attempt else key


class Feeder:
    """What a source fetches for a step, as arrays on the devices of `grid`; `seeds` are the run's, of a population [m]."""

    def __init__(self, source: Source, grid: Mesh, seeds: np.ndarray):
        self._source, self._mesh, self._seeds = source, grid, seeds
        self._resident: tuple[Any, Any] = (None, None)  # as the source gives it, and as it lies on the devices
        self._ahead: dict[int, tuple[Any, Any]] = {}  # of each member what comes next, and where it comes from

    def __call__(self, step: int, attempt: int) -> PyTree:
        source = self._source
        if source.resident:
            return self._placed(source.fetch(source.key, step))
        keys = [attempt_key(jax.random.key(seed), attempt) for seed in np.atleast_1d(self._seeds)]
        if not np.ndim(self._seeds):
            return rows_of_batch(functools.partial(self._rows, 0, keys[0], step, attempt), source.rows, self._mesh)
        rows = [self._rows(i, key, step, attempt, slice(None)) for i, key in enumerate(keys)]
        members = NamedSharding(self._mesh, P(mesh.MEMBER, mesh.DATA))
        return mesh.place(jax.tree.map(lambda *x: np.stack(x), *rows), members)

    def _placed(self, rows: PyTree) -> PyTree:
        """A resident set is placed once, however often its arrays are handed over."""
        before, placed = self._resident
        leaves = jax.tree.leaves(rows)
        if before is None or [id(x) for x in before] != [id(x) for x in leaves]:
            placed = mesh.place(rows, mesh.replicated(self._mesh))
            self._resident = (leaves, placed)
        return placed

    def _rows(self, member: int, key: Key, step: int, attempt: int, which: slice) -> PyTree:
        """What `source.fetch` gives, read ahead where the source can: a step that is not the next begins anew."""
        if self._source.follow is None:
            return self._source.fetch(key, step, which)
        wanted = (attempt, step, which.start, which.stop)
        awaited, rows = self._ahead.get(member, (None, None))
        if awaited != wanted:
            if rows is not None:
                rows.close()  # its threads end
            rows = self._source.follow(key, step, which)
        self._ahead[member] = ((attempt, step + 1, which.start, which.stop), rows)
        return next(rows)


def rows_of_batch(fetch: Callable[[slice], PyTree], count: int, grid: Mesh) -> PyTree:
    """One step's `count` rows as a global array split over `data`; a process gathers only its own."""
    split = mesh.batch_sharding(grid)
    if jax.process_count() == 1:
        return jax.device_put(fetch(slice(None)), split)

    def span(index: Any) -> tuple[int, int]:
        return index[0].indices(count)[:2]

    spans = [span(index) for index in split.addressable_devices_indices_map((count,)).values()]
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    mine = fetch(slice(first, last))

    def global_array(x: np.ndarray) -> jax.Array:
        def own(index: Any) -> np.ndarray:
            low, high = span(index)
            return x[low - first : high - first]

        return jax.make_array_from_callback((count, *x.shape[1:]), split, own)

    return jax.tree.map(global_array, mine)
