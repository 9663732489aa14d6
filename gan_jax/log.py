"""What a run says: rows of JSON (the record), TensorBoard events (the same rows), and a line or a bar for the person
who waits.
"""

import contextlib
import datetime
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import tqdm


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, in order. A last line that was cut short is left out."""
    path, rows = Path(path), []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


class Log:
    """The log of one run, from the step it starts or goes on at; a context manager.

    Rows after `start` (of a run that died after its last checkpoint) are removed first: they will be written again.
    `seconds` counts training over all the run's starts.
    """

    def __init__(self, workdir: Path, start: int, steps: int, images_per_step: int):
        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= start]
        part = self._path.with_suffix(".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in kept))
        part.replace(self._path)
        self._file: TextIO = self._path.open("a")
        self._start, self._steps, self._images = start, steps, images_per_step
        self._before = kept[-1]["seconds"] if kept else 0.0
        self._begin = self._mark = time.perf_counter()
        self._mark_step = start
        from tensorboardX import SummaryWriter  # protobuf takes a while to import

        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        terminal = sys.stderr.isatty()
        self._bar = (
            tqdm.tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1) if terminal else None
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier starts included."""
        return self._before + time.perf_counter() - self._begin

    def say(self, text: str) -> None:
        """One line to the terminal, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def tick(self, step: int) -> None:
        """The bar's position, every step; the rate is counted from the first on, after what was compiled."""
        if self._mark_step == self._start:
            self._mark, self._mark_step = time.perf_counter(), step
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one row: step, images, seconds, then `values`, null where one is not finite. Flushed, so that it
        outlives the process.
        """
        finite = {
            name: value if math.isfinite(value) else None for name, value in values.items()
        }  # JSON has no infinity
        row = {"step": step, "images": step * self._images, "seconds": round(self.seconds, 3), **finite}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in finite.items():
            if value is not None:
                self._events.add_scalar(name, value, step)

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """One plain line: how far, how fast since the last such line, how long still."""
        now = time.perf_counter()
        rate = (step - self._mark_step) / max(now - self._mark, 1e-9)
        self._mark, self._mark_step = now, step
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(f"{rate * self._images:,.0f} images/s  {shown}", refresh=False)
            return
        left = datetime.timedelta(seconds=round((self._steps - step) / rate)) if rate > 0 else "?"
        self.say(
            f"step {step:,}/{self._steps:,}  {rate:.1f} steps/s  {rate * self._images:,.0f} images/s  {left} left  {shown}"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        with contextlib.suppress(OSError):  # a full disk was said when a row was written, which is flushed at once
            self._events.close()
        with contextlib.suppress(OSError):
            self._file.close()
