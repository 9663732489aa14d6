"""Statistics of texts: n-grams by hand, divergences in closed form, and a model whose probabilities are probabilities."""

import math
from collections import Counter

import numpy as np
import pytest

from gan_jax.metrics import ngrams
from gan_jax.metrics.ngrams import END, START, NGrams, jensen_shannon, shares

LINES = ["ab", "abb", "ba", "b"]


def test_counts_by_hand():
    assert ngrams.counts(["ab"], 1) == {START: 1, "a": 1, "b": 1, END: 1}
    assert ngrams.counts(["ab", "b"], 2) == {START + "a": 1, "ab": 1, "b" + END: 2, START + "b": 1}
    assert ngrams.counts(["a"], 5) == {}
    for wrong, words in (
        (lambda: ngrams.counts(["a" + END], 1), "has a mark"),
        (lambda: ngrams.counts([], 0), "n of 1 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_divergences_in_closed_form():
    assert jensen_shannon(LINES, LINES, 2) == pytest.approx(0)
    assert jensen_shannon(["aa"], ["bb"], 2) == pytest.approx(1)
    one, other = ["a", "a", "b"], ["a", "b", "b"]
    # Of 3-grams there are two kinds, with shares 2/3 and 1/3, exchanged: 1 - H(1/2 of each's entropy).
    entropy = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert jensen_shannon(one, other, 3) == pytest.approx(1 - entropy) == pytest.approx(jensen_shannon(other, one, 3))
    with pytest.raises(ValueError, match="lines without 9-grams"):
        jensen_shannon(one, other, 9)


def test_witten_bell_by_hand():
    """p(b | a) of a 2-gram: a is followed by b twice and by the end once, so 2 kinds in 3."""
    model = NGrams(LINES, 2, "abc")
    unigram = Counter("".join(LINES) + END * 4)
    kinds, total = len(unigram), unigram.total()
    shorter = (unigram["b"] + kinds / 4) / (total + kinds)
    assert model.probabilities("a")[1] == pytest.approx((2 + 2 * shorter) / (3 + 2))
    assert model.probabilities("xyza")[1] == model.probabilities("a")[1]
    uniform = NGrams([], 3, "abc")
    np.testing.assert_allclose(uniform.probabilities("ab"), 1 / 4)
    assert uniform.nll(["ab", "c"]) == pytest.approx(math.log(4))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_probabilities_are_some(n):
    model = NGrams(LINES, n, "abc")
    for history in ("", "a", "ab", "bbbb", "c"):
        found = model.probabilities(history)
        assert found.sum() == pytest.approx(1) and (found > 0).all()
    by_hand = -np.mean(
        [math.log(model.probabilities("ab"[:i])[model.symbols.index(c)]) for i, c in enumerate("ab" + END)]
    )
    assert model.nll(["ab"]) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="'d' is not in the alphabet 'abc'"):
        model.nll(["ad"])


def test_samples_have_the_probabilities():
    model = NGrams(LINES, 2, "ab")
    lines = model.sample(4_000, 0)
    begin = Counter((line + END)[0] for line in lines)
    p = model.probabilities("")
    for symbol, share in zip(model.symbols, p, strict=True):
        assert abs(begin[symbol] / 4_000 - share) < 4 * math.sqrt(share * (1 - share) / 4_000)
    assert model.sample(5, 3) == model.sample(5, 3) and max(map(len, model.sample(50, 0, most=2))) == 2
    cold = model.sample(50, 0, temperature=0.01)
    assert len({*cold}) == 1


def test_shares():
    found = shares(["a", "a", "b", "c"], ["a"], ["c", "d"])
    assert found == {"distinct": 0.75, "copied": 0.5, "found": 0.25}
