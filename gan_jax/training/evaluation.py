"""Measuring the generators of a run: during training, to choose the best checkpoint and to stop early, and once more at
the end.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gan_jax import game
from gan_jax.config import Run
from gan_jax.metrics import protocol
from gan_jax.system import processes
from gan_jax.training.program import Program
from gan_jax.types import Draw as DrawProtocol
from gan_jax.types import Evaluate, Record, Spec
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log, Value
from gan_jax.workdir.members import best_of, shown
from gan_jax.workdir.sampler import Draw, Programs, Sampler, weights

Records = dict[str, Record]
EARLY = "run/stopped_early"  # in the row after which the run stopped early; its value is that of --patience


def stopped(rows: Iterable[Mapping[str, Any]], step: int, patience: int) -> bool:
    """Returns whether the run stopped early at this step, and is not continued with more patience than it had then."""
    return any(row["step"] == step and 0 < patience <= row.get(EARLY, 0) for row in rows)


def samplers(config: Run, program: Program, spec: Spec) -> Callable[[game.State, int], Sampler]:
    """Returns a function of (state, member): the sampler of that member's averaged generator. All samplers share their
    compiled programs.
    """
    programs = Programs(
        lambda values: program.recipe(values).game,
        spec,
        program.population,
        config.precision,
        config.matmul_precision,
        program.replicated,
    )

    def stateless(values: Mapping[str, float]) -> Sampler:
        recipe = program.recipe(values)
        how = {"weights": weights(recipe.ema_decay), "batch_norm": "running averages"}
        traced = {name: np.float32(x) for name, x in values.items()}
        # The state and its generator are set by `sampler_of`.
        return Sampler(programs, None, None, 0, how, values=traced, recipe=recipe)  # type: ignore[arg-type]

    templates = [stateless(member.values) for member in program.members]

    def sampler_of(state: game.State, member: int) -> Sampler:
        return dataclasses.replace(templates[member], generator=state.ema, state=state, member=member)

    return sampler_of


class Evaluation:
    """The evaluation of a run since its last start: measures every member, and keeps track of the best value."""

    def __init__(
        self,
        config: Run,
        program: Program,
        sampler: Callable[[game.State, int], Sampler],
        evaluate: Evaluate | None,
        log: Log,
    ):
        self.program, self.sampler, self.evaluate, self.log = program, sampler, evaluate, log
        self.patience = config.patience
        self.name = config.best or (evaluate.names[0] if evaluate else "")  # chooses the best checkpoint
        # Of that metric: the best value with a checkpoint, and the number of members it is a mean of; None: not known.
        self._best: tuple[float, int] | None = None

    def forget(self) -> None:
        """Forgets the best value, whose checkpoint may not be on disk; `improved` then looks at all checkpoints."""
        self._best = None

    def measure(self, state: game.State, dead: set[int]) -> tuple[Records, dict[str, Value]]:
        """Evaluates the members that are not in `dead`, and prints the values, with a warning where one has collapsed.

        Returns the records of the first member that has some, and the values for the row of the log, "eval/NAME"; for a
        population these are lists, with None for dead members. Both are empty where the experiment measures nothing.
        """
        if self.evaluate is None:
            return {}, {}
        records, values = self._measure_members(self.evaluate.measure, "eval", state, dead)
        self.log.say(f"step {_step(state):,}: " + _summary(values))
        self._warn(records, values)
        return records, values

    def improved(
        self,
        step: int,
        records: Records,
        row: Mapping[str, Value],
        rows: Callable[[], list[dict[str, Any]]],
        checkpoints: Checkpoints,
    ) -> tuple[str, float] | None:
        """Returns the metric of --best and its value, of a population the mean, where it is the best so far; else None.

        It must be better than at every other checkpoint, and a mean of at least as many members. `row` has the values
        of this step; `rows` reads the log.
        """
        if self.evaluate is None:
            return None
        higher = bool(records[self.name].higher_is_better)
        if self._best is None:
            saved_steps = {*checkpoints.steps()} - {step}
            for old in processes.on_main(rows):
                if old["step"] in saved_steps and f"eval/{self.name}" in old:
                    self._best = best_of(self._best, old[f"eval/{self.name}"], higher) or self._best
        better = best_of(self._best, row[f"eval/{self.name}"], higher)
        if better is None:
            return None
        self._best = better
        return self.name, better[0]

    def over(self, rows: list[dict[str, Any]], records: Records) -> bool:
        """Returns whether the metric of --best has not improved in the last --patience evaluations of these rows."""
        values = [row[f"eval/{self.name}"] for row in rows if f"eval/{self.name}" in row]
        if not self.patience or len(values) <= self.patience:
            return False
        best, best_index = None, 0
        for i, value in enumerate(values):
            if better := best_of(best, value, bool(records[self.name].higher_is_better)):
                best, best_index = better, i
        return len(values) - 1 - best_index >= self.patience

    def final(self, state: game.State, what: str, dead: set[int]) -> tuple[Records, dict[str, Value]]:
        """Evaluates with more samples, otherwise as `measure`. `what`, "final" or "best", names the checkpoint, and the
        values are "WHAT/NAME". Both results are empty where the experiment has no final evaluation.
        """
        if self.evaluate is None or self.evaluate.final is None:
            return {}, {}
        records, values = self._measure_members(self.evaluate.final, what, state, dead)
        self.log.say(f"the {what} checkpoint, of step {_step(state):,}: " + _summary(values))
        return records, values

    def _measure_members(
        self, measure: Callable[[DrawProtocol], Records], what: str, state: game.State, dead: set[int]
    ) -> tuple[Records, dict[str, Value]]:
        each: list[Records] = []
        for i in range(len(self.program.members)):
            draw = Draw(self.sampler(state, i))
            each.append({} if i in dead else protocol.completed(measure(draw), draw.how))
        records: Records = next(filter(None, each), {})
        lists = {f"{what}/{name}": [one[name].value if one else None for one in each] for name in records}
        values: Any = lists if self.program.population else {name: value[0] for name, value in lists.items()}
        return records, processes.broadcast(values)  # machines may differ in the last digit, and decisions depend on it

    def _warn(self, records: Records, values: Mapping[str, Value]) -> None:
        value: Any = values.get("eval/collapsed", 0.0)
        flags = value if isinstance(value, list) else [value]
        if labels := [self.program.members[i].label for i, flag in enumerate(flags) if flag]:
            who = "; ".join(labels) if self.program.population else "the generator"
            self.log.say(f"warning: collapsed: {who} ({records['collapsed'].protocol.get('rule', '')})")


def _step(state: game.State) -> int:
    return int(state.step.reshape(-1)[0])


def _summary(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.split('/')[1]} {shown(value)}" for name, value in values.items())
