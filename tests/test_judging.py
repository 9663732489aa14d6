"""Human evaluation: the questions, the staircase, what answers amount to, and the file that keeps them."""

import json
import os
from collections import Counter

import numpy as np
import pytest

from gan_jax.evaluation import judging
from gan_jax.evaluation.judging import Plan
from gan_jax.types import UserError
from gan_jax.workdir.answers import Answers, read

SINGLE = Plan("infinity", 3, 20, ("real", "run"))
PAIR = Plan("pairs", 3, 6, ("one", "two", "three"))


# -- questions


def test_everybody_is_asked_the_same_in_another_order():
    ann, bob = SINGLE.trials("ann"), SINGLE.trials("bob")
    assert ann == SINGLE.trials("ann") and [one.item for one in ann] != [one.item for one in bob]
    for trials in (ann, bob):
        assert [one.number for one in trials] == [*range(50)] and [one.practice for one in trials] == [True] * 10 + [
            False
        ] * 40
        assert sorted(one.item for one in trials) == [*range(-10, 40)]
        shown = [one.shown[0] for one in trials]
        assert len({*shown}) == 50 and Counter(kind for kind, _ in shown[:10]) == {0: 5, 1: 5}
        assert Counter(kind for kind, _ in shown[10:]) == {0: 20, 1: 20}
        assert {index for _, index in shown} == {*range(SINGLE.needed)}
    assert {one.item: one.shown for one in ann} == {one.item: one.shown for one in bob}
    assert [one.item for one in Plan("infinity", 4, 20, ("real", "run")).trials("ann")] != [one.item for one in ann]


def test_pairs_of_every_two_on_both_sides():
    trials = PAIR.trials("ann")
    assert Counter(tuple(sorted(kind for kind, _ in one.shown)) for one in trials) == {(0, 1): 6, (0, 2): 6, (1, 2): 6}
    assert all(one.shown[0][1] == one.shown[1][1] < PAIR.needed for one in trials) and not any(
        one.practice for one in trials
    )
    many = Plan("pairs", 0, 400, ("one", "two")).trials("ann")
    assert 140 < sum(one.shown[0][0] == 0 for one in many) < 260  # 200 expected, with a deviation of 10


def test_what_was_shown_again_moves_no_staircase():
    again = {"item": 0, "right": True, "showings": 2}
    assert judging.exposure([again, {"item": 1, "right": True, "showings": 1}, again]) == 490


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([], 500),
        ([True], 490),
        ([False], 530),
        ([True] * 100, 100),
        ([False] * 100, 1_000),
        ([True, True, True, False], 500),
    ],
)
def test_the_staircase(right, expected):
    practice = [{"item": -1, "right": False}]
    assert judging.exposure(practice + [{"item": 0, "right": one} for one in right]) == expected


def test_the_staircase_settles_where_three_of_four_are_right():
    """A judge who is right with a probability that rises with the exposure, .75 at 300 ms."""
    rng, now, shown, rights = np.random.default_rng(0), judging.START, [], []
    for _ in range(4_000):
        shown.append(now)
        rights.append(bool(rng.random() < 0.5 + 0.5 / (1 + np.exp((300 - now) / 40))))
        now += judging.exposure([{"item": 0, "right": rights[-1]}]) - judging.START
        now = min(judging.LONGEST, max(judging.SHORTEST, now))
    assert abs(np.mean(shown[500:]) - 300) < 20 and abs(np.mean(rights[500:]) - 0.75) < 0.03


# -- what it amounts to


def answered(plan, judges, decide, **more):
    """Answers of judges to everything, by decide(judge, trial) -> the answer."""
    rows = []
    for name in judges:
        for trial in plan.trials(name):
            said = decide(name, trial)
            right = {"right": said == judging.truth(trial)} if len(trial.shown) == 1 else {}
            picked = {} if right else {"preferred": trial.shown[said == "right"][0]}
            rows.append({"judge": name, "number": trial.number, "item": trial.item, **right, **picked, **more})
    return rows


def test_error_rates_come_back():
    rng = np.random.default_rng(0)
    plan = Plan("infinity", 0, 100, ("real", "run"))

    def decide(name, trial):  # takes 40 % of the samples for real, and 10 % of the real images for generated
        truth = judging.truth(trial)
        other = "generated" if truth == "real" else "real"
        return other if rng.random() < {"real": 0.1, "generated": 0.4}[truth] else truth

    found = judging.found(plan, answered(plan, ("ann", "bob", "eve"), decide))
    for name, true in (("hype", 0.25), ("error_on_generated", 0.4), ("error_on_real", 0.1)):
        one = found["values"][name]
        assert one["low"] <= true <= one["high"] and one["high"] - one["low"] < 0.2, (name, one)
    assert found["answers"] == 600 and 0 < found["agreement"] < 1
    one = judging.found(plan, answered(plan, ("ann",), lambda _, trial: "real"))
    assert [one["values"][name]["value"] for name in ("hype", "error_on_generated", "error_on_real")] == [0.5, 1, 0]
    assert one["agreement"] is None


def test_exposures():
    plan = Plan("time", 0, 20, ("real", "run"))
    rows = [
        {**row, "exposure": 300 if row["judge"] == "ann" else 400}
        for row in answered(plan, ("ann", "bob"), lambda _, trial: "real")
    ]
    found = judging.found(plan, rows)
    assert found["values"]["hype_time"] == {"value": 350, "low": 300, "high": 400}
    alone = judging.found(plan, rows[:50])["values"]["hype_time"]
    assert alone == {"value": 300, "low": None, "high": None}  # of one judge there is no interval over judges
    assert found["exposures"] == {"ann": 300, "bob": 400} and found["values"]["hype"]["value"] == 0.5


def test_what_was_shown_again_is_not_counted():
    plan = Plan("time", 0, 20, ("real", "run"))
    rows = answered(plan, ("ann",), lambda _, trial: "real", exposure=300, showings=1)
    rows[-1] |= {"showings": 3, "exposure": 900}
    found = judging.found(plan, rows)
    assert (found["answers"], found["shown_again"]) == (39, 1) and "shown_again" not in judging.found(plan, rows[:-1])
    assert found["values"] == judging.found(plan, rows[:-1])["values"]


def test_preferences():
    """three is always preferred, and one is to two in 5 of 6."""

    def decide(_, trial):
        kinds = [kind for kind, _ in trial.shown]
        best = 2 if 2 in kinds else (1 if trial.shown[0][1] == 0 else 0)
        return ("left", "right")[kinds.index(best)]

    values = judging.found(PAIR, answered(PAIR, ("ann", "bob"), decide))["values"]
    assert values["two preferred to one"]["value"] == pytest.approx(1 / 6)
    assert values["three preferred to one"]["value"] == values["three preferred to two"]["value"] == 1
    scores = [values[f"score of {name}"]["value"] for name in ("two", "one", "three")]
    assert scores == sorted(scores) and sum(scores) == pytest.approx(0)


def test_without_answers_there_are_no_numbers():
    with pytest.raises(UserError, match="no answers yet"):
        judging.found(SINGLE, [{"judge": "ann", "item": -1, "right": True}])


# -- the file

ASKED = {"protocol": "infinity", "seed": 3, "count": 20, "contestants": ["real", "run"]}
ROW = {"judge": "ann", "number": 0, "item": -1}


def test_answers_are_kept_and_gone_on_with(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    with Answers(path, ASKED) as stored:
        stored.add(ROW)
        with pytest.raises(UserError, match="in use by another server"), Answers(path, ASKED):
            pass
        stored.add({**ROW, "number": 1})
    with path.open("a") as file:
        file.write('{"judge": "an')  # the machine went down here
    with Answers(path, ASKED) as stored:
        assert [row["number"] for row in stored.rows] == [0, 1]
        stored.add({**ROW, "number": 2})
    assert read(path)[0] == ASKED and [row["number"] for row in read(path)[1]] == [0, 1, 2]
    with pytest.raises(UserError, match=r"other questions: seed: 3, now 4"), Answers(path, {**ASKED, "seed": 4}):
        pass
    assert len(read(path)[1]) == 3


@pytest.mark.parametrize("content", ["mine", "[1]\n", '{"a": 1}\n', json.dumps(ASKED) + '\n{"x": 1}\n', "{}\nmine\n"])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_text(content)
    with pytest.raises(UserError, match="not a file of answers"), Answers(path, ASKED):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize("written", [0, 5])
def test_a_full_disk_takes_no_half_answers(tmp_path, monkeypatch, written):
    path, real = tmp_path / "a.jsonl", os.pwrite
    with Answers(path, ASKED) as stored:
        stored.add(ROW)

        def full(file, line, at):
            if written:
                return real(file, line[:written], at)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match=r"(?i)no space left"):
            stored.add({**ROW, "number": 1})
        assert read(path)[1] == stored.rows == [ROW]
        monkeypatch.setattr(os, "pwrite", real)
        stored.add({**ROW, "number": 1})
    assert len(read(path)[1]) == 2
