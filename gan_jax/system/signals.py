"""Stopping on signals: a signal is recorded, and the run stops between two steps."""

import signal
import threading
from types import FrameType
from typing import Any


class Stop:
    """Context manager that records SIGINT and SIGTERM in `asked`, the number of the signal or 0.

    A second signal raises KeyboardInterrupt at once. Does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number

    def leave(self, number: int) -> None:
        """Raises what the signal would have: KeyboardInterrupt, or for SIGTERM SystemExit with the shell's status."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
