"""What a run is and what came of it: `config.json` before the first step, `result.json` after the last."""

import dataclasses
import hashlib
import json
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.types import Spec, UserError
from gan_jax.workdir.members import mean_std

COMMANDS = "gan_jax.commands."


def module_name(thing: Any) -> str:
    """The import path of the module that defines `thing`, also where that module is the one being run."""
    module = sys.modules[thing.__module__]
    spec, path = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if spec is not None:
        return spec.name
    return Path(path).stem if path else thing.__module__  # of a script by its path; of a notebook nothing is known


def program(thing: Any) -> str:
    """What starts the module that defines `thing`: "python -m experiments.dcgan_mnist", or "gan-jax evaluate"."""
    name = module_name(thing)
    return f"gan-jax {name.removeprefix(COMMANDS)}" if name.startswith(COMMANDS) else f"python -m {name}"


def command(config: Any, leave_out: Iterable[str] = (), positional: Iterable[str] = ()) -> str:
    """The shell command that makes `config`: the flags that differ from their defaults; those fields that are `positional`
    have no flag.
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
    """Of gan_jax, as it is installed."""
    try:
        return metadata.version("gan-jax")
    except metadata.PackageNotFoundError:
        return "not installed"


def environment() -> dict[str, Any]:
    """Versions, devices and the commit ("+" after it: with changes not committed; None outside a checkout)."""
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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def check_workdir(workdir: Path, config: Any, identity: Mapping[str, Any], may_differ: frozenset[str]) -> bool:
    """Whether the directory holds this run already. Nothing is written.

    `identity` is what beside the configuration makes the run: the data's digest, the tensors of the networks. UserError
    when it is a file, belongs to another configuration (the fields that differ are named), or holds something else.
    """
    path = workdir / "config.json"
    try:
        there = path.exists()
        if workdir.exists() and not workdir.is_dir():
            raise UserError(f"--workdir {workdir} is a file; name a directory")
        entries = sorted(workdir.iterdir()) if workdir.is_dir() else []
        kept = [entry.name for entry in entries if entry.name == "metrics.jsonl" or _holds_checkpoints(entry)]
    except OSError as error:
        raise UserError(f"cannot read --workdir {error.filename or workdir}: {error.strerror or error}") from error
    if there:
        try:
            saved = json.loads(path.read_text())
            differ = _differences(saved, _described(config, identity), may_differ)
            if not (isinstance(saved["starts"], list) and isinstance(saved["rollbacks"], list)):
                raise TypeError("starts and rollbacks are lists")
            if not all(isinstance(start["step"], int) for start in saved["starts"]):
                raise TypeError("starts are counted in steps")
            if not all(isinstance(back[key], int) for back in saved["rollbacks"] for key in ("step", "to")):
                raise TypeError("rollbacks are counted in steps")
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a run's configuration ({error!r}); name another --workdir") from error
        if differ:
            differing = "\n  ".join(differ[:12] + ([f"and {len(differ) - 12} more"] if len(differ) > 12 else []))
            raise UserError(
                f"{workdir} belongs to another run:\n  {differing}\nGive the old values to go on with it, or another --workdir to begin anew"
            )
        return True
    if kept:
        raise UserError(f"{workdir} holds a run without its config.json; name another --workdir")
    return False


def _holds_checkpoints(entry: Path) -> bool:
    return entry.name == "checkpoints" and (not entry.is_dir() or any(entry.iterdir()))


def make_workdir(workdir: Path) -> None:
    """UserError where it cannot be made."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def open_workdir(workdir: Path, config: Any, identity: Mapping[str, Any], may_differ: frozenset[str]) -> None:
    """Writes config.json, or leaves the one there as it is, if it is of the same run (`check_workdir`)."""
    if check_workdir(workdir, config, identity, may_differ):
        return
    try:
        write_json(workdir / "config.json", {**_described(config, identity), "starts": [], "rollbacks": []})
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
    now = {
        **_described(config, saved["identity"]),
        "experiment_file": _experiment_file(config),
        "starts": [*starts, {"step": step, **environment()}],
        "rollbacks": saved["rollbacks"],
    }
    try:
        write_json(path, now)
        (workdir / "result.json").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def rollbacks(workdir: Path) -> list[dict[str, int]]:
    """Each time the run diverged and went back: at which step, and to which."""
    return json.loads((workdir / "config.json").read_text())["rollbacks"]


def note_rollback(workdir: Path, step: int, to: int) -> None:
    """Adds one to them."""
    path = workdir / "config.json"
    saved = json.loads(path.read_text())
    write_json(path, {**saved, "rollbacks": [*saved["rollbacks"], {"step": step, "to": to}]})


def comparable(config: Any, identity: Mapping[str, Any], leave_out: frozenset[str]) -> dict[str, Any]:
    """What must be the same in every process of a run."""
    described = _described(config, identity)
    return {
        **described,
        "config": {name: value for name, value in described["config"].items() if name not in leave_out},
    }


def spec_identity(spec: Spec) -> dict[str, Any]:
    """What a run is told by of its data: every array's kind and shape, the classes, and what else they are."""
    arrays = {name: {"dtype": x.dtype.name, "shape": list(x.shape)} for name, x in spec.arrays.items()}
    return {"arrays": arrays, "classes": spec.classes, "meta": dict(spec.meta)}


def spec_from(identity: Mapping[str, Any]) -> Spec:
    """The way back. KeyError and TypeError for what is none."""
    arrays = {
        name: jax.ShapeDtypeStruct(tuple(x["shape"]), np.dtype(x["dtype"])) for name, x in identity["arrays"].items()
    }
    return Spec(arrays, identity["classes"], identity["meta"])


def _described(config: Any, identity: Mapping[str, Any]) -> dict[str, Any]:
    described = {"experiment": module_name(type(config)), "config": dataclasses.asdict(config), "identity": identity}
    return json.loads(json.dumps(described))  # as it will be read again: JSON has no tuples


def _experiment_file(config: Any) -> dict[str, str]:
    """Where the experiment's code lies, and its hash, so that the run can be loaded where its name cannot be imported."""
    path = getattr(sys.modules[type(config).__module__], "__file__", None)
    if not path:
        return {}
    try:
        return {"path": str(Path(path).absolute()), "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    except OSError:
        return {}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], may_differ: frozenset[str]) -> list[str]:
    """The flags that differ; what follows from them, such as the shapes of the networks, only where no flag does."""
    flags = [{"experiment": run["experiment"], **run["config"]} for run in (old, new)]
    for was, now in (flags, [_flat(run["identity"]) for run in (old, new)]):
        names = sorted(name for name in {*was, *now} - may_differ if was.get(name, "absent") != now.get(name, "absent"))
        if names:
            return [f"{name}: {was.get(name, 'absent')!r} there, {now.get(name, 'absent')!r} now" for name in names]
    return []


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in identity.items() if not isinstance(value, dict)}
    return flat | {
        f"{name} {key}": one
        for name, value in identity.items()
        if isinstance(value, dict)
        for key, one in value.items()
    }


def summary(
    rows: Iterable[Mapping[str, Any]], records: Mapping[str, Any], members: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """For every measured value: the last, the best and its step over the log's rows, and the protocol. None stands for
    a value that is not finite.

    Of a population (`members`: label and group of each) "last" and "best" are means over the members that have a finite
    value, the best being that of the best step, with their standard deviations; beside them stand every member's last
    and best, and in a sweep the mean and deviation of each group.
    """
    out: dict[str, dict[str, Any]] = {}
    rows, members = list(rows), list(members)
    for name, record in records.items():
        better = max if record.higher_is_better else min
        seen = [(row[f"eval/{name}"], row["step"]) for row in rows if f"eval/{name}" in row]
        last, (best, best_step) = seen[-1][0], _best(seen, better)
        out[name] = {"last": mean_std(last)[0], "best": mean_std(best)[0], "best_step": best_step}
        if members:
            out[name] |= {"last_std": mean_std(last)[1], "best_std": mean_std(best)[1], "members": {}, "groups": {}}
            for i, (label, _) in enumerate(members):
                own = [(value[i], at) for value, at in seen]
                top, top_step = _best(own, better)
                out[name]["members"][label] = {"last": last[i], "best": top, "best_step": top_step}
            for group in dict.fromkeys(group for _, group in members if group):
                mean, std = mean_std([last[i] for i, (_, own) in enumerate(members) if own == group])
                out[name]["groups"][group] = {"last": mean, "last_std": std}
        out[name] |= {"higher_is_better": record.higher_is_better, "protocol": dict(record.protocol)}
    return out


def final(
    records: Mapping[str, Any], last: Mapping[str, Any], best: Mapping[str, Any], best_step: int
) -> dict[str, Any]:
    """As `summary`, of what the last and the best checkpoint measured when the run was over."""
    out = {}
    for name, record in records.items():
        values = {"last": last[f"final/{name}"], "best": best[f"best/{name}"]}
        own: dict[str, Any] = {"best_step": best_step}
        for which, value in values.items():
            mean, std = mean_std(value)
            own |= {which: mean} | ({f"{which}_std": std, f"{which}_members": value} if isinstance(value, list) else {})
        out[name] = own | {"higher_is_better": record.higher_is_better, "protocol": dict(record.protocol)}
    return out


def _best(seen: list[tuple[Any, int]], better: Any) -> tuple[Any, int]:
    """The value, or the members' values, with the best mean, and its step."""
    finite = [pair for pair in seen if (mean := mean_std(pair[0])[0]) is not None and math.isfinite(mean)]
    return better(finite, key=lambda pair: mean_std(pair[0])[0], default=seen[-1])
