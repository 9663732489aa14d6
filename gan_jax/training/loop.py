"""One start of a run: plays the rounds, writes rows, pictures and checkpoints on the way, and deals with what goes wrong."""

import collections
import contextlib
import functools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import game
from gan_jax.config import PLACE, Run
from gan_jax.system import processes
from gan_jax.system.signals import Stop
from gan_jax.training import evaluation, monitors
from gan_jax.training.evaluation import Evaluation
from gan_jax.training.program import Fault, Program
from gan_jax.training.sampling import Samples
from gan_jax.types import Evaluate, Record, Source, UserError, WriteError
from gan_jax.workdir import manifest, pictures, report
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log, Value, read_rows
from gan_jax.workdir.retry import Retry

INFLIGHT = 8  # rounds that may be queued on the device: enough to keep it busy, few enough that a stop is prompt
PATIENCE = 3  # times that a run goes back to one checkpoint before it gives up


class Trainer:
    """One start of one run."""

    def __init__(
        self,
        config: Run,
        rounds: Program,
        source: Source,
        samples: Samples,
        evaluate: Evaluate | None,
        picture: Callable[[np.ndarray], np.ndarray],
        pictured: int,
        workdir: Path,
        log: Log,
        checkpoints: Checkpoints,
    ):
        self.config, self.rounds, self.source, self.evaluate = config, rounds, source, evaluate
        self.picture, self.pictured, self.samples = picture, pictured, samples
        self.workdir, self.log, self.checkpoints = workdir, log, checkpoints
        silent = not processes.is_main()
        self.rows_out = Retry(workdir / "metrics.jsonl", log.say, silent)
        self.pictures = Retry(workdir / "samples", log.say, silent)  # of its own: what cannot be drawn stops no row
        self.rollbacks: list[dict[str, int]] = processes.on_main(lambda: manifest.rollbacks(workdir))
        self.dead: set[int] = set()  # members that have diverged
        self.unsaved = False  # whether a save has failed, and none is on disk since
        self.saving: int | None = None  # the step that is being saved, or was last
        self.wanted: tuple[int, tuple[str, float] | None] = (
            0,
            None,
        )  # the last step to be saved, and whether as the best
        self.judge = Evaluation(config, rounds, samples, evaluate, log)
        self.warned: set[str] = set()

    def play(self, state: game.State, first_fault: jax.Array, start: int, stop: Stop) -> game.State:
        config, log, rounds = self.config, self.log, self.rounds
        alone = jax.process_count() == 1
        queue: collections.deque = collections.deque()
        records: dict[str, Record] = {}
        step, stopping, end = start, 0, config.steps
        self.forget_after(start)
        if processes.on_main(lambda: evaluation.stopped(self.rows(), start, config.patience)):
            end = start
        if start == 0:
            self.draw(state, 0)
        while step < end:
            count = min(rounds.rounds_a_call, self.until_due(step))
            stop_here = None if alone else stop.asked
            state, first_fault, metrics, stop_anywhere = rounds.play(
                state, first_fault, step, count, self.attempt(step), stop_here
            )
            step += count
            queue.append((metrics, stop_anywhere))
            if len(queue) > max(1, INFLIGHT // rounds.rounds_a_call):
                _, stop_anywhere = jax.block_until_ready(queue.popleft())  # an old step, never the one just queued
                stopping = stopping or (0 if stop_anywhere is None else int(stop_anywhere))
            log.tick(step)
            last = step == config.steps
            logging, measuring, drawing, saving = (
                last or _due(step, every)
                for every in (config.log_every, config.evaluate_every, config.sample_every, config.checkpoint_every)
            )
            stopping = stop.asked if alone else stopping
            leaving = bool(stopping) and not last
            if not (logging or measuring or drawing or saving or leaving):
                continue
            faults = rounds.faults(first_fault)
            if self.diverged(faults):
                del state, first_fault, metrics  # there may be no room for two
                queue.clear()
                state, first_fault, step = self.go_back(faults)
                continue
            row: dict[str, Value] = {}
            if logging:
                row |= self.fetch(step, metrics)
                log.progress(step, monitors.main_values(row))
                self.warn(row)
                self.poll()
            better = None
            if measuring:
                records = self.measure(step, (state, first_fault), row)
                better = self.improved(step, records, row)
                if not last and self.judge.over([*processes.on_main(self.rows), row], records):
                    end, row[evaluation.EARLY] = step, float(config.patience)
                    last = drawing = saving = True
                    log.say(
                        f"{self.judge.name} has not improved in {config.patience} evaluations: stopping at step {step:,}"
                    )
            if row:
                self.write_row(step, row)
            if drawing:
                self.draw(state, step)
            if alone and stop.asked and not last:  # since then: evaluating takes its time
                leaving, stopping = True, stop.asked
            if saving or leaving or better or (logging and self.unsaved):
                self.save(step, (state, first_fault), better)
                self.try_report()
            if leaving:
                self.settle(step, (state, first_fault))
                log.say(f"stopped at step {step:,} of {config.steps:,}, saved. To go on: {manifest.command(config)}")
                stop.leave(stopping)
        if start == end:  # all was played, but the run ended before its result was written
            self.diverged(rounds.faults(first_fault))
            measured: dict[str, Value] = {}
            records = self.measure(start, (state, first_fault), measured)
            if measured and not any(row["step"] == start and measured.keys() <= row.keys() for row in self.rows()):
                self.write_row(start, measured)
            self.draw(state, start)
            self.save(start, (state, first_fault), self.improved(start, records, measured))
        self.settle(step, (state, first_fault))
        final = self.last_measures(step, state)
        if processes.is_main():
            self.finish(step, records, final)
        return state

    def until_due(self, step: int) -> int:
        """Program until something is to be done between two of them."""
        config = self.config
        every = (config.log_every, config.evaluate_every, config.sample_every, config.checkpoint_every)
        turns = [back["to"] - step for back in self.rollbacks if back["to"] > step]
        return min([config.steps - step, *turns, *(n - step % n for n in every if n)])

    def attempt(self, step: int) -> int:
        """Which data order and noise the round after `step` has: another one after each return to a checkpoint."""
        return sum(back["to"] <= step for back in self.rollbacks)

    # -- values

    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.workdir / "metrics.jsonl")

    def fetch(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, Value]:
        """The metrics as numbers, of a population as lists, None for a member that has diverged."""
        taken = step % self.config.log_every == 0  # the norms, which other rounds do not compute
        metrics = {name: value for name, value in metrics.items() if taken or not name.endswith("_norm")}
        values = jax.device_get(metrics)
        if not self.rounds.population:
            return {name: float(value) for name, value in values.items()}
        return {
            name: [None if i in self.dead else float(one) for i, one in enumerate(value)]
            for name, value in values.items()
        }

    def measure(self, step: int, saved: tuple, row: dict[str, Value]) -> dict[str, Record]:
        """Evaluates, and adds the values to `row`. Should that fail, what was trained is saved first."""
        try:
            records, values = self.judge.measure(saved[0], self.dead)
        except Exception as error:
            if processes.peer_lost(error):
                raise
            if row:
                self.write_row(step, row)
            self.settle(step, saved)
            raise UserError(
                f"the evaluation at step {step} failed: {error!r}; the run is saved at that step"
            ) from error
        row |= values
        return records

    def improved(self, step: int, records: dict[str, Record], row: Mapping[str, Value]) -> tuple[str, float] | None:
        return self.judge.improved(step, records, row, self.rows, self.checkpoints)

    def last_measures(self, step: int, state: game.State) -> dict[str, Any]:
        """With more samples, of the last checkpoint and of the best; their row is written once."""
        records, row = self.judge.final(state, "final", self.dead)
        if not records:
            return {}
        best_step = self.checkpoints.best
        if best_step is None or best_step == step:
            best_step, best = step, {f"best/{name.split('/')[1]}": value for name, value in row.items()}
        else:
            saved, first_fault = self.checkpoints.restore(best_step, (self.rounds.like, self.rounds.like_first_fault))
            lost = {i for i, fault in enumerate(self.rounds.faults(first_fault)) if fault}
            _, best = self.judge.final(saved, "best", lost)
        if not any(row.keys() <= old.keys() for old in processes.on_main(self.rows) if old["step"] == step):
            self.write_row(step, {**row, **best})
            processes.on_main(self.rows_out.close)
        return manifest.final(records, row, best, best_step)

    def warn(self, row: Mapping[str, Value]) -> None:
        """Each kind of warning once a start."""
        for kind, text in monitors.warnings(row).items():
            if kind not in self.warned:
                self.warned.add(kind)
                self.log.say(f"warning: {text}")

    def write_row(self, step: int, row: dict[str, Value]) -> None:
        if attempt := self.attempt(step - 1):
            row = {**row, "run/rollbacks": attempt}
        entry = self.log.entry(step, row)
        self.rows_out.write(lambda: self.log.write(entry))

    # -- faults

    def diverged(self, faults: list[Fault | None]) -> bool:
        """Whether nothing is left to train. A member of a population that is lost is told of once."""
        for i, fault in enumerate(faults):
            if fault and i not in self.dead:
                self.dead.add(i)
                if self.rounds.population:
                    self.log.say(
                        f"warning: {self.rounds.members[i].label} has diverged: {fault.what} is not finite at step {fault.step:,}; it is left out from here on"
                    )
        return len(self.dead) == len(faults)

    def go_back(self, faults: list[Fault | None]) -> tuple[game.State, jax.Array, int]:
        """The state of the last good checkpoint, which is then played on with another attempt; UserError where the user
        wants the run to stop, or where it came back too often.
        """
        fault = max(fault for fault in faults if fault)  # of a population the last to be lost
        with contextlib.suppress(WriteError):  # what could not be saved is not gone back to
            self.checkpoints.wait()
        to = processes.on_main(lambda: self.checkpoints.sound(self.log.say)) or 0
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
        processes.on_main(lambda: self.noted(fault.step, to))
        self.dead.clear()
        self.judge.best = None
        self.forget_after(to)
        self.log.say(f"{text}: going back to step {to:,}, with new data order and noise ({self.attempt(to)})")
        if not to:
            return self.rounds.fresh(), self.rounds.no_fault(), 0
        return (*self.checkpoints.restore(to, (self.rounds.like, self.rounds.like_first_fault)), to)

    def noted(self, step: int, to: int) -> None:
        self.rows_out.close()
        try:
            manifest.note_rollback(self.workdir, step, to)
            self.log.rewind(to)
        except OSError as error:
            raise WriteError(f"cannot write to {self.workdir}: {error.strerror or error}") from error

    def forget_after(self, step: int) -> None:
        """Removes the pictures of steps that will be played again."""
        for path in (self.workdir / "samples").glob("*.png") if processes.is_main() else ():
            if (drawn := re.fullmatch(r"(\d{8,})(_.*)?", path.stem)) and int(drawn[1]) > step:
                with contextlib.suppress(OSError):
                    path.unlink()

    # -- saving

    def poll(self) -> None:
        """Tells of a save that has failed in the background, or that is on disk after one that failed."""
        try:
            self.checkpoints.poll()
        except WriteError as error:
            self.save_failed(error)
        self.tell_saved()

    def tell_saved(self) -> None:
        if self.unsaved and self.saving is not None and self.checkpoints.latest == self.saving:
            self.log.say(f"saved again, at step {self.saving:,}")
            self.unsaved = False

    def save(self, step: int, saved: tuple, best: tuple[str, float] | None = None) -> None:
        """Begins to save; a failure is told, and the next row of the log tries again. Nothing is saved before the rows
        until then are written: a resumed run would miss them.
        """
        self.wanted = step, best
        try:
            if processes.on_main(self.rows_out.flush):
                processes.on_main(self.log.sync)
                self.checkpoints.save(step, saved, best)
                self.saving = step
                return
        except WriteError as error:
            self.save_failed(error)
        self.unsaved, self.judge.best = True, None if best else self.judge.best

    def save_failed(self, error: WriteError) -> None:
        if jax.process_count() > 1:  # the others may have succeeded, and would wait for this one
            raise error
        if not self.unsaved:
            self.log.say(f"warning: {error}. Training goes on, and saving is tried again with each row of the log")
        self.unsaved, self.saving, self.judge.best = True, None, None

    def settle(self, step: int, saved: tuple) -> None:
        """Waits until `step` is saved, and all rows and pictures are; WriteError where that cannot be done."""
        processes.on_main(self.rows_out.close)
        best = self.wanted[1] if self.wanted[0] == step else None
        if self.saving != step:
            self.save(step, saved, best)
        try:
            self.checkpoints.wait()
        except WriteError as error:
            self.save_failed(error)
        if self.saving != step:
            self.checkpoints.save(step, saved, best)
            self.saving = step
            self.checkpoints.wait()
        self.tell_saved()
        processes.on_main(self.pictures.close)

    # -- what a person looks at

    def draw(self, state: game.State, step: int) -> None:
        for i, member in enumerate(self.rounds.members):
            if i in self.dead:
                continue
            drawn = self.samples.draw(state, i, 2, self.pictured)
            if processes.is_main():
                name = f"{step:08d}_{member.stem}.png" if self.rounds.population else f"{step:08d}.png"
                save = functools.partial(pictures.save_png, self.workdir / "samples" / name, self.picture(drawn))
                self.pictures.write(save)

    def try_report(self) -> None:
        """The page is made of what is kept beside it: where it cannot be written now, it is the next time."""
        if processes.is_main():
            with contextlib.suppress(OSError, UserError):
                self.write_report()

    def write_report(self, measured: Mapping[str, Any] | None = None) -> None:
        saved = json.loads((self.workdir / "config.json").read_text())
        pictures = sorted((self.workdir / "samples").glob("*.png"))
        text = report.page(saved["experiment"].rsplit(".", 1)[-1], saved, self.rows(), pictures, measured or {})
        part = self.workdir / "report.part"
        part.write_text(text)
        part.replace(self.workdir / "report.html")

    def finish(self, step: int, records: dict[str, Record], final: dict[str, Any]) -> None:
        config, source, members = self.config, self.source, self.rounds.members
        # As noted at each start: the checkout may have moved on since.
        saved = json.loads((self.workdir / "config.json").read_text())
        starts = saved["starts"]
        labels = [(member.label, member.group) for member in members] if self.rounds.population else []
        result = {
            "name": manifest.module_name(type(config)).rsplit(".", 1)[-1],
            "command": manifest.command(config, PLACE),
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
            "metrics": manifest.summary(self.rows(), records, labels),
            **({"final": final} if final else {}),
        }
        try:
            manifest.write_json(self.workdir / "result.json", result)
            self.write_report({"when it was over": final, "on the way": result["metrics"]})
        except OSError as error:
            raise WriteError(
                f"cannot write the result to {self.workdir}: {error.strerror or error}. Mend that and give the same command again"
            ) from error
        alive = [member for i, member in enumerate(members) if i not in self.dead]
        shown = f"_{alive[0].stem}" if labels else ""
        picture = f"{self.workdir}/samples/{step:08d}{shown}.png"
        self.log.say(
            f"done: {step:,} steps in {self.log.seconds:.0f} s. Look at {picture}; all of it on one page: {self.workdir}/report.html"
        )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
