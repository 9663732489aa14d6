"""The command line of an experiment: the fields of a configuration are its flags, and a user's mistake ends the program
with a short message and exit status 2.
"""

import dataclasses
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

from gan_jax.config import PLACE, Run
from gan_jax.system import compile_cache, malloc, mesh, numerics, processes
from gan_jax.system.terminal import drop, say
from gan_jax.types import UserError, WriteError
from gan_jax.workdir.provenance import module_name, program

Config = TypeVar("Config")
LIKE = "--config RUN/config.json"


def run(main: Callable[[Config], object], config: type[Config], args: list[str] | None = None) -> None:
    """Parses `args` (default: the command line) into a `config` and calls `main` with it, as the whole program of this
    process.

    It sets up the process: memory allocation, compile cache, number of devices, jax_enable_x64. The exit status
    is 0 when done; 2 for a user's mistake or lack of memory, which is printed as one message; 3 where another process
    of the run has ended; 130 when interrupted, and 143 after SIGTERM. `--help` prints the program's docstring, then
    every flag with its default and meaning.
    """
    _quieten()
    malloc.keep()
    _run(main, config, args, own_process=True)


def run_in_process(main: Callable[[Config], object], config: type[Config], args: list[str]) -> None:
    """Does the same in a process that does other work as well, such as a notebook's or a test's; raises SystemExit."""
    _run(main, config, args, own_process=False)


def _run(main: Callable[[Config], object], config: type[Config], args: list[str] | None, own_process: bool) -> None:
    description = sys.modules[main.__module__].__doc__ or ""
    if issubclass(config, Run):
        description = f"{description.strip()}\n\n{LIKE} takes the flags of another run, but for its directory and where it ran; flags beside it change them."
    try:
        words, default = _like(config, sys.argv[1:] if args is None else args)
        more: dict[str, Any] = {} if default is None else {"default": default}
        settings = tyro.cli(config, args=words, description=description, prog=program(main), **more)
        if own_process and getattr(settings, "compile_cache", True):
            compile_cache.keep()
        if own_process:
            numerics.pin()
        if isinstance(settings, Run):
            processes.initialize(settings.coordinator, settings.num_processes, settings.process_id)
            if own_process and settings.devices != 1:
                mesh.core_each(len(settings.members()))
        _require_devices()
        main(settings)
    except BrokenPipeError:  # of the help, whose reader has gone; what a program prints itself goes through `say`
        drop(sys.stdout)
        raise SystemExit(0) from None
    except UserError as error:
        if not error.shared or processes.is_main():  # where there is no device, nothing can be asked of processes
            say(f"error: {error}", error=True)
        if own_process and isinstance(error, WriteError):
            os._exit(2)  # at a normal exit every background writer would try again, fail, and report it once more
        raise SystemExit(2) from None
    except (jax.errors.JaxRuntimeError, TimeoutError, ValueError) as error:
        if processes.peer_lost(error):
            _exit_peer_lost(error, own_process=own_process)
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"error: out of memory: {str(error).splitlines()[0]}; try a smaller --batch-size or --width", error=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        say("interrupted", error=True)
        raise SystemExit(130) from None


def _like(config: type[Config], words: list[str]) -> tuple[list[str], Config | None]:
    """The words without --config FILE, and the configuration that FILE, config.json of a run, holds; None without one.

    Raises UserError for a file that cannot be read, or is another experiment's.
    """
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    if "--config" not in words or not issubclass(config, Run):
        return words, None
    place = words.index("--config")
    if place + 1 == len(words):
        raise UserError(f"--config needs a file: {LIKE}")
    path = Path(words[place + 1]).expanduser()
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        experiment, flags = saved["experiment"], dict(saved["config"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--config {path} is not the config.json of a run ({error!r})") from error
    if experiment != module_name(config):
        raise UserError(f"--config {path} is of {experiment}, and this is {module_name(config)}")
    known = {field.name for field in dataclasses.fields(config)}
    if unknown := sorted({*flags} - known):
        raise UserError(f"--config {path} has {', '.join(unknown)}, which {module_name(config)} no longer has")
    kept: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x for name, x in flags.items() if name not in PLACE
    }
    return words[:place] + words[place + 2 :], config(**kept)


def _require_devices() -> None:
    """Raises UserError where JAX has no device of the kind that it is told to use."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]  # as JAX documents it
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(
            f"JAX has no device to compute on: {line}; JAX_PLATFORMS is {asked or 'not set'}: leave it out to use what there is, or set cpu"
        ) from error


def _exit_peer_lost(error: Exception, own_process: bool) -> None:
    """Prints that another process of the run has ended, so that this one cannot go on either, and exits."""
    message = str(error).splitlines()[0][:200]
    say(
        f"error: process {jax.process_index()} has lost another one, which has ended ({message}). Start all again to go on after the last checkpoint",
        error=True,
    )
    if own_process:
        os._exit(3)  # at a normal exit JAX would wait for the other processes
    raise SystemExit(3) from error


def _quieten() -> None:
    """Silences what background threads print about a failed write, which is reported once, as a WriteError. Threads of
    Orbax and TensorBoard would print it again and again, with stack traces, and keep calling the event loop in which
    the write ran.
    """
    unraisable, excepthook = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda info: None if "Event loop is closed" in str(info.exc_value) else unraisable(info)
    threading.excepthook = lambda info: None if isinstance(info.exc_value, OSError) else excepthook(info)
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(lambda entry: False)
