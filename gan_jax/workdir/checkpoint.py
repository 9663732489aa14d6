"""Checkpoints of a run's state by Orbax: written in the background, atomically, with a checksum of every file, and
restored onto any number of devices and processes.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from gan_jax.system import processes
from gan_jax.types import PyTree, UserError, WriteError

KEEP = 3  # the last three, since the last may be damaged
SUMS = "SHA256SUMS"  # in each checkpoint, in the format of sha256sum
LATE = frozenset(
    {"_CHECKPOINT_METADATA", "commit_success.txt"}
)  # written by Orbax after all others; they hold no state
BEST = "best.json"


class Checkpoints:
    """The checkpoints under `directory`, a context manager; leaving it waits until the last one is on disk.

    A save is written in the background. Its checksums are written last, before its directory gets its final name, so a
    checkpoint with that name was complete; `sound` detects later damage. Raises WriteError where a checkpoint cannot be
    written (a full disk, a read-only directory): earlier ones stay, and the next save starts anew.
    """

    def __init__(self, directory: Path | str, read_only: bool = False):
        # Orbax logs every save, and every failure with its stack trace; failures are reported here instead.
        self._absl = logging.getLogger("absl").level
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        import orbax.checkpoint as ocp  # takes a second to import, which `--help` should not spend

        self._ocp = ocp
        self._directory = Path(directory).resolve()  # Orbax refuses relative paths
        self._writing: int | None = None
        self._best: dict[str, Any] | None = None  # written to BEST when the checkpoint is on disk
        self._orbax: Any = None
        if not read_only:
            processes.on_main(self._prepare)

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for stale in self._directory.glob("*.*"):  # left by a process that was killed while it wrote or removed one
                if stale.is_dir() and stale.name.split(".")[1].startswith(("orbax-checkpoint-tmp", "removing")):
                    shutil.rmtree(stale)
        except OSError as error:
            raise UserError(f"cannot keep checkpoints in {self._directory}: {error.strerror or error}") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not processes.peer_lost(error):  # a process that is gone would be waited for
                self.wait()
        except WriteError:
            if error is None:  # the first error is the one to report
                raise
        finally:
            logging.getLogger("absl").setLevel(self._absl)

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, ascending."""
        try:
            names = [entry.name for entry in self._directory.iterdir()] if self._directory.is_dir() else []
        except OSError as error:
            raise UserError(f"cannot read {self._directory}: {error.strerror or error}") from error
        return sorted(int(name) for name in names if name.isascii() and name.isdigit() and name == str(int(name)))

    @property
    def latest(self) -> int | None:
        """The step of the last complete checkpoint; None if there is none."""
        return max(self.steps(), default=None)

    @property
    def best(self) -> int | None:
        """The step of the checkpoint marked as best; None if none is marked, or it is missing."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            step = json.loads((self._directory / BEST).read_text(encoding="utf-8"))["step"]
            return step if step in self.steps() else None
        return None

    def sound(self, say: Callable[[str], None], set_aside: bool = True) -> int | None:
        """Returns the step of the last intact checkpoint, by its checksums; None if there are no checkpoints.

        Later ones that are damaged are reported through `say`, with what is wrong, and renamed to N.damaged, unless
        `set_aside` is false. Raises UserError if all are damaged; none is then renamed.
        """
        faults = {}
        for step in reversed(self.steps()):
            if (fault := self.fault(step)) is None:
                break
            faults[step] = f"the checkpoint of step {step} is damaged: {fault}"
        else:
            if not faults:
                return None
            raise UserError(
                f"no checkpoint in {self._directory} can be used: {'; '.join(faults.values())}. Name another --workdir to begin anew"
            )
        for damaged, text in faults.items():
            say(f"warning: {text}; the one of step {step} is used")
            if set_aside:
                self._set_aside(damaged)
        return step

    def fault(self, step: int) -> str | None:
        """Returns what is wrong with the files of a checkpoint; None if it is intact."""
        return _fault(self._directory / str(step))

    def _set_aside(self, step: int) -> None:
        aside = self._directory / f"{step}.damaged"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            (self._directory / str(step)).rename(aside)
        except OSError as error:
            raise UserError(
                f"cannot move the damaged {self._directory / str(step)} out of the way: {error.strerror or error}"
            ) from error

    def save(self, step: int, state: PyTree, best: tuple[str, float] | None = None) -> None:
        """Copies `state` and writes it in the background; an existing checkpoint of the step is left as it is.

        With `best`, a metric and its value, the checkpoint is marked as the best, and kept until another one is marked.
        Errors of the save before are raised here. All processes must call it; each writes its part.
        """
        self.wait()
        self._best = {"step": step, "metric": best[0], "value": best[1]} if best else None
        if step in self.steps():
            self._mark_best()
            return
        if self._orbax is None:
            options = self._ocp.options.AsyncOptions(post_finalization_callback=self._seal)
            self._orbax = self._ocp.AsyncCheckpointer(self._ocp.StandardCheckpointHandler(), async_options=options)
        self._writing = step
        self._guard(
            lambda: self._orbax.save(self._directory / str(step), args=self._ocp.args.StandardSave(state), force=True)
        )

    def _mark_best(self) -> None:
        if self._best is not None and jax.process_index() == 0 and self._best["step"] in self.steps():
            part, mark = self._directory / f"{BEST}.part", json.dumps(self._best) + "\n"
            self._guard(lambda: (part.write_text(mark, encoding="utf-8"), part.replace(self._directory / BEST)))
            self._best = None

    def poll(self) -> None:
        """Raises WriteError if the save in the background has failed."""
        if self._orbax is not None:
            self._guard(self._orbax.check_for_errors)

    def wait(self) -> None:
        """Waits until the last save is on disk, then removes all checkpoints but the best and the last KEEP."""
        if self._orbax is None:
            return
        self._guard(self._orbax.wait_until_finished)
        if jax.process_index() == 0:
            written = self._directory / str(self._writing)
            if written.is_dir():
                self._guard(lambda: _write_sums(written, frozenset()))
            self._mark_best()
            retained = {*self.steps()[-KEEP:], self.best}
            for step in self.steps():
                if step not in retained:
                    with contextlib.suppress(OSError):  # one that stays does no harm
                        removed = (self._directory / str(step)).rename(self._directory / f"{step}.removing")
                        shutil.rmtree(removed)
        self._writing = None

    def restore(self, step: int, like: PyTree) -> PyTree:
        """Reads the state of `step`, with shapes and shardings as in `like`, a tree of `jax.ShapeDtypeStruct`.

        Raises UserError where it cannot be read.
        """
        try:
            with self._ocp.AsyncCheckpointer(self._ocp.StandardCheckpointHandler()) as orbax:
                return orbax.restore(self._directory / str(step), args=self._ocp.args.StandardRestore(like))
        except Exception as failure:
            raise UserError(
                f"checkpoint {step} in {self._directory} cannot be read: {_first_line(failure)}; remove {self._directory / str(step)} to use the one before it"
            ) from failure

    def _seal(self) -> None:
        """Writes checksums; called by Orbax, in its thread, before it gives the complete directory its final name."""
        for path in self._directory.glob(f"{self._writing}.orbax-checkpoint-tmp*"):
            _write_sums(path, LATE)

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as failure:
            if processes.peer_lost(failure):
                raise
            # Orbax would raise the old failure again at the next save, so the next save makes a new checkpointer.
            self._orbax, step, self._writing = None, self._writing, None
            for partial in self._directory.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)
            last = self.latest
            remaining = (
                f"the checkpoint of step {last} is whole" if last is not None else "no checkpoint was written yet"
            )
            raise WriteError(
                f"could not save step {step} to {self._directory}: {_first_line(failure)}; {remaining}"
            ) from failure


def _write_sums(path: Path, leave_out: frozenset[str]) -> None:
    """Adds checksums of the files that have none yet."""
    sums = path / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
    known = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    names = (
        {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} - leave_out - {SUMS, f"{SUMS}.part"}
    )
    part = path / f"{SUMS}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write("".join(f"{known.get(name) or _sha256(path / name)}  {name}\n" for name in sorted(names)))
        file.flush()
        os.fsync(file.fileno())
    part.replace(sums)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(path: Path) -> str | None:
    try:
        lines = [line.partition("  ") for line in (path / SUMS).read_text(encoding="utf-8").splitlines()]
        if not lines or not all(len(digest) == 64 and name for digest, _, name in lines):
            return f"{SUMS} is not what was written"
        for digest, _, name in lines:
            if not (path / name).is_file():
                return f"{name} is missing"
            if _sha256(path / name) != digest:
                return f"{name} is not what was written"
        names = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    except FileNotFoundError:
        return f"{SUMS} is missing"
    except (OSError, ValueError) as error:
        return f"{SUMS} cannot be read: {error}"
    unlisted = names - {name for _, _, name in lines} - LATE - {SUMS, f"{SUMS}.part"}
    return f"{min(unlisted)} is not in {SUMS}" if unlisted else None


def _first_line(failure: BaseException) -> str:
    """The operating system's message where there is one, inside the exceptions that Orbax wraps around it."""
    seen: BaseException | None = failure
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    text = str(failure)
    for known in (
        "No space left on device",
        "Read-only file system",
        "Permission denied",
        "File too large",
        "Disk quota exceeded",
    ):
        if known in text:
            return known
    return (text.splitlines() or [type(failure).__name__])[0][:300]


def template(state: PyTree, layout: PyTree) -> PyTree:
    """Returns shapes and types of `state`, with the shardings of `layout`, for `restore`."""
    return jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state, layout)


def tensors(state: PyTree, population: bool) -> dict[str, str]:
    """Returns type and shape of every array of the state of a run, or of one member of a population, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {name_of(path): f"{x.dtype}{list(x.shape[1:] if population else x.shape)}" for path, x in leaves}


def name_of(path: Any) -> str:
    """Returns the path of a leaf, as `jax.tree_util` gives it, as text: "gen/params/Dense_0/kernel"."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
