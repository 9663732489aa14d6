"""Writing the rows, files and checkpoints of a run, in an order from which it can always be continued, also where the
disk is full for a while.
"""

import contextlib
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax

from gan_jax import game
from gan_jax.system import processes
from gan_jax.types import WriteError
from gan_jax.workdir import manifest
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log
from gan_jax.workdir.retry import Retry

Saved = tuple[game.State, jax.Array]  # the state, and the first fault


class Saver:
    """Writer of what a run keeps. `best_lost` is called where a checkpoint meant as the best may not be on disk."""

    def __init__(self, workdir: Path, log: Log, checkpoints: Checkpoints, best_lost: Callable[[], None]):
        self.workdir, self.log, self.checkpoints = workdir, log, checkpoints
        silent = not processes.is_main()
        self.rows = Retry(workdir / "metrics.jsonl", log.say, silent)
        self.files = Retry(workdir / "samples", log.say, silent)  # its own queue: a failed picture holds up no row
        self.unsaved = False  # whether a save has failed, and none has succeeded since
        self._best_lost = best_lost
        self._saving: int | None = None  # the step that is being saved, or was saved last
        # The last step for which `save` was called, and its `best`.
        self._requested: tuple[int, tuple[str, float] | None] = (0, None)

    def row(self, entry: dict[str, Any]) -> None:
        """Writes a row of the log, now or when the disk allows it."""
        self.rows.write(lambda: self.log.write(entry))

    def poll(self) -> None:
        """Reports a save that has failed in the background, or one that has succeeded after a failure."""
        try:
            self.checkpoints.poll()
        except WriteError as error:
            self._failed(error)
        self._report_saved()

    def save(self, step: int, saved: Saved, best: tuple[str, float] | None = None) -> None:
        """Starts to save; `best`, a metric and its value, marks the checkpoint as the best. A failure is reported, and
        `unsaved` is then set, so that the caller tries again with the next row of the log; with several processes it
        raises WriteError.

        Nothing is saved before all rows up to this step are written, since a continued run would lack them.
        """
        self._requested = step, best
        try:
            if processes.on_main(self.rows.flush):
                processes.on_main(self.log.sync)
                self.checkpoints.save(step, saved, best)
                self._saving = step
                return
        except WriteError as error:
            self._failed(error)
        self.unsaved = True
        if best:
            self._best_lost()

    def settle(self, step: int, saved: Saved) -> None:
        """Waits until `step` is saved, and all rows and files are written; raises WriteError where that fails."""
        processes.on_main(self.rows.close)
        best = self._requested[1] if self._requested[0] == step else None
        if self._saving != step:
            self.save(step, saved, best)
        try:
            self.checkpoints.wait()
        except WriteError as error:
            self._failed(error)
        if self._saving != step:
            self.checkpoints.save(step, saved, best)
            self._saving = step
            self.checkpoints.wait()
        self._report_saved()
        processes.on_main(self.files.close)

    def last_good(self) -> int:
        """Returns the step of the last intact checkpoint, 0 where there is none, to which a run can go back. Raises
        UserError where all checkpoints are damaged.
        """
        with contextlib.suppress(WriteError):  # a checkpoint that could not be written is not among the intact ones
            self.checkpoints.wait()
        return processes.on_main(lambda: self.checkpoints.sound(self.log.say)) or 0

    def note_rollback(self, step: int, to: int) -> None:
        """Records that the run diverged at `step` and goes back to step `to`, and removes the rows after `to`; raises
        WriteError where that fails.
        """
        self.rows.close()
        try:
            manifest.note_rollback(self.workdir, step, to)
            self.log.rewind(to)
        except OSError as error:
            raise WriteError(f"cannot write to {self.workdir}: {error.strerror or error}") from error

    def forget_files_after(self, step: int, last: int, stems: Collection[str]) -> None:
        """Removes the files in samples/ of steps after `step`, up to the `last` of the run, which will be played again.

        `stems` are those of the members of a population; any other file is not the run's.
        """
        for number, path in sample_files(self.workdir, stems) if processes.is_main() else ():
            if step < number <= last:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _failed(self, error: WriteError) -> None:
        if jax.process_count() > 1:  # the other processes may have succeeded, and would wait for this one
            raise error
        if not self.unsaved:
            self.log.say(f"warning: {error}. Training goes on, and saving is tried again with each row of the log")
        self.unsaved, self._saving = True, None
        self._best_lost()

    def _report_saved(self) -> None:
        if self.unsaved and self._saving is not None and self.checkpoints.latest == self._saving:
            self.log.say(f"saved again, at step {self._saving:,}")
            self.unsaved = False


SUFFIXES = ("png", "gif", "wav", "txt")  # of the files that a recipe's `show` may return


def sample_files(workdir: Path, stems: Collection[str]) -> list[tuple[int, Path]]:
    """Returns the steps and the paths of the files that a run has written to samples/, in the order of the steps.

    They are called STEP.suffix, or of a population, whose members have `stems`, STEP_stem.suffix.
    """
    files = []
    for path in (workdir / "samples").glob("*.*"):
        name = re.fullmatch(r"(\d{8,})(?:_(.*))?", path.stem)
        if name and path.suffix[1:] in SUFFIXES and (name[2] in stems if stems else name[2] is None):
            files.append((int(name[1]), path))
    return sorted(files)
