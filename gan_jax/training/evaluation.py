"""How a run measures its generators: on the way, which is best, whether it still improves, and once more at the end."""

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
from gan_jax.types import Evaluate, Record
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log, Value
from gan_jax.workdir.members import best_of, shown
from gan_jax.workdir.sampler import Draw, Programs, Sampler, weights

Records = dict[str, Record]
EARLY = "run/stopped_early"  # stands in the row after which --patience, its value, ended the run


def stopped(rows: Iterable[Mapping[str, Any]], step: int, patience: int) -> bool:
    """Whether the run ended early at this step, and more patience has not been asked for since."""
    return any(row["step"] == step and 0 < patience <= row.get(EARLY, 0) for row in rows)


def samplers(config: Run, program: Program, spec: Any) -> Callable[[game.State, int], Sampler]:
    """(state, member) -> the sampler of that member's averaged generator; all share one compiled program."""
    programs = Programs(
        lambda values: program.recipe(values).game,
        spec,
        program.population,
        config.precision,
        config.matmul_precision,
        program.replicated,
    )

    def first(values: Mapping[str, float]) -> Sampler:
        recipe = program.recipe(values)
        how = {"weights": weights(recipe.ema_decay), "batch_norm": "running averages"}
        traced = {name: np.float32(x) for name, x in values.items()}
        return Sampler(programs, None, None, 0, how, values=traced, recipe=recipe)  # type: ignore[arg-type]  # no state yet

    own = [first(member.values) for member in program.members]

    def of(state: game.State, member: int) -> Sampler:
        return dataclasses.replace(own[member], generator=state.ema, state=state, member=member)

    return of


class Evaluation:
    """The measures of one start of one run."""

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
        self.name = config.best or (evaluate.names[0] if evaluate else "")  # by which the best checkpoint is chosen
        # Of that metric: the best value on disk, and how many members it is of.
        self._best: tuple[float, int] | None = None

    def forget(self) -> None:
        """What was best may not be on disk: it is found anew among the checkpoints."""
        self._best = None

    def measure(self, state: game.State, dead: set[int]) -> tuple[Records, dict[str, Value]]:
        """The records, of the first member that has some, and the row's values."""
        if self.evaluate is None:
            return {}, {}
        records, values = self._measured(self.evaluate.measure, "eval", state, dead)
        self.log.say(f"step {_step(state):,}: " + _told(values))
        self._warn(records, values)
        return records, values

    def improved(
        self,
        step: int,
        records: Records,
        row: Mapping[str, Value],
        rows: Callable[[], list[Any]],
        checkpoints: Checkpoints,
    ) -> tuple[str, float] | None:
        """The metric of --best and its value, if it is better than of every checkpoint before, and of as many members."""
        if self.evaluate is None:
            return None
        higher = bool(records[self.name].higher_is_better)
        if self._best is None:
            kept = {*checkpoints.steps()} - {step}
            for old in processes.on_main(rows):
                if old["step"] in kept and f"eval/{self.name}" in old:
                    self._best = best_of(self._best, old[f"eval/{self.name}"], higher) or self._best
        now = best_of(self._best, row[f"eval/{self.name}"], higher)
        if now is None:
            return None
        self._best = now
        return self.name, now[0]

    def over(self, rows: list[dict[str, Any]], records: Records) -> bool:
        """Whether the metric of --best has not improved in the last --patience evaluations of these rows."""
        values = [row[f"eval/{self.name}"] for row in rows if f"eval/{self.name}" in row]
        if not self.patience or len(values) <= self.patience:
            return False
        best, at = None, 0
        for i, value in enumerate(values):
            if now := best_of(best, value, bool(records[self.name].higher_is_better)):
                best, at = now, i
        return len(values) - 1 - at >= self.patience

    def final(self, state: game.State, what: str, dead: set[int]) -> tuple[Records, dict[str, Value]]:
        """With more samples: `what` is "final" or "best"."""
        if self.evaluate is None or self.evaluate.final is None:
            return {}, {}
        records, values = self._measured(self.evaluate.final, what, state, dead)
        self.log.say(f"the {what} checkpoint, of step {_step(state):,}: " + _told(values))
        return records, values

    def _measured(
        self, measure: Callable[[DrawProtocol], Records], what: str, state: game.State, dead: set[int]
    ) -> tuple[Records, dict[str, Value]]:
        each: list[Records] = []
        for i in range(len(self.program.members)):
            draw = Draw(self.sampler(state, i))
            each.append({} if i in dead else protocol.completed(measure(draw), draw.how))
        records: Records = next(filter(None, each), {})
        lists = {f"{what}/{name}": [one[name].value if one else None for one in each] for name in records}
        values: Any = lists if self.program.population else {name: value[0] for name, value in lists.items()}
        return records, processes.broadcast(values)  # machines may differ in the last digit, and decisions hang on it

    def _warn(self, records: Records, values: Mapping[str, Value]) -> None:
        found: Any = values.get("eval/collapsed", 0.0)
        flags = found if isinstance(found, list) else [found]
        if collapsed := [self.program.members[i].label for i, flag in enumerate(flags) if flag]:
            who = "; ".join(collapsed) if self.program.population else "the generator"
            self.log.say(f"warning: collapsed: {who} ({records['collapsed'].protocol.get('rule', '')})")


def _step(state: game.State) -> int:
    return int(state.step.reshape(-1)[0])


def _told(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.split('/')[1]} {shown(value)}" for name, value in values.items())
