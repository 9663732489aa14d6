"""Placing a run's data on its devices: a resident set once, otherwise the rows of each step."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan_jax.system import mesh
from gan_jax.types import Key, PyTree, Source

# Folded into a member's key, and then the attempt. Steps are folded into keys too, but never reach this number;
# `gan_jax.data` folds in the numbers next to it.
ATTEMPT = 2**32 - 4


def attempt_key(key: Key, attempt: int) -> Key:
    """Returns the key of a member after `attempt` rollbacks: the same seed, with another order of data and other noise
    in each attempt; the key itself for attempt 0.
    """
    return jax.random.fold_in(jax.random.fold_in(key, ATTEMPT), attempt) if attempt else key


class Feeder:
    """The data of a run on the devices of `grid`: a call returns what the source fetches for a step, as device arrays.

    `seeds` is the run's seed, or [m] for a population. A resident set is the same for all members and replicated; the
    rows of a step, [b ...], of a population [m b ...], are split over the devices.
    """

    def __init__(self, source: Source, grid: Mesh, seeds: np.ndarray):
        self._source, self._mesh, self._seeds = source, grid, seeds
        # The arrays that the source returned, and their copies on the devices.
        self._resident: tuple[Any, Any] = (None, None)
        self._ahead: dict[int, tuple[Any, Any]] = {}  # for each member what its reader yields next, and the reader

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
        """Places a resident set on the devices at its first use; the source returns the same arrays every time."""
        before, placed = self._resident
        leaves = jax.tree.leaves(rows)
        if before is None or [id(x) for x in before] != [id(x) for x in leaves]:
            placed = mesh.place(rows, mesh.replicated(self._mesh))
            self._resident = (leaves, placed)
        return placed

    def _rows(self, member: int, key: Key, step: int, attempt: int, which: slice) -> PyTree:
        """What `source.fetch` returns, prepared in advance where the source can `follow`; a step other than the next
        one starts a new reader.
        """
        if self._source.follow is None:
            return self._source.fetch(key, step, which)
        position = (attempt, step, which.start, which.stop)
        next_position, reader = self._ahead.get(member, (None, None))
        if next_position != position:
            if reader is not None:
                reader.close()  # ends its threads
            reader = self._source.follow(key, step, which)
        self._ahead[member] = ((attempt, step + 1, which.start, which.stop), reader)
        return next(reader)


def rows_of_batch(fetch: Callable[[slice], PyTree], count: int, grid: Mesh) -> PyTree:
    """Returns the `count` rows of a step, split over `data`; each process fetches only the rows of its devices."""
    split = mesh.batch_sharding(grid)
    if jax.process_count() == 1:
        return jax.device_put(fetch(slice(None)), split)

    def span(index: Any) -> tuple[int, int]:
        return index[0].indices(count)[:2]

    spans = [span(index) for index in split.addressable_devices_indices_map((count,)).values()]
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    local_rows = fetch(slice(first, last))

    def global_array(x: np.ndarray) -> jax.Array:
        def shard(index: Any) -> np.ndarray:
            low, high = span(index)
            return x[low - first : high - first]

        return jax.make_array_from_callback((count, *x.shape[1:]), split, shard)

    return jax.tree.map(global_array, local_rows)
