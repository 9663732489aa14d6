"""A training run that is killed with SIGKILL at random moments and started again each time, and the same run left
alone.

`dcgan_digits`, with a row of the log and a checkpoint every 100 of its rounds, so that kills happen during the start,
compilation, training and the writing of checkpoints. In the end every array of the state, every row of the log (but for
the seconds) and every picture must be the same, bit for bit. Measured: experiments/results/torture.json.

    python -m experiments.tools.torture --kills 100
"""

import collections
import dataclasses
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.training import cli
from gan_jax.types import UserError
from gan_jax.workdir import provenance
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import read_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    kills: int = 100
    """How often the run is killed; after that it is left to run to its end."""
    steps: int = 50_000
    """Rounds of the run: enough that it does not end before the last kill."""
    longest: float = 12.0
    """Each process is killed within this many seconds of its start."""
    seed: int = 0
    """Seed of the times of the kills."""
    workdir: str = "runs/torture"
    """Directory of both runs; what it holds is removed first."""
    json: str = ""
    """Also write the result to this file."""


def command(config: Config, workdir: Path) -> list[str]:
    flags = {"steps": config.steps, "evaluate-every": 10_000, "checkpoint-every": 100, "workdir": workdir}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "experiments.dcgan_digits", *words]


def killed(config: Config, workdir: Path, seconds: float) -> str | None:
    """Starts the run and kills it after so many seconds. Returns what it was doing then, or None if it had ended."""
    log = workdir.with_suffix(".said")
    with (
        log.open("w", encoding="utf-8") as out,
        subprocess.Popen(command(config, workdir), stdout=out, stderr=out) as process,
    ):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    text = log.read_text(encoding="utf-8")
    if process.returncode == 0:
        return None
    if process.returncode != -9:
        raise UserError(f"the run ended by itself, with status {process.returncode}: {text[-2000:]}")
    if any(workdir.glob("checkpoints/*orbax-checkpoint-tmp*")):
        return "writing a checkpoint"
    if "step " in text.partition("the first step compiles")[2]:
        return "training"
    return "compiling" if "the first step compiles" in text else "starting"


def state(workdir: Path) -> dict[str, np.ndarray]:
    """Returns every array of the last checkpoint, by its path."""
    import orbax.checkpoint as ocp

    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.sound(print, set_aside=False)
        with ocp.StandardCheckpointer() as orbax:
            tree = orbax.restore((workdir / "checkpoints" / str(step)).absolute())
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def differences(one: Path, other: Path) -> list[str]:
    """Returns descriptions of all differences between two finished runs."""
    states = state(one), state(other)
    differing = [f"array {name}" for name in states[0] if states[0][name].tobytes() != states[1][name].tobytes()]
    rows = [[{**row, "seconds": 0} for row in read_rows(workdir / "metrics.jsonl")] for workdir in (one, other)]
    differing += [f"{len(rows[0])} and {len(rows[1])} rows"] if len(rows[0]) != len(rows[1]) else []
    differing += [f"row of step {a['step']}" for a, b in zip(*rows, strict=False) if json.dumps(a) != json.dumps(b)]
    pictures = [{path.name: path.read_bytes() for path in (workdir / "samples").iterdir()} for workdir in (one, other)]
    names = pictures[0].keys() | pictures[1].keys()
    return differing + [f"picture {name}" for name in sorted(names) if pictures[0].get(name) != pictures[1].get(name)]


def main(config: Config) -> dict[str, Any]:
    workdir, moments = Path(config.workdir), random.Random(config.seed)
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    begin, phases = time.perf_counter(), collections.Counter()  # type: ignore[var-annotated]
    for i in range(config.kills):
        phase = killed(config, workdir / "killed", moments.uniform(0, config.longest))
        if phase is None:
            raise UserError(f"the run ended after {i} kills: give more --steps, or a shorter --longest")
        phases[phase] += 1
        rows = read_rows(workdir / "killed" / "metrics.jsonl")
        print(
            f"kill {i + 1} of {config.kills}: {phase}, last row of step {rows[-1]['step'] if rows else 0:,}", flush=True
        )
    for name in ("killed", "alone"):
        subprocess.run(command(config, workdir / name), check=True, capture_output=True)
    differing = differences(workdir / "killed", workdir / "alone")
    rows = read_rows(workdir / "alone" / "metrics.jsonl")
    result = {
        "name": "torture",
        "command": provenance.command(config, {"workdir", "json"}),
        **provenance.environment(),
        "seconds": round(time.perf_counter() - begin),
        "kills": config.kills,
        "killed while": dict(phases.most_common()),
        "steps": config.steps,
        "compared": {
            "arrays": len(state(workdir / "alone")),
            "rows": len(rows),
            "pictures": len(list((workdir / "alone/samples").iterdir())),
        },
        "differences": differing,
    }
    print(json.dumps(result, indent=2))
    if config.json:
        Path(config.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if differing:
        raise UserError(
            f"the killed run differs from the one left alone in {len(differing)} places: {', '.join(differing[:5])}"
        )
    return result


if __name__ == "__main__":
    cli.run(main, Config)
