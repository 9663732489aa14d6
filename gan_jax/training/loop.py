"""One start of a run: plays the rounds, writes rows, samples and checkpoints on the way, and deals with what goes wrong."""

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import game
from gan_jax.config import PLACE, Run
from gan_jax.system import processes
from gan_jax.training import evaluation, monitors
from gan_jax.training.evaluation import Evaluation, samplers
from gan_jax.training.program import Fault, Program
from gan_jax.training.recipe import Recipe, Setup
from gan_jax.training.saving import SUFFIXES, Saved, Saver, sample_files
from gan_jax.training.stopping import Stopper
from gan_jax.types import Batch, PyTree, Record, UserError, WriteError
from gan_jax.workdir import manifest, pictures, provenance, report, results
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log, Value, read_rows

INFLIGHT = 8  # rounds that may be queued on the device: enough to keep it busy, few enough that a stop is prompt
PATIENCE = 3  # times that a run goes back to one checkpoint before it gives up
SHOWN = 2  # folded into a member's key for the noise of its pictures


class Due(NamedTuple):
    """What is to be done after a round."""

    log: bool
    measure: bool
    draw: bool
    save: bool


def due(config: Run, step: int, last: bool) -> Due:
    """After the round `step`; after the `last` one, everything."""
    every = (config.log_every, config.evaluate_every, config.sample_every, config.checkpoint_every)
    return Due(*(last or (n > 0 and step % n == 0) for n in every))


def until_due(config: Run, step: int, *others: int) -> int:
    """Rounds from `step` on until something is to be done, the run ends, or one of `others` is reached."""
    every = (config.log_every, config.evaluate_every, config.sample_every, config.checkpoint_every)
    turns = [other - step for other in others if other > step]
    return min([config.steps - step, *turns, *(n - step % n for n in every if n)])


class Trainer:
    """One start of one run."""

    def __init__(self, config: Run, program: Program, setup: Setup, workdir: Path, log: Log, checkpoints: Checkpoints):
        self.config, self.program, self.setup = config, program, setup
        self.workdir, self.log, self.checkpoints = workdir, log, checkpoints
        self.sampler: Callable = samplers(config, program, setup.source.spec)
        self.evaluation = Evaluation(config, program, self.sampler, setup.evaluate, log)
        self.saver = Saver(workdir, log, checkpoints, lost=self.evaluation.forget)
        self.rollbacks: list[dict[str, int]] = processes.on_main(lambda: manifest.rollbacks(workdir))
        self.dead: set[int] = set()  # members that have diverged
        self.warned: set[str] = set()
        self.drawn: list[Path] = []  # the last files that were written for a person to look at

    def play(self, state: game.State, first_fault: jax.Array, start: int, stopper: Stopper) -> game.State:
        """Plays on from `start` to the end of the run, or until it is stopped; the state that it ends with."""
        config, program = self.config, self.program
        records: dict[str, Record] = {}
        self.saver.forget_files_after(start)
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
            now, asked = due(config, step, last), stopper.asked
            if not (any(now) or asked):
                continue
            faults = program.faults(first_fault)
            if self.diverged(faults):
                del state, first_fault, metrics  # there may be no room for two
                stopper.forget()
                state, first_fault, step = self.go_back(faults)
                continue
            saved = (state, first_fault)
            row = self.told(step, metrics) if now.log else {}
            better = None
            if now.measure:
                records = self.measure(step, saved, row)
                better = self.improved(step, records, row)
                if not last and self.evaluation.over([*processes.on_main(self.rows), row], records):
                    end, row[evaluation.EARLY] = step, float(config.patience)
                    last, now = True, due(config, step, True)
                    self.log.say(
                        f"{self.evaluation.name} has not improved in {config.patience} evaluations: stopping at step {step:,}"
                    )
            if row:
                self.write_row(step, row)
            if now.draw:
                self.draw(state, step)
            if jax.process_count() == 1:  # since then: evaluating takes its time
                asked = stopper.asked
            leaving = bool(asked) and not last
            if now.save or leaving or better or (now.log and self.saver.unsaved):
                self.saver.save(step, saved, better)
                self.try_report()
            if leaving:
                self.leave(step, saved, stopper)
        if start == end:
            records = self.write_missing(start, (state, first_fault))
        self.saver.settle(step, (state, first_fault))
        final = self.last_measures(step, state)
        if processes.is_main():
            self.finish(step, records, final)
        return state

    def attempt(self, step: int) -> int:
        """Which data order and noise the round after `step` has: another one after each return to a checkpoint."""
        return sum(back["to"] <= step for back in self.rollbacks)

    def leave(self, step: int, saved: Saved, stopper: Stopper) -> None:
        """As the signal would have it, when everything is on disk."""
        self.saver.settle(step, saved)
        again = provenance.command(self.config)
        self.log.say(f"stopped at step {step:,} of {self.config.steps:,}, saved. To go on: {again}")
        stopper.leave()

    def write_missing(self, step: int, saved: Saved) -> dict[str, Record]:
        """All was played, but the run ended before its result was written."""
        self.diverged(self.program.faults(saved[1]))
        row: dict[str, Value] = {}
        records = self.measure(step, saved, row)
        if row and not any(old["step"] == step and row.keys() <= old.keys() for old in self.rows()):
            self.write_row(step, row)
        self.draw(saved[0], step)
        self.saver.save(step, saved, self.improved(step, records, row))
        return records

    # -- values

    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.workdir / "metrics.jsonl")

    def told(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, Value]:
        """The row of a round; the line for the terminal, and what there is to warn of, is said."""
        row = self.fetch(step, metrics)
        self.log.progress(step, monitors.main_values(row))
        for kind, text in monitors.warnings(row).items():
            if kind not in self.warned:  # each kind once a start
                self.warned.add(kind)
                self.log.say(f"warning: {text}")
        self.saver.poll()
        return row

    def fetch(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, Value]:
        """The metrics as numbers, of a population as lists, None for a member that has diverged. Monitors that this round
        has not computed are left out.
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
        """Evaluates, and adds the values to `row`. Should that fail, what was trained is saved first."""
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
        return self.evaluation.improved(step, records, row, self.rows, self.checkpoints)

    def last_measures(self, step: int, state: game.State) -> dict[str, Any]:
        """With more samples, of the last checkpoint and of the best; their row is written once."""
        records, row = self.evaluation.final(state, "final", self.dead)
        if not records:
            return {}
        best_step = self.checkpoints.best
        if best_step is None or best_step == step:
            best_step, best = step, {f"best/{name.split('/')[1]}": value for name, value in row.items()}
        else:
            saved, first_fault = self.checkpoints.restore(best_step, self._like)
            lost = {i for i, fault in enumerate(self.program.faults(first_fault)) if fault}
            _, best = self.evaluation.final(saved, "best", lost)
        if not any(row.keys() <= old.keys() for old in processes.on_main(self.rows) if old["step"] == step):
            self.write_row(step, {**row, **best})
            processes.on_main(self.saver.rows.close)
        return results.final(records, row, best, best_step)

    def write_row(self, step: int, row: dict[str, Value]) -> None:
        if attempt := self.attempt(step - 1):
            row = {**row, "run/rollbacks": attempt}
        self.saver.row(self.log.entry(step, row))

    # -- faults

    @property
    def _like(self) -> Any:
        return self.program.like, self.program.like_first_fault

    def diverged(self, faults: list[Fault | None]) -> bool:
        """Whether nothing is left to train. A member of a population that is lost is told of once."""
        for i, fault in enumerate(faults):
            if fault and i not in self.dead:
                self.dead.add(i)
                if self.program.population:
                    self.log.say(
                        f"warning: {self.program.members[i].label} has diverged: {fault.what} is not finite at step {fault.step:,}; it is left out from here on"
                    )
        return len(self.dead) == len(faults)

    def go_back(self, faults: list[Fault | None]) -> tuple[game.State, jax.Array, int]:
        """The state of the last good checkpoint, which is then played on in another attempt; UserError where the user wants
        the run to stop, or where it came back too often.
        """
        fault = max(fault for fault in faults if fault)  # of a population the last to be lost
        to = self.saver.last_good()
        good = f"the last good checkpoint is of step {to:,}" if to else "no checkpoint was written before"
        text = f"{fault.what} is not finite at step {fault.step:,}, the first of all values; {good}"
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
        self.saver.forget_files_after(to)
        self.log.say(f"{text}: going back to step {to:,}, with new data order and noise ({self.attempt(to)})")
        if not to:
            return self.program.fresh(), self.program.no_fault(), 0
        return (*self.checkpoints.restore(to, self._like), to)

    # -- what a person looks at

    def draw(self, state: game.State, step: int) -> None:
        """What the recipe shows of each member's samples, in samples/."""
        recipe = self.program.recipe()
        if recipe.game.inputs is None:
            return
        self.drawn = []
        for i, member in enumerate(self.program.members):
            if i in self.dead:
                continue
            samples = self.sampler(state, i).draw(self.setup.shown, member.seed, SHOWN)
            if processes.is_main():
                stem = f"{step:08d}_{member.stem}" if self.program.population else f"{step:08d}"
                for suffix, content in show(recipe, samples, self.setup).items():
                    path = self.workdir / "samples" / f"{stem}.{suffix}"
                    self.saver.files.write(functools.partial(pictures.save, path, content))
                    if i == min({*range(len(self.program.members))} - self.dead):
                        self.drawn.append(path)

    def try_report(self) -> None:
        """The page is made of what is kept beside it: where it cannot be written now, it is the next time."""
        if processes.is_main():
            with contextlib.suppress(OSError, UserError):
                self.write_report()

    def write_report(self, measured: Mapping[str, Any] | None = None) -> None:
        saved = json.loads((self.workdir / "config.json").read_text())
        name = saved["experiment"].rsplit(".", 1)[-1]
        text = report.page(name, saved, self.rows(), sample_files(self.workdir), measured or {})
        part = self.workdir / "report.part"
        part.write_text(text)
        part.replace(self.workdir / "report.html")

    def finish(self, step: int, records: dict[str, Record], final: dict[str, Any]) -> None:
        """Writes result.json and the page, and says where to look."""
        config, source, members = self.config, self.setup.source, self.program.members
        # As noted at each start: the checkout may have moved on since.
        saved = json.loads((self.workdir / "config.json").read_text())
        starts = saved["starts"]
        labels = [(member.label, member.group) for member in members] if self.program.population else []
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
            **({"members": [label for label, _ in labels]} if labels else {}),
            **({"diverged": [members[i].label for i in sorted(self.dead)]} if self.dead else {}),
            "precision": {"networks": config.precision, "matrix products": config.matmul_precision},
            "data": {"name": source.name, "digest": source.digest, "examples": source.size, "shape": source.spec.shape},
            "metrics": results.summary(self.rows(), records, labels),
            **({"final": final} if final else {}),
        }
        try:
            manifest.write_json(self.workdir / "result.json", result)
            self.write_report({"when it was over": final, "on the way": result["metrics"]})
        except OSError as error:
            raise WriteError(
                f"cannot write the result to {self.workdir}: {error.strerror or error}. Mend that and give the same command again"
            ) from error
        look = f"Look at {' and '.join(map(str, self.drawn))}; all of it" if self.drawn else "See all of it"
        self.log.say(
            f"done: {step:,} steps in {self.log.seconds:.0f} s. {look} on one page: {self.workdir}/report.html"
        )


def show(recipe: Recipe, samples: PyTree, setup: Setup) -> Mapping[str, bytes]:
    """The files that show samples, by suffix: what is known of the rows is the batch that is shown, or of a number the
    labels, the classes in turn. ValueError for a file of another kind than SUFFIXES.
    """
    known: Batch = (
        {name: np.asarray(x) for name, x in setup.source.spec.blank(setup.shown).items() if name == "label"}
        if isinstance(setup.shown, int)
        else setup.shown
    )
    files = recipe.show(samples, known)
    if unknown := {*files} - {*SUFFIXES}:
        raise ValueError(f"show gave a file .{min(unknown)}: there are {', '.join(SUFFIXES)}")
    return files
