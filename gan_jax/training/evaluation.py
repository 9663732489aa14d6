"""How a run measures its generators: on the way, which is best, whether it still improves, and once more at the end."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gan_jax import game
from gan_jax.config import Run
from gan_jax.metrics import protocol
from gan_jax.system import processes
from gan_jax.training.program import Program
from gan_jax.training.sampling import Samples
from gan_jax.types import Draw, Evaluate, Record
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log, Value
from gan_jax.workdir.members import best_of, shown

Records = dict[str, Record]
EARLY = "run/stopped_early"  # stands in the row after which --patience, its value, ended the run


def stopped(rows: Iterable[Mapping[str, Any]], step: int, patience: int) -> bool:
    """Whether the run ended early at this step, and more patience has not been asked for since."""
    return any(row["step"] == step and 0 < patience <= row.get(EARLY, 0) for row in rows)


class Evaluation:
    """The measures of one start of one run."""

    def __init__(self, config: Run, rounds: Program, samples: Samples, evaluate: Evaluate | None, log: Log):
        self.rounds, self.samples, self.evaluate, self.log = rounds, samples, evaluate, log
        self.patience = config.patience
        self.name = config.best or (evaluate.names[0] if evaluate else "")  # by which the best checkpoint is chosen
        # Of that metric: the best value on disk, and how many members it is of.
        self.best: tuple[float, int] | None = None

    def measure(self, state: game.State, dead: set[int]) -> tuple[Records, dict[str, Value]]:
        """The records, of the first member that has some, and the row's values."""
        if self.evaluate is None:
            return {}, {}
        records, values = self._measured(self.evaluate.measure, "eval", state, dead)
        self.log.say(f"step {int(_first(state.step)):,}: " + _told(values))
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
        if self.best is None:
            kept = {*checkpoints.steps()} - {step}
            for old in processes.on_main(rows):
                if old["step"] in kept and f"eval/{self.name}" in old:
                    self.best = best_of(self.best, old[f"eval/{self.name}"], higher) or self.best
        now = best_of(self.best, row[f"eval/{self.name}"], higher)
        if now is None:
            return None
        self.best = now
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
        self.log.say(f"the {what} checkpoint, of step {int(_first(state.step)):,}: " + _told(values))
        return records, values

    def _measured(
        self, measure: Callable[[Draw], Records], what: str, state: game.State, dead: set[int]
    ) -> tuple[Records, dict[str, Value]]:
        each: list[Records] = []
        for i in range(len(self.rounds.members)):
            draw = functools.partial(self.samples.draw, state, i, 0)
            each.append({} if i in dead else measure(draw))
            protocol.require(each[-1])
        records: Records = next(filter(None, each), {})
        lists = {f"{what}/{name}": [one[name].value if one else None for one in each] for name in records}
        values: Any = lists if self.rounds.population else {name: value[0] for name, value in lists.items()}
        return records, processes.broadcast(values)  # machines may differ in the last digit, and decisions hang on it

    def _warn(self, records: Records, values: Mapping[str, Value]) -> None:
        found: Any = values.get("eval/collapsed", 0.0)
        flags = found if isinstance(found, list) else [found]
        if collapsed := [self.rounds.members[i].label for i, flag in enumerate(flags) if flag]:
            who = "; ".join(collapsed) if self.rounds.population else "the generator"
            self.log.say(f"warning: collapsed: {who} ({records['collapsed'].protocol.get('rule', '')})")


def _first(step: Any) -> Any:
    return step.reshape(-1)[0]


def _told(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.split('/')[1]} {shown(value)}" for name, value in values.items())
