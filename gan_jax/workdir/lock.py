"""A lock that keeps two runs out of one directory; the system releases it when its process ends, however it ends."""

import contextlib
import fcntl
import os
import platform
from pathlib import Path
from types import TracebackType

from gan_jax.system.terminal import say
from gan_jax.types import UserError


class Lock:
    """Lock of the work directory, a context manager. Entering raises UserError where another process holds the lock,
    and names that process. Where the file system has no locks, entering prints a warning, and `held` stays False.
    """

    def __init__(self, workdir: Path):
        self._path = workdir / ".lock"
        self._file: int | None = None
        self.held = False

    def __enter__(self) -> "Lock":
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"cannot write to --workdir {self._path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 200).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            self._file = None
            raise UserError(
                f"{self._path.parent} is in use by {holder}: two runs in one directory would spoil each other. Wait for it, stop it, or name another --workdir"
            ) from None
        except OSError as error:  # a file system without locks
            warning = f"warning: {self._path} cannot be locked ({error.strerror}): see to it that no other process works there"
            say(warning, error=True)
            return self
        self.held = True
        with contextlib.suppress(OSError):  # a full disk: the lock is held, but does not name its process
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)  # which releases the lock
            self._file = None
