"""The answers of judges as lines of JSON: the first says what was asked, then one for each answer, on the disk before it
counts.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gan_jax.types import UserError, WriteError


class Answers:
    """The file of answers, a context manager that keeps other servers out of it. `rows` are the answers so far.

    Entering makes the file where there is none, and otherwise goes on with it. Raises UserError where it holds answers to
    other questions than `asked`, no answers at all, or is in use. A last line that was cut short is removed.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any]):
        self._path, self.asked, self._file, self._size = path, json.loads(json.dumps(asked)), -1, 0
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> "Answers":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise UserError(f"{self._path} is in use by another server: go on there, or name another --out") from None
        except OSError as error:
            raise UserError(f"cannot write to --out {self._path}: {error.strerror or error}") from error
        try:
            asked, self.rows, self._size = read(self._path)
            if asked is None:
                self._append(self.asked)
            elif differ := [
                f"{key}: {asked.get(key, 'absent')!r}, now {self.asked.get(key, 'absent')!r}"
                for key in sorted({*asked, *self.asked})
                if asked.get(key) != self.asked.get(key)
            ]:
                raise UserError(
                    f"{self._path} has answers to other questions: {'; '.join(differ)}. Ask as before, or name another --out"
                )
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        self._file = -1  # a thread that still answers a browser finds no file, and says so

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends an answer and waits until it is on the disk. Raises WriteError where that fails; the file is then as it
        was before.
        """
        self._append(row)
        self.rows.append(dict(row))

    def _append(self, row: Mapping[str, Any]) -> None:
        line = (json.dumps(row) + "\n").encode()
        try:
            os.ftruncate(self._file, self._size)  # what may be left of an answer that failed
            if os.pwrite(self._file, line, self._size) < len(line):
                raise OSError("no space left on device")
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise WriteError(f"cannot write to {self._path}: {error.strerror or error}") from error
        self._size += len(line)


def read(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """Returns what was asked (None for an empty file), the answers, and the bytes that these take.

    A last line without its end is left out. Raises UserError for a file of other things, or that cannot be read.
    """
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        rows = [json.loads(line) for line in whole.splitlines()]
        if rows and "protocol" not in rows[0]:
            raise TypeError("its first line does not say what was asked")
        if any(not {"judge", "item", "number"} <= row.keys() for row in rows[1:]):
            raise TypeError("a line is no answer")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a file of answers ({error}): name another --out") from error
    if not rows and content:
        raise UserError(f"{path} is not a file of answers: name another --out")
    return (rows[0] if rows else None), rows[1:], len(whole)
