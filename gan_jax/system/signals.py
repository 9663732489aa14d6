"""Stopping on signals: a signal is recorded, and the run stops between two steps."""

import signal
import threading
from types import FrameType
from typing import Any

# Ctrl-C; the end of a job; that of the terminal; and what Slurm sends some time before the end.
STOPPING = (
    signal.SIGINT,
    signal.SIGTERM,
    *(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)),
)


class Stop:
    """Context manager that records SIGINT, SIGTERM, SIGHUP and SIGUSR1 in `asked`, the number of the signal or 0.

    SIGHUP stays ignored where it is, as under nohup. The same signal again, or Ctrl-C, raises KeyboardInterrupt at once;
    others that follow, as where a job ends, do not. Does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            ignored = [number for number in STOPPING[2:] if signal.getsignal(number) == signal.SIG_IGN]
            self._old = {number: signal.signal(number, self._note) for number in STOPPING if number not in ignored}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number in (self.asked, signal.SIGINT):
            raise KeyboardInterrupt
        self.asked = self.asked or number

    def leave(self, number: int) -> None:
        """Raises what the signal would have: KeyboardInterrupt, or SystemExit with the shell's status."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
