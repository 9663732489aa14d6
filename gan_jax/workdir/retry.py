"""What a run writes while it trains: kept and tried again where the disk is full or read-only, in the order it was given."""

import collections
from collections.abc import Callable
from pathlib import Path

from gan_jax.types import WriteError


class Retry:
    """Writes that may have to wait. `say` tells the user when they begin to fail, and when they are made good."""

    def __init__(self, path: Path, say: Callable[[str], None], silent: bool = False):
        self._path, self._say, self._silent = path, say, silent
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._failing = False

    def write(self, action: Callable[[], None]) -> None:
        """Does it now, after what waits, or keeps it for later."""
        if not self._silent:
            self._waiting.append(action)
            self._flush()

    def flush(self) -> bool:
        """Tries again what waits; whether nothing waits any longer."""
        return self._flush() is None

    def close(self) -> None:
        """WriteError if something still cannot be written."""
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
