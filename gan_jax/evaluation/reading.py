"""Measures of lines of text: n-grams beside those of lines held out, and how many lines are new."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.data.ondisk import digest_of
from gan_jax.data.texts import Lines, encoded
from gan_jax.metrics.ngrams import NGrams, jensen_shannon, shares
from gan_jax.types import Draw, Evaluate, PyTree, Record

ORDERS = (1, 2, 3, 4, 5)
JUDGE = 5  # n of the n-grams whose model says how likely lines are
MOST = 3_000  # lines of each set
TEMPERATURES = (0.7, 0.85, 1.15)  # beside 1


def measures(
    learnt: Lines,
    test: Lines,
    lines_of: Callable[[PyTree], Sequence[str]],
    *,
    likely: bool = False,
    first: str = "nll",
) -> Evaluate:
    """Returns the measures of a generator of lines, as many as are held out, at most 3,000: "js_3" and others, Jensen-Shannon
    divergences of n-grams from those of `test` (`metrics.ngrams`), the shares "distinct", "copied" (of those that were learnt) and
    "found" (of those held out), and "nll_5_grams", how unlikely the lines are to 5-grams of what was learnt, in nats a character, which
    is neither good nor bad. With `likely` G is a game's of sequences (`games.sequence`), and there is "nll": how unlikely the lines
    held out are to it, in nats a character, an end counted as one. When the run is over, all that is measured at TEMPERATURES, too:
    "js_3_at_0.7" and others. The best checkpoint is then chosen by `first`.

    Protocols hold as "answers" the values of as many lines that were learnt ("real"), of 2-grams and 5-grams of these, and of
    their characters in another order ("shuffled").
    """
    held = list(test.lines[:MOST])
    judge = NGrams(learnt.lines, JUDGE, learnt.alphabet, learnt.ends)

    def values(lines: Sequence[str]) -> dict[str, float]:
        found = {f"js_{n}": jensen_shannon(lines, held, n) for n in ORDERS}
        return {**found, **shares(lines, learnt.lines, test.lines), "nll_5_grams": judge.nll(lines)}

    most = 100 if learnt.ends else learnt.length
    rng = np.random.default_rng(0)
    some = [learnt.lines[i] for i in rng.permutation(len(learnt.lines))[: len(held)]]
    trivial = {
        "real": some,
        "5-grams": judge.sample(len(held), 0, most=most),
        "2-grams": NGrams(learnt.lines, 2, learnt.alphabet, learnt.ends).sample(len(held), 0, most=most),
        "shuffled": ["".join(rng.permutation([*line])) for line in some],
    }
    beside = {answer: values(lines) for answer, lines in trivial.items()}
    if likely:
        for answer, n in (("5-grams", 5), ("2-grams", 2)):
            beside[answer]["nll"] = NGrams(learnt.lines, n, learnt.alphabet, learnt.ends).nll(held)
    how: dict[str, Any] = {
        "real": len(held), "fake": len(held), "real_split": "test", "data": learnt.name, "learnt": len(learnt.lines),
        "test_digest": digest_of("lines", *held), "length": learnt.length, "unit": "words" if learnt.words else "characters",
        "ends": learnt.ends,
    }  # fmt: skip
    better = {"distinct": True, "copied": None, "found": None, "nll_5_grams": None}
    numbers = encoded(held, learnt.alphabet, max(learnt.length, max(map(len, held))), learnt.ends)
    symbols = sum(map(len, held)) + len(held) * learnt.ends

    def at(draw: Draw, temperature: float) -> dict[str, float]:
        warm = np.full(len(held), temperature, np.float32)
        found = {}
        if likely:
            found["nll"] = -float(np.sum(draw.ask("log_likelihood", numbers, warm), dtype=np.float64)) / symbols
        batch = {"tokens": np.zeros_like(numbers), "temperature": warm}
        return found | values(lines_of(draw(batch if temperature != 1 else len(held))))

    def records(
        found: Mapping[str, float], after: str = "", more: Mapping[str, Any] | None = None
    ) -> dict[str, Record]:
        out = {}
        for key, value in found.items():
            answers = {name: of[key] for name, of in beside.items() if key in of}
            out[key + after] = Record(value, better.get(key, False), {**how, **(more or {}), "answers": answers})
        return out

    def measure(draw: Draw) -> dict[str, Record]:
        return records(at(draw, 1.0))

    def final(draw: Draw) -> dict[str, Record]:
        out = measure(draw)
        for temperature in TEMPERATURES:
            out |= records(at(draw, temperature), f"_at_{temperature:g}", {"temperature": temperature})
        return out

    order: tuple[str, ...] = (
        "js_3",
        *(f"js_{n}" for n in ORDERS if n != 3),
        "distinct",
        "copied",
        "found",
        "nll_5_grams",
    )
    if likely:
        order = (first, *(name for name in ("nll", *order) if name != first))
    return Evaluate(measure, order, final if likely else None)
