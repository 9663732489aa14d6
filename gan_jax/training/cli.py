"""The command line of an experiment: a configuration's fields are its flags; a user's mistake is a short message and
exit status 2.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import tyro

from gan_jax.config import Run
from gan_jax.system import compile_cache, malloc, mesh, processes
from gan_jax.types import UserError, WriteError
from gan_jax.workdir.provenance import program

Config = TypeVar("Config")


def run(main: Callable[[Config], Any], config: type[Config], args: list[str] | None = None) -> None:
    """Parses `args` (default: the command line) into `config` and calls `main`, in a process that is the program's own: its
    memory, compile cache, number of devices and exit are settled here. Exits: 0 done; 2 a mistake, said in one message; 3
    another process of the run is gone; 130 interrupted.

    `--help` shows the program's docstring, then every flag with its default and meaning.
    """
    _quieten()
    malloc.keep()
    _run(main, config, args, ours=True)


def run_in_process(main: Callable[[Config], Any], config: type[Config], args: list[str]) -> None:
    """The same in a process that does other things beside, such as a notebook's or a test's; SystemExit for the exits."""
    _run(main, config, args, ours=False)


def _run(main: Callable[[Config], Any], config: type[Config], args: list[str] | None, ours: bool) -> None:
    description = sys.modules[main.__module__].__doc__ or ""
    try:
        given = tyro.cli(config, args=args, description=description, prog=program(main))
        if ours and getattr(given, "compile_cache", True):
            compile_cache.keep()
        if ours:
            jax.config.update("jax_enable_x64", False)  # whatever the environment says; a float64 run turns it on
        if isinstance(given, Run):
            processes.initialize(given.coordinator, given.num_processes, given.process_id)
            if ours and given.devices != 1:
                mesh.core_each(len(given.members()))
        main(given)
    except UserError as error:
        if processes.is_main() or not error.shared:
            print(f"error: {error}", file=sys.stderr, flush=True)
        if ours and isinstance(error, WriteError):
            os._exit(2)  # at a common exit every writer in the background would try, fail and say so once more
        raise SystemExit(2) from None
    except jax.errors.JaxRuntimeError as error:
        if processes.peer_lost(error):
            _gone(error, ours=ours)
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(
            f"error: out of memory: {str(error).splitlines()[0]}; try a smaller --batch-size or --width",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _gone(error: Exception, ours: bool) -> None:
    """Another process has ended, and with it what this one waits for."""
    said = str(error).splitlines()[0][:200]
    print(
        f"error: process {jax.process_index()} has lost another one, which has ended ({said}). Start all again to go on after the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    if ours:
        os._exit(3)  # at a common exit JAX would wait for them
    raise SystemExit(3) from error


def _quieten() -> None:
    """A write that failed is said once, as a WriteError. Orbax's and TensorBoard's threads say it again and again, with
    their stacks, and go on calling the event loop it ran in.
    """
    unraisable, excepthook = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda info: None if "Event loop is closed" in str(info.exc_value) else unraisable(info)
    threading.excepthook = lambda info: None if isinstance(info.exc_value, OSError) else excepthook(info)
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(lambda entry: False)
