"""Stopping a run on a signal: a single process acts on its own; several processes all stop after the same step."""

import collections

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan_jax.system import mesh
from gan_jax.system.signals import Stop
from gan_jax.types import Metrics


class Stopper:
    """The signals that the processes of a run have received, and the queue of calls that the device has yet to run.

    With several processes each call carries a vote of every process, and the result is read some calls later, in all
    processes at the same step. At most `inflight` calls are queued: enough to keep the device busy, few enough that a
    stop is prompt.
    """

    def __init__(self, stop: Stop, grid: Mesh, inflight: int):
        self._stop, self._mesh, self._inflight = stop, grid, inflight
        self._queue: collections.deque[tuple[Metrics, jax.Array | None]] = collections.deque()
        self._voted = 0

    @property
    def asked(self) -> int:
        """The number of the signal that asks the run to stop, 0 if there is none."""
        return self._stop.asked if jax.process_count() == 1 else self._voted

    def vote(self) -> jax.Array | None:
        """Returns this process's signal as its vote, int32 [devices] split over the mesh; None for a single process."""
        if jax.process_count() == 1:
            return None
        by_device = NamedSharding(self._mesh, P((mesh.MEMBER, mesh.DATA)))
        votes = np.full(1, self._stop.asked, np.int32)
        return jax.make_array_from_callback((self._mesh.size,), by_device, lambda index: votes)

    def played(self, metrics: Metrics, votes: jax.Array | None) -> None:
        """Adds a call, by its metrics and the greatest of its votes; waits for the oldest if too many are queued."""
        self._queue.append((metrics, votes))
        if len(self._queue) > self._inflight:
            _, votes = jax.block_until_ready(self._queue.popleft())  # an earlier call, never the one just queued
            self._voted = self._voted or (0 if votes is None else int(votes))

    def forget(self) -> None:
        """Empties the queue, when the run goes back to a checkpoint."""
        self._queue.clear()

    def leave(self) -> None:
        """Raises what the signal would have: KeyboardInterrupt, or for SIGTERM SystemExit with the shell's status."""
        self._stop.leave(self.asked)
