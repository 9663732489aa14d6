"""When a run is asked to stop: one process acts on its own signal, several all after the same step."""

import collections
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan_jax.system import mesh
from gan_jax.system.signals import Stop


class Stopper:
    """The signals of all processes of a run. Of several processes each round carries their votes, and what was voted is
    read some rounds later, in all of them at the same step. It also keeps the queue of rounds that the device has still to
    play: `inflight` calls at most, enough to keep it busy, few enough that a stop is prompt.
    """

    def __init__(self, stop: Stop, grid: Mesh, inflight: int):
        self._stop, self._mesh, self._inflight = stop, grid, inflight
        self._queue: collections.deque[tuple[Any, Any]] = collections.deque()
        self._voted = 0

    @property
    def asked(self) -> int:
        """The signal's number, 0 while there is none."""
        return self._stop.asked if jax.process_count() == 1 else self._voted

    def vote(self) -> jax.Array | None:
        """This process's, [devices] split over the mesh; None where no other needs to know."""
        if jax.process_count() == 1:
            return None
        everywhere = NamedSharding(self._mesh, P((mesh.MEMBER, mesh.DATA)))
        mine = np.full(1, self._stop.asked, np.int32)
        return jax.make_array_from_callback((self._mesh.size,), everywhere, lambda index: mine)

    def played(self, metrics: Any, votes: jax.Array | None) -> None:
        """Takes note of a call that was queued: its metrics, and the greatest of its votes."""
        self._queue.append((metrics, votes))
        if len(self._queue) > self._inflight:
            _, votes = jax.block_until_ready(self._queue.popleft())  # an old step, never the one just queued
            self._voted = self._voted or (0 if votes is None else int(votes))

    def forget(self) -> None:
        """The rounds that were queued are of no account any more."""
        self._queue.clear()

    def leave(self) -> None:
        """As the signal would have: KeyboardInterrupt, or SystemExit with the shell's status for SIGTERM."""
        self._stop.leave(self.asked)
