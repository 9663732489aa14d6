"""What a run is and what came of it: `config.json` before the first step, `result.json` after the last."""

import dataclasses
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import gan_jax
from gan_jax.types import UserError


def module_name(thing: Any) -> str:
    """The import path of the module that defines `thing`, also where that module is the one being run."""
    module = sys.modules[thing.__module__]
    spec, path = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if spec is not None:
        return spec.name
    return Path(path).stem if path else thing.__module__  # of a script by its path; of a notebook nothing is known


def command(config: Any, leave_out: Iterable[str] = ()) -> str:
    """The shell command that makes `config`: the flags that differ from their defaults."""
    words = ["python", "-m", module_name(type(config))]
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), "--" + field.name.replace("_", "-")
        if field.name in leave_out or value == field.default:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


def environment() -> dict[str, Any]:
    """Versions, devices and the commit ("+" after it: with changes not committed; None outside a checkout)."""
    versions = {"python": platform.python_version(), "gan_jax": gan_jax.__version__}
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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def open_workdir(workdir: Path, config: Any, identity: Mapping[str, Any], may_differ: frozenset[str]) -> None:
    """Makes the directory and its config.json, or checks that the one there is of the same run and leaves it as it is.

    `identity` is what beside the configuration makes the run: the data's digest, the sizes of the networks. UserError
    when it is a file, cannot be written, belongs to another configuration (the fields that differ are named), or holds
    something else.
    """
    path = workdir / "config.json"
    new = _described(config, identity)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir {workdir} is a file; name a directory")
    if path.exists():
        try:
            differ = _differences(json.loads(path.read_text()), new, may_differ)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a run's configuration ({error!r}); name another --workdir") from error
        if differ:
            differing = "\n  ".join(differ)
            raise UserError(
                f"{workdir} belongs to another run:\n  {differing}\nGive the old values to go on with it, or another --workdir to begin anew"
            )
        return
    if workdir.is_dir() and any(entry.name in ("checkpoints", "metrics.jsonl") for entry in workdir.iterdir()):
        raise UserError(f"{workdir} holds a run without its config.json; name another --workdir")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, {**new, "starts": []})
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def begin(workdir: Path, config: Any, step: int) -> None:
    """Notes in config.json that the run is started, or goes on, after `step`: the configuration now, and one more of
    `starts`, each with its step, commit, versions and hardware. The result of a shorter run is taken away.
    """
    path = workdir / "config.json"
    saved = json.loads(path.read_text())
    starts = [
        start for start in saved["starts"] if start["step"] < step
    ]  # what came after was lost, and is played again
    now = {**_described(config, saved["identity"]), "starts": [*starts, {"step": step, **environment()}]}
    try:
        write_json(path, now)
        (workdir / "result.json").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def _described(config: Any, identity: Mapping[str, Any]) -> dict[str, Any]:
    described = {"experiment": module_name(type(config)), "config": dataclasses.asdict(config), "identity": identity}
    return json.loads(json.dumps(described))  # as it will be read again: JSON has no tuples


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], may_differ: frozenset[str]) -> list[str]:
    rows = [("experiment", old["experiment"], new["experiment"])]
    for part in ("config", "identity"):
        names = sorted({*old[part], *new[part]} - may_differ)
        rows += [(name, old[part].get(name, "absent"), new[part].get(name, "absent")) for name in names]
    return [f"{name}: {was!r} there, {now!r} now" for name, was, now in rows if was != now]


def summary(rows: Iterable[Mapping[str, Any]], records: Mapping[str, Any]) -> dict[str, Any]:
    """For every measured value: the last, the best and its step over the log's rows, and the protocol. None stands for
    a value that is not finite.
    """
    out = {}
    rows = list(rows)
    for name, record in records.items():
        seen = [(row[f"eval/{name}"], row["step"]) for row in rows if f"eval/{name}" in row]
        finite = [pair for pair in seen if pair[0] is not None]
        best = (max if record.higher_is_better else min)(finite, key=lambda pair: pair[0], default=seen[-1])
        out[name] = {
            "last": seen[-1][0],
            "best": best[0],
            "best_step": best[1],
            "higher_is_better": record.higher_is_better,
            "protocol": dict(record.protocol),
        }
    return out
