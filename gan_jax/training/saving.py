"""What a run keeps, whatever the disk does: rows, files and checkpoints, in an order from which it can always go on."""

import contextlib
import re
from collections.abc import Callable
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
    """Writes what a run keeps. `lost` is called where a checkpoint that was to be the best may not be on disk."""

    def __init__(self, workdir: Path, log: Log, checkpoints: Checkpoints, lost: Callable[[], None]):
        self.workdir, self.log, self.checkpoints = workdir, log, checkpoints
        silent = not processes.is_main()
        self.rows = Retry(workdir / "metrics.jsonl", log.say, silent)
        self.files = Retry(workdir / "samples", log.say, silent)  # of its own: what cannot be drawn stops no row
        self.unsaved = False  # whether a save has failed, and none is on disk since
        self._lost = lost
        self._saving: int | None = None  # the step that is being saved, or was last
        # The last step that was to be saved, and whether as the best.
        self._wanted: tuple[int, tuple[str, float] | None] = (0, None)

    def row(self, entry: dict[str, Any]) -> None:
        """Writes a row of the log, now or when the disk lets it."""
        self.rows.write(lambda: self.log.write(entry))

    def poll(self) -> None:
        """Tells of a save that has failed in the background, or that is on disk after one that failed."""
        try:
            self.checkpoints.poll()
        except WriteError as error:
            self._failed(error)
        self._tell_saved()

    def save(self, step: int, saved: Saved, best: tuple[str, float] | None = None) -> None:
        """Begins to save; a failure is told, and the next row of the log tries again. Nothing is saved before the rows
        until then are written: a resumed run would miss them.
        """
        self._wanted = step, best
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
            self._lost()

    def settle(self, step: int, saved: Saved) -> None:
        """Waits until `step` is saved, and all rows and files are; WriteError where that cannot be done."""
        processes.on_main(self.rows.close)
        best = self._wanted[1] if self._wanted[0] == step else None
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
        self._tell_saved()
        processes.on_main(self.files.close)

    def last_good(self) -> int:
        """The step of the last sound checkpoint, 0 where there is none: what a run goes back to."""
        with contextlib.suppress(WriteError):  # what could not be saved is not gone back to
            self.checkpoints.wait()
        return processes.on_main(lambda: self.checkpoints.sound(self.log.say)) or 0

    def note_rollback(self, step: int, to: int) -> None:
        """Writes down that the run has diverged at `step` and goes back, and forgets the rows since."""
        self.rows.close()
        try:
            manifest.note_rollback(self.workdir, step, to)
            self.log.rewind(to)
        except OSError as error:
            raise WriteError(f"cannot write to {self.workdir}: {error.strerror or error}") from error

    def forget_files_after(self, step: int) -> None:
        """Removes the samples of steps that will be played again."""
        for path in (self.workdir / "samples").glob("*.*") if processes.is_main() else ():
            if (number := step_of(path)) is not None and number > step:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _failed(self, error: WriteError) -> None:
        if jax.process_count() > 1:  # the others may have succeeded, and would wait for this one
            raise error
        if not self.unsaved:
            self.log.say(f"warning: {error}. Training goes on, and saving is tried again with each row of the log")
        self.unsaved, self._saving = True, None
        self._lost()

    def _tell_saved(self) -> None:
        if self.unsaved and self._saving is not None and self.checkpoints.latest == self._saving:
            self.log.say(f"saved again, at step {self._saving:,}")
            self.unsaved = False


SUFFIXES = ("png", "gif", "wav", "txt")  # of the files that a recipe's `show` may give


def step_of(path: Path) -> int | None:
    """The step of a file that a run has written to samples/; None of any other."""
    name = re.fullmatch(r"(\d{8,})(_.*)?", path.stem)
    return int(name[1]) if name and path.suffix[1:] in SUFFIXES else None


def sample_files(workdir: Path) -> list[Path]:
    """Those that a run has written, in the order of their steps."""
    found = [(step, path) for path in (workdir / "samples").glob("*.*") if (step := step_of(path)) is not None]
    return [path for _, path in sorted(found)]
