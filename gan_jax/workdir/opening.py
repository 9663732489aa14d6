"""Opening the directory of a run: made where it is new, refused where it is another's, locked while it is in use."""

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_jax.config import MAY_DIFFER
from gan_jax.system import processes
from gan_jax.types import UserError
from gan_jax.workdir import manifest
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.lock import Lock
from gan_jax.workdir.log import read_rows


@contextlib.contextmanager
def opened(workdir: Path, config: Any, identity: Mapping[str, Any]) -> Iterator[tuple[Checkpoints, int]]:
    """Gives the run's checkpoints, and the step of its last sound one, 0 where there is none; leaving it waits for the last
    checkpoint to be on disk and lets go of the lock. The first process does it for all.

    UserError for a directory of another run or in use, a damaged log, or a run whose checkpoints are gone.
    """
    check = functools.partial(manifest.check_workdir, workdir, config, identity, MAY_DIFFER)
    with contextlib.ExitStack() as stack:

        def prepare() -> None:
            check()  # before anything is made
            manifest.make_workdir(workdir)
            stack.enter_context(Lock(workdir))
            check()  # another start may have come before the lock
            read_rows(workdir / "metrics.jsonl")  # UserError for what is no log

        processes.on_main(prepare)
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
        processes.on_main(functools.partial(_write_manifest, workdir, config, identity))
        start = processes.on_main(lambda: checkpoints.sound(_say)) or 0
        if processes.broadcast(not start and (workdir / "result.json").exists()):
            raise UserError(
                f"{workdir} holds a finished run whose checkpoints are gone from {workdir}/checkpoints: bring them back, or name another --workdir"
            )
        yield checkpoints, start


def _write_manifest(workdir: Path, config: Any, identity: Mapping[str, Any]) -> None:
    try:
        manifest.open_workdir(workdir, config, identity, MAY_DIFFER)
    except UserError:
        with contextlib.suppress(OSError):
            (workdir / "checkpoints").rmdir()  # which was made just now, unless it holds something
        raise


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
