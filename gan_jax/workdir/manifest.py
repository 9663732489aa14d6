"""config.json: the identity of a run, by which a run recognises its work directory before its first step."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from gan_jax.types import Spec, UserError
from gan_jax.workdir.provenance import environment, module_name


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def check_workdir(workdir: Path, config: Any, identity: Mapping[str, Any], may_differ: frozenset[str]) -> bool:
    """Returns whether the directory already holds this run. Writes nothing.

    `identity` is what identifies the run besides its configuration: the digest of the data, the tensors of the
    networks. Fields in `may_differ` are not compared. Raises UserError where `workdir` is a file or cannot be read,
    belongs to another run (the message names the fields that differ), or holds a run without a valid config.json.
    """
    path = workdir / "config.json"
    try:
        exists = path.exists()
        if workdir.exists() and not workdir.is_dir():
            raise UserError(f"--workdir {workdir} is a file; name a directory")
        entries = sorted(workdir.iterdir()) if workdir.is_dir() else []
        others = [entry.name for entry in entries if not _left_by_a_start(entry)]
    except OSError as error:
        raise UserError(f"cannot read --workdir {error.filename or workdir}: {error.strerror or error}") from error
    if exists:
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            # A flag that an earlier version did not have was what is its default now.
            saved["config"] = {**_defaults(config), **saved["config"]}
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
                f"{workdir} belongs to another run:\n  {differing}\n"
                "Give the old values to go on with it, name in --change what may differ, or give another --workdir"
            )
        return True
    if "metrics.jsonl" in others or "checkpoints" in others:
        raise UserError(f"{workdir} holds a run without its config.json; name another --workdir")
    if others:
        listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise UserError(f"--workdir {workdir} is not empty, and no run's: it holds {listed}; name a new directory")
    return False


def _left_by_a_start(entry: Path) -> bool:
    """Whether it may stand in a new directory: hidden, or what a start leaves that ended before it began."""
    if entry.name == "checkpoints":
        return entry.is_dir() and not any(entry.iterdir())
    return entry.name.startswith(".") or entry.name == "config.part"


def make_workdir(workdir: Path) -> None:
    """Creates the directory; raises UserError where that fails."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def open_workdir(workdir: Path, config: Any, identity: Mapping[str, Any], may_differ: frozenset[str]) -> None:
    """Writes config.json unless there is one of the same run. Raises UserError as `check_workdir`, and on failure."""
    if check_workdir(workdir, config, identity, may_differ):
        return
    try:
        write_json(workdir / "config.json", {**_described(config, identity), "starts": [], "rollbacks": []})
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def begin(
    workdir: Path,
    config: Any,
    step: int,
    data: Mapping[str, Any],
    started_from: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Records in config.json that the run starts or continues after `step`; returns whether its experiment has changed.

    That is whether the experiment's file is another than at the start before. Writes the current configuration and adds
    an entry to `starts`, with step, commit, versions and hardware; `data`, what was understood of the data; and
    `started_from`, the run whose weights this one began with. Removes result.json, which a shorter run may have left.
    Raises UserError where the directory cannot be written to.
    """
    path = workdir / "config.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    starts = [start for start in saved["starts"] if start["step"] < step]  # later steps were lost, and are played again
    now = {
        **_described(config, saved["identity"]),
        "data": dict(data),
        **(
            {"started_from": dict(started_from or saved["started_from"])}
            if started_from or "started_from" in saved
            else {}
        ),
        "experiment_file": _experiment_file(config),
        "starts": [*starts, {"step": step, **environment(), **_changed(saved, step, config)}],
        "rollbacks": saved["rollbacks"],
    }
    try:
        write_json(path, now)
        (workdir / "result.json").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error
    before, file = saved.get("experiment_file", {}), now["experiment_file"]
    return bool(starts) and before.get("sha256", "") != file.get("sha256", "")


def _changed(saved: Mapping[str, Any], step: int, config: Any) -> dict[str, Any]:
    """The flags that --change names and that have other values from `step` on: {"changed": {flag: [old, new]}}; {} for
    none. Of starts whose steps were lost the old values still hold.
    """
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    lost = [start.get("changed", {}) for start in saved["starts"] if start["step"] >= step]
    before = {name: pair[0] for changed in reversed(lost) for name, pair in changed.items()}
    for name in (name.replace("-", "_") for name in config.change):
        before.setdefault(name, saved["config"].get(name))
    changed = {name: [old, now[name]] for name, old in before.items() if old != now[name]}
    return {"changed": changed} if changed else {}


def steps(workdir: Path) -> int:
    """Returns the number of steps that the run was last started with."""
    return json.loads((workdir / "config.json").read_text(encoding="utf-8"))["config"]["steps"]


def rollbacks(workdir: Path) -> list[dict[str, int]]:
    """Returns the steps at which the run diverged, and those to which it went back: {"step": ..., "to": ...} each."""
    return json.loads((workdir / "config.json").read_text(encoding="utf-8"))["rollbacks"]


def note_rollback(workdir: Path, step: int, to: int) -> None:
    """Records in config.json that the run diverged at `step` and went back to step `to`."""
    path = workdir / "config.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**saved, "rollbacks": [*saved["rollbacks"], {"step": step, "to": to}]})


def comparable(config: Any, identity: Mapping[str, Any], leave_out: frozenset[str]) -> dict[str, Any]:
    """Returns what every process of a run must share: identity and configuration, without the fields of `leave_out`."""
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
    return json.loads(json.dumps(described))  # as it will be read again: JSON turns tuples into lists


def _defaults(config: Any) -> dict[str, Any]:
    held = {
        field.name: field.default for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING
    }
    return json.loads(json.dumps(held))


def _experiment_file(config: Any) -> dict[str, str]:
    """Path and hash of the experiment's code, by which the run can be loaded where its name cannot be imported."""
    path = getattr(sys.modules[type(config).__module__], "__file__", None)
    if not path:
        return {}
    try:
        return {"path": str(Path(path).absolute()), "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    except OSError:
        return {}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], may_differ: frozenset[str]) -> list[str]:
    """Texts of the flags that differ, or, if no flag does, of the fields of the identity, which follow from flags."""
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
