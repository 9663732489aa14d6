"""Human evaluation: what is shown to each judge in which order, and what the answers amount to.

Four protocols. "infinity" and "time" are those of HYPE (Zhou et al. 2019, arXiv:1904.01121): a judge says of one image
at a time whether it is real or generated, with all the time that is wanted, or after an exposure that a staircase makes
shorter where answers are right and longer where they are wrong. "pairs" is a two-alternative forced choice: which of two
images, of two contestants, looks more real. "classes" asks of one at a time which class it is: of spoken digits the measure of the field (Donahue et al. 2019,
arXiv:1802.04208, section 6).
"""

import dataclasses
import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax.metrics import human
from gan_jax.types import UserError

INFINITY, TIME, PAIRS, CLASSES = "infinity", "time", "pairs", "classes"
# Real images and as many samples; of pairs, of every two contestants.
COUNT = {INFINITY: 50, TIME: 75, PAIRS: 50, CLASSES: 50}
PRACTICE = 5  # real images and as many samples, with feedback, which do not count
REAL = "real"  # the first contestant, where it is one

# The staircase, in ms: it settles where 3 of 4 answers are right, since it then falls as much as it rises (Kaernbach
# 1991, weighted up-down).
START, SHORTEST, LONGEST, DOWN, UP = 500, 100, 1_000, 10, 30


class Trial(NamedTuple):
    """One question: an image, or two, from left to right."""

    number: int  # in the order of its judge, from 0
    item: int  # the same for all judges; -1 - i for practice
    shown: tuple[tuple[int, int], ...]  # (contestant, index of its image)

    @property
    def practice(self) -> bool:
        return self.item < 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is asked, of everybody the same questions, in an order of one's own."""

    protocol: str
    seed: int
    count: int
    contestants: tuple[str, ...]  # REAL and a run; of pairs also several runs without real images

    @property
    def needed(self) -> int:
        """The number of images of each contestant."""
        return self.count * len(self.pairs) if self.protocol == PAIRS else self.count + PRACTICE

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two contestants."""
        return [*itertools.combinations(range(len(self.contestants)), 2)]

    @property
    def items(self) -> list[tuple[tuple[int, int], ...]]:
        """What each item shows. In a pair both have the same index, and so, of conditional generators, the same class."""
        if self.protocol != PAIRS:
            return [((kind, i),) for i in range(self.count) for kind in (0, 1)]
        return [
            ((i, place * self.count + n), (j, place * self.count + n))
            for place, (i, j) in enumerate(self.pairs)
            for n in range(self.count)
        ]

    def trials(self, judge: str) -> list[Trial]:
        """Returns the questions for a judge: practice, then all items, in an order that follows from seed and name."""
        rng = np.random.default_rng([self.seed, zlib.crc32(judge.encode())])
        trials = []
        if self.protocol != PAIRS:
            shown = [((kind, self.count + i),) for i in range(PRACTICE) for kind in (0, 1)]
            trials = [Trial(n, -1 - int(i), shown[i]) for n, i in enumerate(rng.permutation(len(shown)))]
        items = self.items
        for item in rng.permutation(len(items)):
            sides = items[item] if rng.random() < 0.5 else items[item][::-1]
            trials.append(Trial(len(trials), int(item), sides))
        return trials


def truth(trial: Trial, labels: Sequence[str] = ()) -> str:
    """Of a single image "real" or "generated" or, with the `labels` of what is shown, its own."""
    if labels:
        return labels[trial.shown[0][1]]
    return REAL if trial.shown[0][0] == 0 else "generated"


def exposure(answers: Sequence[Mapping[str, Any]]) -> int:
    """Returns the exposure of a judge's next image, in ms, after these answers, in their order. Practice counts not, nor do
    images that were shown more than once.
    """
    now = START
    for answer in answers:
        if answer["item"] >= 0 and answer.get("showings", 1) < 2:
            now = min(LONGEST, max(SHORTEST, now + (-DOWN if answer["right"] else UP)))
    return now


def found(plan: Plan, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what the answers amount to: values with intervals of 95 %, of whom and of how many. Practice is left out,
    and under "time" images that were shown more than once before the answer, whose number is "shown_again". Raises
    UserError where there are none.
    """
    answers = [answer for answer in answers if answer["item"] >= 0]
    given = len(answers)
    answers = [answer for answer in answers if answer.get("showings", 1) < 2]  # whose exposure is known
    judges = sorted({answer["judge"] for answer in answers})
    if not answers:
        raise UserError("there are no answers yet")
    out: dict[str, Any] = {"judges": judges, "answers": len(answers), "values": {}, "agreement": None}
    if given > len(answers):
        out["shown_again"] = given - len(answers)
    count = len(plan.items)
    if plan.protocol == PAIRS:
        return out | _of_pairs(plan, answers, judges, count)
    wrong = human.matrix([{**one, "wrong": not one["right"]} for one in answers], judges, count, "wrong")
    real = np.array([shown[0][0] == 0 for shown in plan.items])
    if plan.protocol == CLASSES:
        out["values"] = {
            f"right_on_{name}": _interval(human.rate(1 - part, plan.seed))
            for name, part in (("generated", wrong[:, ~real]), ("real", wrong[:, real]))
            if not np.isnan(part).all()
        }
        out["agreement"] = _number(human.agreement(wrong))
        return out
    values = {"hype": wrong, "error_on_generated": wrong[:, ~real], "error_on_real": wrong[:, real]}
    for name, part in values.items():
        if not np.isnan(part).all():
            out["values"][name] = _interval(human.rate(part, plan.seed))
    said_real = np.where(real, 1 - wrong, wrong)
    out["agreement"] = _number(human.agreement(said_real))
    if plan.protocol == TIME:
        each = [human.modal([one["exposure"] for one in answers if one["judge"] == judge]) for judge in judges]
        over = human.bootstrapped(lambda counts, _: float(counts @ each / counts.sum()), (len(each), 1), plan.seed)
        over = over if len(each) > 1 else human.Interval(over.value, math.nan, math.nan)
        out["values"] = {"hype_time": _interval(over), **out["values"]}
        out["exposures"] = dict(zip(judges, each, strict=True))
    return out


def _of_pairs(plan: Plan, answers: Sequence[Mapping[str, Any]], judges: Sequence[str], count: int) -> dict[str, Any]:
    items = plan.items
    firsts = np.array([item[0][0] for item in items])
    seconds = np.array([item[1][0] for item in items])
    chosen = [{**one, "first": float(one["preferred"] == items[one["item"]][0][0])} for one in answers]
    preferred = human.matrix(chosen, judges, count, "first")
    scored = human.scores(firsts, seconds, preferred, len(plan.contestants), plan.seed)
    values = {f"score of {name}": _interval(one) for name, one in zip(plan.contestants, scored, strict=True)}
    for i, j in dict.fromkeys(zip(firsts.tolist(), seconds.tolist(), strict=True)):
        part = preferred[:, (firsts == i) & (seconds == j)]
        if not np.isnan(part).all():
            name = f"{plan.contestants[j]} preferred to {plan.contestants[i]}"
            values[name] = _interval(human.rate(1 - part, plan.seed))
    return {"values": values, "agreement": _number(human.agreement(preferred))}


def _interval(one: human.Interval) -> dict[str, float | None]:
    return {"value": _number(one.value), "low": _number(one.low), "high": _number(one.high)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
