"""Opening the directory of a run: created if new, refused if it belongs to another run, locked while in use."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_jax.config import MAY_DIFFER
from gan_jax.system import processes
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import manifest
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.lock import Lock
from gan_jax.workdir.log import read_rows


@contextlib.contextmanager
def opened(workdir: Path, config: Any, identity: Mapping[str, Any]) -> Iterator[tuple[Checkpoints, int]]:
    """Opens the run's directory; yields its checkpoints, and the step of the last intact one, 0 where there is none.

    Leaving the context waits until the last checkpoint is on disk, and releases the lock. The first process acts for
    all. Raises UserError for a directory that is in use or belongs to another run, a damaged log, or a finished run
    without its checkpoints.
    """
    may_differ = MAY_DIFFER | {name.replace("-", "_") for name in config.change}
    check = functools.partial(manifest.check_workdir, workdir, config, identity, may_differ)
    with contextlib.ExitStack() as stack:

        def prepare() -> None:
            check()  # before anything is written
            manifest.make_workdir(workdir)
            stack.enter_context(Lock(workdir))
            check()  # another process may have started before the lock was taken
            read_rows(workdir / "metrics.jsonl")  # raises UserError for a damaged log

        processes.on_main(prepare)
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
        processes.on_main(functools.partial(_write_manifest, workdir, config, identity, may_differ))
        start = processes.on_main(lambda: checkpoints.sound(_say)) or 0
        if processes.broadcast(not start and (workdir / "result.json").exists()):
            raise UserError(
                f"{workdir} holds a finished run whose checkpoints are gone from {workdir}/checkpoints: bring them back, or name another --workdir"
            )
        yield checkpoints, start


def _write_manifest(workdir: Path, config: Any, identity: Mapping[str, Any], may_differ: frozenset[str]) -> None:
    try:
        manifest.open_workdir(workdir, config, identity, may_differ)
    except UserError:
        with contextlib.suppress(OSError):
            (workdir / "checkpoints").rmdir()  # created just now; one with content is not removed
        raise


def _say(text: str) -> None:
    say(text, error=True)
