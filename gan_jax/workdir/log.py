"""The log of a run: rows of JSON (the record), the same rows as TensorBoard events, and progress in the terminal, as
lines or a bar.
"""

import contextlib
import datetime
import errno
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import tqdm

from gan_jax.system import processes
from gan_jax.system.terminal import drop, say
from gan_jax.types import UserError
from gan_jax.workdir.members import mean_std

# Of a run, or of each member of a population; None for a member that has diverged.
Value = float | Sequence[float | None]


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """Reads the rows of a metrics.jsonl, in order; none where there is no file.

    A last line that was cut short is left out. Raises UserError for any other line that is no row, and where the file
    cannot be read.
    """
    path, rows = Path(path), []
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    lines, cut = content.splitlines(), not content.endswith(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not (isinstance(row["step"], int) and isinstance(row["seconds"], (int, float))):
                raise TypeError("step and seconds must be numbers")
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines) and cut:
                break
            raise UserError(
                f"{path}, line {number} is no row of a log: {line[:60]!r}; mend it, or name another --workdir"
            ) from error
        rows.append(row)
    return rows


class Log:
    """The log of one run, from the step where it starts or continues; a context manager.

    Rows after `start`, left by a run that died after its last checkpoint, are removed first: they will be written
    again. `seconds` counts training time over all starts of the run. `members` are the labels of a population's
    members. `silent` is for all processes but the first: nothing is written or printed.
    """

    def __init__(
        self,
        workdir: Path,
        start: int,
        steps: int,
        images_per_step: int,
        members: Sequence[str] = (),
        silent: bool = False,
    ):
        self._path, self._tensorboard = workdir / "metrics.jsonl", workdir / "tensorboard"
        self._start, self._steps, self._images = start, steps, images_per_step
        self._members, self._silent = list(members), silent
        self._before, self._file, self._size = 0.0, -1, 0
        self._events: Any = None
        self._bar: tqdm.tqdm | None = None
        processes.on_main(lambda: self._open(start))
        self._begin = self._mark = time.perf_counter()
        self._mark_step = start

    def __enter__(self) -> "Log":
        return self

    def _open(self, start: int) -> None:
        self._before = self.rewind(start)
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=self._steps, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rewind(self, step: int) -> float:
        """Removes the rows after `step` and returns the seconds of the last row that remains, 0 without one."""
        if self._silent:
            return 0.0
        rows = [row for row in read_rows(self._path) if row["step"] <= step]
        part = self._path.with_suffix(".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        part.replace(self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._file).st_size
        self._mark_step = self._start = step
        self._close_events()
        self._open_events(step + 1)
        return rows[-1]["seconds"] if rows else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including earlier starts."""
        return self._before + time.perf_counter() - self._begin

    def say(self, text: str) -> None:
        """Prints one line to the terminal, above the progress bar where there is one."""
        if self._silent:
            return
        if self._bar is not None:
            with self._best_effort():
                self._bar.write(text, file=sys.stderr)
        else:
            say(text, error=True)

    @contextlib.contextmanager
    def _best_effort(self) -> Iterator[None]:
        """Gives the bar up where the terminal is gone."""
        try:
            yield
        except (OSError, ValueError):
            self._bar = None
            drop(sys.stderr)

    def tick(self, step: int) -> None:
        """Moves the progress bar to `step`. To be called after every step: the first call starts the clock for the
        rate, so that compilation is not counted.
        """
        if self._mark_step == self._start:
            self._mark, self._mark_step = time.perf_counter(), step
        if self._bar is not None:
            with self._best_effort():
                self._bar.update(step - self._bar.n)

    def entry(self, step: int, values: Mapping[str, Value]) -> dict[str, Any]:
        """Returns the row to be written: step, images, seconds, then `values`, with None for those not finite."""
        finite = {name: _finite(value) for name, value in values.items()}  # JSON has no infinity
        return {"step": step, "images": step * self._images, "seconds": round(self.seconds, 3), **finite}

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row, which then survives a crash of the process. On OSError the row is not part of the log: the
        next write removes what may be left of it.
        """
        if self._silent:
            return
        line = (json.dumps(row) + "\n").encode()
        os.ftruncate(self._file, self._size)  # removes the rest of a write that failed
        if os.write(self._file, line) < len(line):
            raise OSError(errno.ENOSPC, "No space left on device", str(self._path))
        self._size += len(line)
        self._add_events(row)

    def sync(self) -> None:
        """Flushes the rows to the disk, where they survive a loss of power."""
        if not self._silent:
            os.fsync(self._file)

    def progress(self, step: int, values: Mapping[str, Value]) -> None:
        """Prints progress: the step, the speed since the last call, the time that remains, and `values`."""
        if self._silent:
            return
        now = time.perf_counter()
        rate = (step - self._mark_step) / max(now - self._mark, 1e-9)
        self._mark, self._mark_step = now, step
        images = rate * self._images * max(1, len(self._members))
        shown = "  ".join(f"{name} {_shown(value)}" for name, value in values.items())
        if self._bar is not None:
            with self._best_effort():
                self._bar.set_postfix_str(f"{images:,.0f} images/s  {shown}", refresh=False)
            return
        left = datetime.timedelta(seconds=round((self._steps - step) / rate)) if rate > 0 else "?"
        speed = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
        self.say(f"step {step:,}/{self._steps:,}  {speed} steps/s  {images:,.0f} images/s  {left} left  {shown}")

    def close(self) -> None:
        if self._bar is not None:
            with self._best_effort():
                self._bar.close()
        self._close_events()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open_events(self, purge_step: int) -> None:
        from tensorboardX import SummaryWriter  # protobuf takes a while to import

        with contextlib.suppress(OSError):
            self._events = SummaryWriter(str(self._tensorboard), purge_step=purge_step)

    def _close_events(self) -> None:
        if self._events is not None and self._writes_events():
            with contextlib.suppress(OSError):
                self._events.close()
        self._events = None

    def _writes_events(self) -> bool:
        """Whether TensorBoard's writer still runs. A full disk ends its thread; its queue would then fill and block."""
        try:
            return self._events.file_writer.event_writer._worker.is_alive()
        except AttributeError:
            return self._events is not None

    def _add_events(self, row: Mapping[str, Any]) -> None:
        rows: Sequence[Mapping[str, Any]] = [row]
        if not self._writes_events():  # the events are a copy of the rows: write all of them again
            shutil.rmtree(self._tensorboard, ignore_errors=True)
            self._events = None
            self._open_events(0)
            rows = read_rows(self._path)
        for entry in rows if self._events is not None else ():
            for name, value in entry.items():
                if name in ("step", "images", "seconds") or value is None:
                    continue
                mean, std = mean_std(value)
                if mean is not None:
                    self._events.add_scalar(name, mean, entry["step"])
                if isinstance(value, list):
                    self._events.add_scalar(f"{name}/std", std, entry["step"])
                    for label, member_value in zip(self._members, value, strict=False):
                        if member_value is not None:
                            self._events.add_scalar(f"{name}/{label}", member_value, entry["step"])


def _finite(value: Value) -> Any:
    if isinstance(value, Sequence):
        return [_finite(one) if one is not None else None for one in value]
    return value if math.isfinite(value) else None


def _shown(value: Value) -> str:
    mean, std = mean_std(value)
    if mean is None:
        return "-"
    return f"{mean:.3f} ± {std:.3f}" if isinstance(value, Sequence) else f"{mean:.3f}"
