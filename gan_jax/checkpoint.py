"""Checkpoints of a run's state by Orbax: written beside the training, whole or not at all, restored onto any number of
devices.
"""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from gan_jax.types import PyTree, UserError, WriteError

KEEP = 2  # the last two: the one before the last outlives a fault in the last


class Checkpoints:
    """The checkpoints under `directory`, a context manager; leaving it waits for the last to be on disk.

    UserError where one cannot be written (a full disk, a read-only directory): the ones before it stay.
    """

    def __init__(self, directory: Path | str, read_only: bool = False):
        # Orbax tells every save on the console, and every failure with its stack; we say failures ourselves.
        self._absl = logging.getLogger("absl").level
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        import orbax.checkpoint as ocp  # a second, not spent by `--help`

        self._ocp = ocp
        self._directory = Path(directory).resolve()  # Orbax refuses relative paths
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else KEEP, create=not read_only, read_only=read_only
        )
        try:
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except OSError as error:
            raise UserError(f"cannot keep checkpoints in {self._directory}: {error.strerror or error}") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._manager.close()
        except Exception as failure:
            if error is None:  # what went wrong first is what the user should read
                raise self._failed(failure) from failure
        finally:
            logging.getLogger("absl").setLevel(self._absl)

    @property
    def latest(self) -> int | None:
        """The step of the last complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: PyTree) -> None:
        """Copies `state` and writes it in the background; a step that is there already is left as it is. Errors of the
        save before this one come up here.
        """
        if self.latest == step:
            return
        try:
            self._manager.save(step, args=self._ocp.args.StandardSave(state))
        except Exception as failure:
            raise self._failed(failure) from failure

    def wait(self) -> None:
        """Until all is on disk."""
        try:
            self._manager.wait_until_finished()
        except Exception as failure:
            raise self._failed(failure) from failure

    def restore(self, step: int, like: PyTree) -> Any:
        """The state of `step`, shaped and laid out as `like` (arrays or `jax.ShapeDtypeStruct`s with shardings)."""
        try:
            return self._manager.restore(step, args=self._ocp.args.StandardRestore(like))
        except Exception as failure:
            raise UserError(
                f"checkpoint {step} in {self._directory} cannot be read: {_first_line(failure)}; remove {self._directory / str(step)} to use the one before it"
            ) from failure

    def _failed(self, failure: Exception) -> WriteError:
        try:
            last = self.latest
        except Exception:
            last = None
        kept = f"the checkpoint of step {last} is whole" if last is not None else "no checkpoint was written yet"
        return WriteError(
            f"could not save to {self._directory}: {_first_line(failure)}; {kept}. Mend that and give the same command again to go on"
        )


def _first_line(failure: BaseException) -> str:
    """The system's own words where there are any: Orbax wraps them in several layers."""
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


def template(state: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
    """Shapes and dtypes of `state`, every leaf laid out by `sharding`, for `restore`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)
