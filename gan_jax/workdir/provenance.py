"""Provenance of results: the command, the commit, versions and hardware."""

import dataclasses
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

COMMANDS = "gan_jax.commands."


def module_name(thing: Any) -> str:
    """Returns the import path of the module that defines `thing`, also where that module is run as a program."""
    module = sys.modules[thing.__module__]
    spec, path = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if spec is not None:
        return spec.name
    return Path(path).stem if path else thing.__module__  # a script is named by its path; a notebook has none


def program(thing: Any) -> str:
    """Returns the command of the module that defines `thing`: "python -m experiments.NAME", "gan-jax evaluate"."""
    name = module_name(thing)
    return f"gan-jax {name.removeprefix(COMMANDS)}" if name.startswith(COMMANDS) else f"python -m {name}"


def command(config: Any, leave_out: Iterable[str] = (), positional: Iterable[str] = ()) -> str:
    """Returns the shell command that produces `config`: the program, and the flags that differ from their defaults.

    Fields in `positional` are written without a flag, those in `leave_out` not at all.
    """
    words = program(type(config)).split()
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), "--" + field.name.replace("_", "-")
        if field.name in leave_out or value == field.default:
            continue
        if field.name in positional:
            words += map(str, value)
        elif isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


def version() -> str:
    """Returns the version of the installed gan_jax, or "not installed"."""
    try:
        return metadata.version("gan-jax")
    except metadata.PackageNotFoundError:
        return "not installed"


def environment() -> dict[str, Any]:
    """Returns the commit, versions and hardware.

    The commit is None outside a checkout, and ends in "+" where there are changes that are not committed.
    """
    versions = {"python": platform.python_version(), "gan_jax": version()}
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    devices = jax.devices()
    return {
        "commit": _commit(),
        "versions": versions,
        "hardware": f"{len(devices)} x {devices[0].device_kind}"
        + (f", {_processor()}" if devices[0].platform == "cpu" else ""),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{len(names)} cores of {names[0]}" if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
