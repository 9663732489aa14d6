"""The training loop, from a configuration to a trained state: makes or opens the work directory, goes on where the run
stopped, and plays it.
"""

import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import game
from gan_jax.config import MAY_DIFFER, PLACE, Run
from gan_jax.system import mesh, processes
from gan_jax.system.signals import Stop
from gan_jax.training import evaluation
from gan_jax.training.loop import Trainer
from gan_jax.training.program import Program
from gan_jax.training.recipe import Build
from gan_jax.training.sampling import Samples
from gan_jax.types import Evaluate, Source, UserError
from gan_jax.workdir import manifest, pictures
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.lock import Lock
from gan_jax.workdir.log import Log, read_rows


def run(
    config: Run,
    build: Build,
    source: Source,
    evaluate: Evaluate | None = None,
    picture: Callable[[np.ndarray], np.ndarray] = pictures.grid,
    pictured: int = 64,
) -> game.State:
    """Trains `build(config, source.spec)` on `source` as `config` says and returns the state (of a population with a
    leading axis of members); what it leaves in the work directory stands in the README.

    Starting again with the same work directory goes on after its last sound checkpoint; a finished run is left as it is.
    Ctrl-C and SIGTERM save first, then raise KeyboardInterrupt and SystemExit(143). UserError for a work directory of
    another run or in use, a batch that devices cannot share, values that are not finite; WriteError where the end of the
    run could not be saved.
    """
    name = manifest.module_name(type(config)).rsplit(".", 1)[-1]
    workdir = Path(config.workdir or f"runs/{name}").expanduser().absolute()
    recipe = build(config, source.spec)
    if source.rows != config.batch_size * recipe.packing * recipe.n_disc:
        raise ValueError(
            f"the source gives {source.rows} rows a step; batch_size x packing x n_disc = "
            f"{config.batch_size} x {recipe.packing} x {recipe.n_disc} are needed"
        )
    if (jax.random.key_data(source.key) != jax.random.key_data(jax.random.key(config.seed))).any():
        raise ValueError(f"the source's key is not that of the run's seed, {config.seed}")
    if config.best and (evaluate is None or config.best not in evaluate.names):
        raise UserError(
            f"--best {config.best}: the experiment measures {', '.join(evaluate.names if evaluate else ())}"
        )
    grid = mesh.make(config.devices, config.batch_size, len(config.members()))
    together = processes.on_main
    # Signals are noted from here on: an exception out of a compilation would end the process without a word.
    with (
        Stop() as stop,
        jax.set_mesh(grid),
        jax.default_matmul_precision(config.matmul_precision),
        contextlib.ExitStack() as stack,
    ):
        rounds = Program(config, build, source, grid)
        identity = {
            "data": source.name,
            "data_digest": source.digest,
            "shape": source.spec.shape,
            "classes": source.spec.classes,
            "parameters": rounds.parameters,
            "tensor": {key: kind for key, kind in rounds.tensors.items() if not key.startswith("ema")},
        }
        processes.require_equal("configuration, networks or data", manifest.comparable(config, identity, PLACE))
        checked = functools.partial(manifest.check_workdir, workdir, config, identity, MAY_DIFFER)
        together(checked)
        together(lambda: manifest.make_workdir(workdir))
        together(lambda: stack.enter_context(Lock(workdir)).held)
        together(checked)
        together(lambda: len(read_rows(workdir / "metrics.jsonl")))
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
        together(functools.partial(_open, workdir, config, identity))
        start = together(lambda: checkpoints.sound(lambda text: print(text, file=sys.stderr, flush=True))) or 0
        early = together(lambda: evaluation.stopped(read_rows(workdir / "metrics.jsonl"), start, config.patience))
        finished = (start >= config.steps or early) and processes.broadcast((workdir / "result.json").exists())
        if processes.broadcast(not start and (workdir / "result.json").exists()):
            raise UserError(
                f"{workdir} holds a finished run whose checkpoints are gone from {workdir}/checkpoints: bring them back, or name another --workdir"
            )
        if start:
            state, first_fault = checkpoints.restore(start, (rounds.like, rounds.like_first_fault))
        else:
            state, first_fault = rounds.fresh(), rounds.no_fault()
        if finished or start > config.steps:
            _print(
                f"{workdir} has played its {start:,} steps: nothing to do; see {workdir}/report.html. "
                f"Give --steps above {start} for more, or another --workdir for another run"
            )
            return state
        together(lambda: manifest.begin(workdir, config, start))
        _greet(name, config, source, rounds, state, start, workdir)
        if evaluate is not None and evaluate.prepare is not None:
            evaluate.prepare()
        with _log(workdir, start, config, source, rounds) as log:
            player = Trainer(
                config, rounds, source, Samples(rounds), evaluate, picture, pictured, workdir, log, checkpoints
            )
            state = player.play(state, first_fault, start, stop)
    return state


def _open(workdir: Path, config: Run, identity: dict[str, Any]) -> None:
    try:
        manifest.open_workdir(workdir, config, identity, MAY_DIFFER)
    except UserError:
        with contextlib.suppress(OSError):
            (workdir / "checkpoints").rmdir()  # which was made just now, unless it holds something
        raise


def _print(text: str) -> None:
    if processes.is_main():
        print(text, flush=True)


def _greet(
    name: str, config: Run, source: Source, rounds: Program, state: game.State, start: int, workdir: Path
) -> None:
    begin = f"going on at step {start:,} of {config.steps:,}" if start else f"{config.steps:,} steps"
    devices = jax.tree.leaves(state)[0].sharding.device_set
    where = f"{len(devices)} x {next(iter(devices)).device_kind}"
    if jax.process_count() > 1:
        where += f" of {jax.process_count()} processes"
    many = f"{len(rounds.members)} members, each: " if rounds.population else ""
    networks = f"generator {rounds.parameters['gen']:,} parameters, discriminator {rounds.parameters['disc']:,}"
    _print(
        f"{name} on {where}: {many}{networks}; data {source.name}, {source.size or 'endless'} examples of {source.spec.shape}"
    )
    normed = "batch_stats" in state.gen.stats or "batch_stats" in state.disc.stats
    if config.accumulate > 1 and normed:
        rows = config.batch_size // config.accumulate
        _print(
            f"--accumulate {config.accumulate}: batch norm takes its statistics of {rows} rows at a time: another update than that of {config.batch_size}"
        )
    _print(f"{begin}, in {workdir}; the first step compiles for some seconds")


def _log(workdir: Path, start: int, config: Run, source: Source, rounds: Program) -> Log:
    labels = [member.label for member in rounds.members] if rounds.population else []
    return Log(workdir, start, config.steps, source.rows, labels, silent=not processes.is_main())
