"""Running an experiment: creates or opens the work directory, and trains from where the run stopped
(`gan_jax.training.loop`).
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from gan_jax import game
from gan_jax.config import PLACE, Run
from gan_jax.system import mesh, processes
from gan_jax.system.numerics import PRNG, arithmetic
from gan_jax.system.signals import Stop
from gan_jax.system.terminal import say
from gan_jax.training import evaluation, starting
from gan_jax.training.evaluation import samplers
from gan_jax.training.greeting import folders, told
from gan_jax.training.loop import INFLIGHT, Trainer
from gan_jax.training.program import Program
from gan_jax.training.recipe import Build, Recipe, Setup
from gan_jax.training.shown import show
from gan_jax.training.stopping import Stopper
from gan_jax.types import Source, UserError
from gan_jax.workdir import manifest, provenance
from gan_jax.workdir.log import Log, read_rows
from gan_jax.workdir.opening import opened


def run(config: Run, build: Build, setup: Setup) -> game.State:
    """Trains `build(config, setup.source.spec)` on `setup.source` as configured, and returns the state (of a population
    with a leading axis of members). The README describes the files in the work directory.

    Started again with the same work directory, a run continues after its last intact checkpoint; a finished run is left
    as it is. Ctrl-C and SIGTERM save first, then raise KeyboardInterrupt and SystemExit(143).

    Raises UserError for a work directory that is in use or belongs to another run, another number of steps where a
    schedule depends on it, a batch that the devices cannot share, a game that does not split its batch as --accumulate
    says, a metric of --best that is not measured, an evaluation that fails, and values that are not finite. Raises
    ValueError for a source that does not fit the recipe, and a game that does not keep to its contract. Raises
    WriteError where the end of the run could not be saved.
    """
    processes.require_uncached()
    with arithmetic(config.precision, config.matmul_precision):
        return _run(config, build, setup)


def _run(config: Run, build: Build, setup: Setup) -> game.State:
    source, evaluate = setup.source, setup.evaluate
    build = starting.freezing(build) if config.freeze_disc else build
    name = provenance.module_name(type(config)).rsplit(".", 1)[-1]
    workdir = Path(config.workdir or f"runs/{name}").expanduser().absolute()
    _require_apart(source, workdir)
    recipe = build(config, source.spec)
    _require_fitting(config, recipe, setup)
    grid = mesh.make(config.devices, config.batch_size, len(config.members()))
    # Signals are recorded from here on: an exception out of a compilation would end the process without a message.
    with Stop() as stop, jax.set_mesh(grid):
        program = Program(config, build, source, grid, recipe)
        _require_shown(config, recipe, setup, program)
        identity = _identity(source, program)
        given: starting.Weights | None = None
        if config.start_from and not (workdir / "config.json").exists():  # errors come before anything is written
            given = starting.weights_of(config.start_from, program.like, program.population)
        processes.require_equal("configuration, networks or data", manifest.comparable(config, identity, PLACE))
        with opened(workdir, config, identity) as (checkpoints, start):
            if start:
                state, first_fault = checkpoints.restore(start, (program.like, program.like_first_fault))
            else:
                state, first_fault = program.fresh(), program.no_fault()
                if config.start_from:
                    given = given or starting.weights_of(config.start_from, program.like, program.population)
                    state = given.into(state)
            if start > config.steps or _finished(workdir, config, start):
                _print(
                    f"{workdir} has played its {start:,} steps: nothing to do; see {workdir}/report.html. "
                    f"Give --steps above {start} for more, where no schedule ends with them, or another --workdir for another run"
                )
                return state
            if start:
                _require_length(config, build, source, grid, program, workdir)
            note = given.note if given else {}
            changed = processes.on_main(lambda: manifest.begin(workdir, config, start, source.facts, note))
            _greet(name, config, source, program, state, start, workdir)
            if note:
                _print(starting.told(note))
            if changed:
                _print(f"note: the file of the experiment, {name}, has changed since the run was last started")
            if evaluate is not None and evaluate.prepare is not None:
                evaluate.prepare()
            with _log(workdir, start, config, source, program) as log:
                trainer = Trainer(config, program, setup, workdir, log, checkpoints)
                inflight = max(1, INFLIGHT // program.rounds_a_call)
                state = trainer.play(state, first_fault, start, Stopper(stop, grid, inflight))
    return state


def _require_apart(source: Source, workdir: Path) -> None:
    """Raises UserError where the work directory is, or lies in, a folder of the data, which would then be other data."""
    inside = workdir.resolve()
    for folder in folders(source.facts):
        if folder.resolve() in (inside, *inside.parents):
            raise UserError(f"--workdir {workdir} is in the folder of the data, {folder}: name another")


def _require_fitting(config: Run, recipe: Recipe, setup: Setup) -> None:
    source, evaluate = setup.source, setup.evaluate
    if source.rows != config.batch_size * recipe.packing * recipe.n_disc:
        raise ValueError(
            f"the source gives {source.rows} rows a step; batch_size x packing x n_disc = "
            f"{config.batch_size} x {recipe.packing} x {recipe.n_disc} are needed"
        )
    if str(jax.random.key_impl(source.key)) != PRNG:
        raise UserError(
            f"the source's key is of {jax.random.key_impl(source.key)}, and runs draw by {PRNG}: set jax_default_prng_impl to it before the source is made"
        )
    if (jax.random.key_data(source.key) != jax.random.key_data(jax.random.key(config.seed))).any():
        raise ValueError(f"the source's key is not that of the run's seed, {config.seed}")
    if config.accumulate != (parts := recipe.game.parts):
        remedy = f"give --accumulate {parts}" if parts > 1 else "leave --accumulate out"
        raise UserError(f"--accumulate {config.accumulate}, but this game plays a batch in {parts} parts: {remedy}")
    if config.best and (evaluate is None or config.best not in evaluate.names):
        raise UserError(
            f"--best {config.best}: the experiment measures {', '.join(evaluate.names if evaluate else ())}"
        )


def _require_shown(config: Run, recipe: Recipe, setup: Setup, program: Program) -> None:
    """Calls `show` with samples of zeros, so that its errors are raised before anything is written."""
    if recipe.game.inputs is None:
        return
    sampler = samplers(config, program, setup.source.spec)(program.like, 0)
    show(recipe, sampler.zeros(setup.shown), setup)


def _identity(source: Source, program: Program) -> dict[str, Any]:
    """What identifies a run besides its configuration."""
    return {
        "data": source.name,
        "data_digest": source.digest,
        **manifest.spec_identity(source.spec),
        "parameters": program.parameters,
        "tensor": {key: kind for key, kind in program.tensors.items() if not key.startswith("ema")},
    }


def _require_length(config: Run, build: Build, source: Source, grid: Mesh, program: Program, workdir: Path) -> None:
    """Raises UserError where the run was started with another number of steps on which its rounds depend."""
    before = processes.on_main(lambda: manifest.steps(workdir))
    if before == config.steps or "steps" in config.change:
        return
    if Program(dataclasses.replace(config, steps=before), build, source, grid).text() != program.text():
        raise UserError(
            f"--steps {config.steps}: {workdir} was started with --steps {before}, by which its schedules end: a run of "
            f"another length is another run. Give --steps {before} to go on with it, or another --workdir to begin anew"
        )


def _finished(workdir: Path, config: Run, start: int) -> bool:
    """Whether the run has reached its last step, or stopped early, and its result is written."""
    early = processes.on_main(lambda: evaluation.stopped(read_rows(workdir / "metrics.jsonl"), start, config.patience))
    return (start >= config.steps or early) and processes.broadcast((workdir / "result.json").exists())


def _print(text: str) -> None:
    if processes.is_main():
        say(text)


def _greet(
    name: str, config: Run, source: Source, program: Program, state: game.State, start: int, workdir: Path
) -> None:
    begin = f"going on at step {start:,} of {config.steps:,}" if start else f"{config.steps:,} steps"
    devices = jax.tree.leaves(state)[0].sharding.device_set
    where = f"{len(devices)} x {next(iter(devices)).device_kind}"
    if jax.process_count() > 1:
        where += f" of {jax.process_count()} processes"
    members = f"{len(program.members)} members, each: " if program.population else ""
    networks = f"generator {program.parameters['gen']:,} parameters, discriminator {program.parameters['disc']:,}"
    _print(
        f"{name} on {where}: {members}{networks}; data {source.name}, {source.size or 'endless'} examples of {source.spec.shape}"
    )
    for line in told(source.facts):
        _print(line)
    has_batch_norm = any("BatchNorm" in name for name in program.tensors)
    if config.accumulate > 1 and has_batch_norm:
        rows = config.batch_size // config.accumulate
        _print(
            f"--accumulate {config.accumulate}: batch norm takes its statistics of {rows} rows at a time: another update than that of {config.batch_size}"
        )
    _print(f"{begin}, in {workdir}; the first step compiles for some seconds")


def _log(workdir: Path, start: int, config: Run, source: Source, program: Program) -> Log:
    labels = [member.label for member in program.members] if program.population else []
    return Log(workdir, start, config.steps, source.rows, labels, silent=not processes.is_main())
