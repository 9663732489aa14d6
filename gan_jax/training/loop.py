"""The training loop of a run: plays rounds, writes rows, samples and checkpoints, and handles divergence."""

import contextlib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import game
from gan_jax.config import PLACE, Run
from gan_jax.system import processes
from gan_jax.training import beside, evaluation, monitors
from gan_jax.training.evaluation import Evaluation, samplers
from gan_jax.training.program import Fault, Program
from gan_jax.training.recipe import Recipe, Setup
from gan_jax.training.saving import SUFFIXES, Saved, Saver
from gan_jax.training.shown import known, show, shown_of
from gan_jax.training.stopping import Stopper
from gan_jax.types import PyTree, Record, UserError, WriteError, rows_of
from gan_jax.workdir import manifest, pictures, provenance, report, results
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log, Value, read_rows

INFLIGHT = 8  # rounds that may be queued on the device: enough to keep it busy, few enough that a stop is prompt
PATIENCE = 3  # rollbacks to one checkpoint, after which the run gives up
SHOWN = 2  # folded into a member's key for the noise of its sample pictures


class Due(NamedTuple):
    """What is to be done after a round."""

    log: bool
    measure: bool
    draw: bool
    save: bool


def due(config: Run, step: int, last: bool) -> Due:
    """Returns what is to be done after round `step`; after the `last` round it is everything."""
    every = (config.log_every, config.evaluate_every, config.sample_every, config.checkpoint_every)
    return Due(*(last or (n > 0 and step % n == 0) for n in every))


def until_due(config: Run, step: int, *others: int) -> int:
    """Returns the number of rounds from `step` until something is to be done, the run ends, or one of the steps
    `others` is reached.
    """
    every = (config.log_every, config.evaluate_every, config.sample_every, config.checkpoint_every)
    distances = [other - step for other in others if other > step]
    return min([config.steps - step, *distances, *(n - step % n for n in every if n)])


class Trainer:
    """The training of a run, from one start until it ends or is stopped."""

    def __init__(self, config: Run, program: Program, setup: Setup, workdir: Path, log: Log, checkpoints: Checkpoints):
        self.config, self.program, self.setup = config, program, setup
        self.workdir, self.log, self.checkpoints = workdir, log, checkpoints
        self.sampler = samplers(config, program, setup.source.spec)
        self.evaluation = Evaluation(config, program, self.sampler, setup.evaluate, log)
        self.saver = Saver(workdir, log, checkpoints, best_lost=self.evaluation.forget)
        self.rollbacks: list[dict[str, int]] = processes.on_main(lambda: manifest.rollbacks(workdir))
        self.stems = {member.stem for member in program.members} if program.population else set()
        self.dead: set[int] = set()  # members that have diverged
        self.warned: set[str] = set()  # kinds of warnings that were printed
        self.records: dict[str, Record] = {}  # of the last evaluation
        # Of the first member that has not diverged, at the last step: the sample files, and the samples.
        self.drawn: list[Path] = []
        self.samples: PyTree = None

    def play(self, state: game.State, first_fault: jax.Array, start: int, stopper: Stopper) -> game.State:
        """Trains from step `start` to the end of the run, and returns the final state.

        When the run is stopped, it is saved, and `Stopper.leave` raises. Raises UserError where values are not finite
        and the run cannot go back, or an evaluation fails; WriteError where the end of the run cannot be saved.
        """
        config, program = self.config, self.program
        self.saver.forget_files_after(start, config.steps, self.stems)
        if processes.is_main():
            with contextlib.suppress(OSError):
                (self.workdir / "neighbours.png").unlink(missing_ok=True)  # it is of the end of a shorter run
        ended = processes.on_main(lambda: evaluation.stopped(self.rows(), start, config.patience))
        step, end = start, start if ended else config.steps
        if start == 0:
            self.draw(state, 0)
        while step < end:
            count = min(program.rounds_a_call, until_due(config, step, *(back["to"] for back in self.rollbacks)))
            vote = stopper.vote()
            state, first_fault, metrics, votes = program.play(state, first_fault, step, count, self.attempt(step), vote)
            step += count
            stopper.played(metrics, votes)
            self.log.tick(step)
            last = step == config.steps
            actions, signal = due(config, step, last), stopper.asked
            if not (any(actions) or signal):
                continue
            faults = program.faults(first_fault)
            if self.diverged(faults):
                del state, first_fault, metrics  # the device may not have room for two states
                stopper.forget()
                state, first_fault, step = self.roll_back(faults)
                continue
            saved = (state, first_fault)
            row = self.log_metrics(step, metrics) if actions.log else {}
            better = None
            if actions.measure:
                self.records = self.measure(step, saved, row)
                better = self.improved(step, self.records, row)
                if not last and self.evaluation.over([*processes.on_main(self.rows), row], self.records):
                    end, row[evaluation.EARLY] = step, float(config.patience)
                    last, actions = True, due(config, step, True)
                    self.log.say(
                        f"{self.evaluation.name} has not improved in {config.patience} evaluations: stopping at step {step:,}"
                    )
            if row:
                self.write_row(step, row)
            if actions.draw:
                self.draw(state, step)
            if jax.process_count() == 1:  # a signal may have arrived during the evaluation
                signal = stopper.asked
            leaving = bool(signal) and not last
            if actions.save or leaving or better or (actions.log and self.saver.unsaved):
                self.saver.save(step, saved, better)
                self.try_report()
            if leaving:
                self.leave(step, saved, stopper)
        if start == end:
            self.write_missing(start, (state, first_fault))
        self.saver.settle(step, (state, first_fault))
        final = self.last_measures(step, state)
        if processes.is_main():
            self.finish(step, final)
        return state

    def attempt(self, step: int) -> int:
        """Returns the attempt of the round after `step`, which decides its data order and noise: the number of
        rollbacks to this step or an earlier one.
        """
        return sum(back["to"] <= step for back in self.rollbacks)

    def leave(self, step: int, saved: Saved, stopper: Stopper) -> None:
        """Saves everything, prints the command that continues the run, and raises what the signal would have."""
        self.saver.settle(step, saved)
        command = provenance.command(self.config)
        self.log.say(f"stopped at step {step:,} of {self.config.steps:,}, saved. To go on: {command}")
        stopper.leave()

    def write_missing(self, step: int, saved: Saved) -> None:
        """Evaluates, draws and saves at the last step once more, for a run that ended before its result was written."""
        self.diverged(self.program.faults(saved[1]))
        row: dict[str, Value] = {}
        self.records = self.measure(step, saved, row)
        if row and not any(old["step"] == step and row.keys() <= old.keys() for old in self.rows()):
            self.write_row(step, row)
        self.draw(saved[0], step)
        self.saver.save(step, saved, self.improved(step, self.records, row))

    # -- values

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the log so far."""
        return read_rows(self.workdir / "metrics.jsonl")

    def log_metrics(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, Value]:
        """Returns the row of a round. Prints the line of progress and new warnings, and reports on the last save."""
        row = self.fetch(step, metrics)
        self.log.progress(step, monitors.main_values(row))
        for kind, text in monitors.warnings(row).items():
            if kind not in self.warned:  # each kind once in a start of the run
                self.warned.add(kind)
                self.log.say(f"warning: {text}")
        self.saver.poll()
        return row

    def fetch(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, Value]:
        """Returns the metrics as numbers, of a population as lists with None for members that have diverged. Leaves out
        monitors that were not computed in this round.
        """
        row: dict[str, Value] = {}
        for name, value in jax.device_get(metrics).items():
            if name.startswith(monitors.PREFIX) and np.isnan(value).all() and step % self.config.log_every:
                continue
            if self.program.population:
                row[name] = [None if i in self.dead else float(one) for i, one in enumerate(value)]
            else:
                row[name] = float(value)
        return row

    def measure(self, step: int, saved: Saved, row: dict[str, Value]) -> dict[str, Record]:
        """Evaluates, adds the values to `row`, and returns the records. If that fails, the state is saved first, and
        UserError raised.
        """
        try:
            records, values = self.evaluation.measure(saved[0], self.dead)
        except Exception as error:
            if processes.peer_lost(error):
                raise
            if row:
                self.write_row(step, row)
            self.saver.settle(step, saved)
            raise UserError(
                f"the evaluation at step {step} failed: {error!r}; the run is saved at that step"
            ) from error
        row |= values
        return records

    def improved(self, step: int, records: dict[str, Record], row: Mapping[str, Value]) -> tuple[str, float] | None:
        """Returns metric and value of a new best, as `Evaluation.improved`."""
        return self.evaluation.improved(step, records, row, self.rows, self.checkpoints)

    def last_measures(self, step: int, state: game.State) -> dict[str, Any]:
        """Evaluates the last and the best checkpoint with more samples; returns their summary for result.json, {} if
        the experiment has no final evaluation. Their row is written unless an earlier start has written it.
        """
        records, row = self.evaluation.final(state, "final", self.dead)
        if not records:
            return {}
        best_step = self.checkpoints.best
        if best_step is None or best_step == step:
            best_step, best = step, {f"best/{name.split('/')[1]}": value for name, value in row.items()}
        else:
            best_state, first_fault = self.checkpoints.restore(best_step, self._like)
            dead = {i for i, fault in enumerate(self.program.faults(first_fault)) if fault}
            _, best = self.evaluation.final(best_state, "best", dead)
        if not any(row.keys() <= old.keys() for old in processes.on_main(self.rows) if old["step"] == step):
            self.write_row(step, {**row, **best})
            processes.on_main(self.saver.rows.close)
        return results.final(records, row, best, best_step)

    def write_row(self, step: int, row: dict[str, Value]) -> None:
        """Writes a row of the log, with the number of rollbacks before it, if any."""
        if attempt := self.attempt(step - 1):
            row = {**row, "run/rollbacks": attempt}
        self.saver.row(self.log.entry(step, row))

    # -- faults

    @property
    def _like(self) -> tuple[game.State, jax.ShapeDtypeStruct]:
        return self.program.like, self.program.like_first_fault

    def diverged(self, faults: list[Fault | None]) -> bool:
        """Adds the members with a fault to `dead`, with one warning for each in a population; returns whether all
        members are dead.
        """
        for i, fault in enumerate(faults):
            if fault and i not in self.dead:
                self.dead.add(i)
                if self.program.population:
                    self.log.say(
                        f"warning: {self.program.members[i].label} has diverged: {fault.what} is not finite at step {fault.step:,}; it is left out from here on"
                    )
        return len(self.dead) == len(faults)

    def roll_back(self, faults: list[Fault | None]) -> tuple[game.State, jax.Array, int]:
        """Returns state, first fault and step of the last intact checkpoint, or of the beginning, from which the run
        continues in another attempt. Raises UserError if --on-divergence is "stop", or after PATIENCE rollbacks to that
        step.
        """
        fault = max(fault for fault in faults if fault)  # in a population, that of the last member to diverge
        to = self.saver.last_good()
        checkpoint = f"the last good checkpoint is of step {to:,}" if to else "no checkpoint was written before"
        text = f"{fault.what} is not finite at step {fault.step:,}, the first of all values; {checkpoint}"
        if self.config.on_divergence == "stop":
            raise UserError(
                f"{text}. A smaller learning rate or another --seed may help; --on-divergence rollback goes on from there with other data order and noise"
            )
        if sum(back["to"] == to for back in self.rollbacks) >= PATIENCE:
            raise UserError(
                f"{text}. The run went back there {PATIENCE} times already: a smaller learning rate may help"
            )
        self.rollbacks.append({"step": fault.step, "to": to})
        processes.on_main(lambda: self.saver.note_rollback(fault.step, to))
        self.dead.clear()
        self.evaluation.forget()
        self.saver.forget_files_after(to, self.config.steps, self.stems)
        self.log.say(f"{text}: going back to step {to:,}, with new data order and noise ({self.attempt(to)})")
        if not to:
            return self.program.fresh(), self.program.no_fault(), 0
        return (*self.checkpoints.restore(to, self._like), to)

    # -- samples, report and result

    def draw(self, state: game.State, step: int) -> None:
        """Writes the files that show each member's samples to samples/; does nothing for a game without samples."""
        recipe = self.program.recipe()
        if recipe.game.inputs is None:
            return
        self.drawn = []
        for i, member in enumerate(self.program.members):
            if i in self.dead:
                continue
            samples = self.sampler(state, i).draw(self.setup.shown, member.seed, SHOWN)
            if processes.is_main():
                first = i == min({*range(len(self.program.members))} - self.dead)
                stem = f"{step:08d}_{member.stem}" if self.program.population else f"{step:08d}"
                for suffix, content in show(recipe, samples, self.setup).items():
                    path = self.workdir / "samples" / f"{stem}.{suffix}"
                    self.saver.files.write(functools.partial(pictures.save, path, content))
                    if first:
                        self.drawn.append(path)
                if first:
                    self.samples = samples
                    self.draw_real(recipe)

    def draw_real(self, recipe: Recipe) -> None:
        """Writes real.*, real images as samples are shown, where it is not there and samples are such images."""
        like = (rows_of(self.samples), *self.setup.source.spec.shape)
        there = any((self.workdir / f"real.{suffix}").exists() for suffix in SUFFIXES)
        if there or getattr(self.samples, "shape", None) != like:
            return
        try:
            conditional = self.sampler(self.program.like, 0).classes > 0
            shown = beside.real(recipe, self.setup, known(self.setup), conditional)
        except Exception as error:  # a picture beside the samples is not worth a run
            self.log.say(f"warning: real images are not shown: {error!r}")
            return
        for suffix, content in shown.items():
            self.saver.files.write(functools.partial(pictures.save, self.workdir / f"real.{suffix}", content))

    def draw_nearest(self) -> None:
        """Writes neighbours.png, samples of the last step over their nearest real images, where there are some."""
        path = self.workdir / "neighbours.png"
        try:
            path.unlink(missing_ok=True)  # that of an earlier step
            if near := beside.nearest(self.samples, self.setup.source):
                pictures.save(path, near)
        except Exception as error:  # a picture is not worth a result
            self.log.say(f"warning: the nearest real images are not shown: {error!r}")

    def try_report(self) -> None:
        """Writes the report if possible. It is made from the files of the run, so a later call can make up for this
        one.
        """
        if processes.is_main():
            try:
                self.write_report()
            except (OSError, UserError):
                pass
            except Exception as error:  # no page is worth a run
                self.log.say(f"warning: report.html cannot be written: {error!r}")

    def write_report(self, measured: Mapping[str, Any] | None = None) -> None:
        """Writes report.html atomically. `measured` has the values for its tables, by heading; without, they are those of
        the rows so far.
        """
        measured = measured or {"so far": self.summary()}
        text = report.page(shown_of(self.workdir, self.rows(), measured, self.stems, self.config.steps))
        part = self.workdir / "report.part"
        part.write_bytes(report.encoded(text))
        part.replace(self.workdir / "report.html")

    def summary(self) -> dict[str, Any]:
        """Returns the metrics of result.json, of the rows so far."""
        labels = [(member.label, member.group) for member in self.program.members] if self.program.population else []
        return results.summary(self.rows(), self.records, labels)

    def finish(self, step: int, final: dict[str, Any]) -> None:
        """Writes result.json and the report, and prints where they are. Raises WriteError if they cannot be written."""
        config, source, members = self.config, self.setup.source, self.program.members
        # Provenance is what was recorded at each start, since the checkout may have changed in the meantime.
        saved = json.loads((self.workdir / "config.json").read_text(encoding="utf-8"))
        starts = saved["starts"]
        labels = [member.label for member in members] if self.program.population else []
        result = {
            "name": provenance.module_name(type(config)).rsplit(".", 1)[-1],
            "command": provenance.command(config, PLACE),
            **{key: starts[-1][key] for key in ("commit", "versions", "hardware")},
            **({"starts": starts} if len(starts) > 1 else {}),
            **({"rollbacks": saved["rollbacks"]} if saved["rollbacks"] else {}),
            "seconds": round(self.log.seconds, 1),
            "steps": step,
            **({"stopped_early": f"--patience {config.patience}"} if step < config.steps else {}),
            "images": step * source.rows,
            "seeds": list(dict.fromkeys(member.seed for member in members)),
            **({"members": labels} if labels else {}),
            **({"diverged": [members[i].label for i in sorted(self.dead)]} if self.dead else {}),
            "precision": {"networks": config.precision, "matrix products": config.matmul_precision},
            "data": {"name": source.name, "digest": source.digest, "examples": source.size, "shape": source.spec.shape},
            "metrics": self.summary(),
            **({"final": final} if final else {}),
        }
        try:
            manifest.write_json(self.workdir / "result.json", result)
            self.draw_nearest()
            self.write_report({"when it was over": final, "on the way": result["metrics"]})
        except OSError as error:
            raise WriteError(
                f"cannot write the result to {self.workdir}: {error.strerror or error}. Mend that and give the same command again"
            ) from error
        look = f"Look at {' and '.join(map(str, self.drawn))}; all of it" if self.drawn else "See all of it"
        self.log.say(
            f"done: {step:,} steps in {self.log.seconds:.0f} s. {look} on one page: {self.workdir}/report.html"
        )
