"""What a run writes while it trains: kept and tried again where the disk is full or read-only, in the order it was given."""

import collections
from collections.abc import Callable
from pathlib import Path

from gan_jax.types import WriteError


class Outbox:
    """Writes that may have to wait. `say` tells the user when they begin to fail, and when they are made good."""

    def __init__(self, workdir: Path, say: Callable[[str], None], silent: bool = False):
        self._workdir, self._say, self._silent = workdir, say, silent
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._failing = False

    def write(self, action: Callable[[], None], keep: bool = True) -> None:
        """Does it now, after what waits, or keeps it for later; without `keep` it is dropped where it cannot be done now."""
        if self._silent:
            return
        self._waiting.append(action)
        self._flush()
        if not keep and self._waiting and self._waiting[-1] is action:
            self._waiting.pop()

    def close(self) -> None:
        """WriteError if something still cannot be written."""
        if error := self._flush():
            count = len(self._waiting)
            raise WriteError(
                f"cannot write to {self._workdir}: {error.strerror or error}; {count} rows or pictures are missing. Mend that and give the same command again"
            ) from error

    def _flush(self) -> OSError | None:
        while self._waiting:
            try:
                self._waiting[0]()
            except OSError as error:
                if not self._failing:
                    self._say(
                        f"warning: cannot write to {self._workdir}: {error.strerror or error}; training goes on, and the write is tried again"
                    )
                self._failing = True
                return error
            self._waiting.popleft()
        if self._failing:
            self._say(f"{self._workdir} can be written to again; nothing is missing")
            self._failing = False
        return None
