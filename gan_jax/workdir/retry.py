"""A queue of writes, in order, that are tried again where the disk is full or read-only, while training goes on."""

import collections
from collections.abc import Callable
from pathlib import Path

from gan_jax.types import WriteError


class Retry:
    """Queue of writes. A message is passed to `say` when they begin to fail, and when all have succeeded."""

    def __init__(self, path: Path, say: Callable[[str], None], silent: bool = False):
        self._path, self._say, self._silent = path, say, silent
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._failing = False

    def write(self, action: Callable[[], None]) -> None:
        """Runs the action now, after those that wait, or keeps it for later if that fails with OSError."""
        if not self._silent:
            self._waiting.append(action)
            self._flush()

    def flush(self) -> bool:
        """Tries the waiting actions again; returns whether none is left."""
        return self._flush() is None

    def close(self) -> None:
        """Tries the waiting actions a last time; raises WriteError if one still fails."""
        if error := self._flush():
            count = len(self._waiting)
            raise WriteError(
                f"cannot write to {self._path}: {error.strerror or error}; {count} things are not written. Mend that and give the same command again"
            ) from error

    def _flush(self) -> OSError | None:
        while self._waiting:
            try:
                self._waiting[0]()
            except OSError as error:
                if not self._failing:
                    self._say(
                        f"warning: cannot write to {self._path}: {error.strerror or error}; training goes on, and the write is tried again"
                    )
                self._failing = True
                return error
            self._waiting.popleft()
        if self._failing:
            self._say(f"{self._path} can be written to again; nothing is missing there")
            self._failing = False
        return None
