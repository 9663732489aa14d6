"""Statistics of texts by their n-grams: how alike two sets of lines are, and a model of n-grams, which is what a generator of
texts has to be better than.

A line is a string. It is read between a mark for its beginning and one for its end, START and END, which no line may have.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

START, END = "\x02", "\x03"


def counts(lines: Sequence[str], n: int) -> Counter[str]:
    """Returns how often each n-gram stands in the lines, with a START before each line and an END after it. Raises ValueError for n
    below 1, and for a line that has one of these marks.
    """
    if n < 1:
        raise ValueError(f"{n}-grams: n of 1 or more")
    _require_plain(lines)
    found: Counter[str] = Counter()
    for line in lines:
        whole = START + line + END
        found.update(whole[i : i + n] for i in range(len(whole) - n + 1))
    return found


def jensen_shannon(some: Sequence[str], others: Sequence[str], n: int) -> float:
    """Returns the Jensen-Shannon divergence of the n-grams of two sets of lines in bits, in [0, 1]: 0 where they are equal, 1 where they
    have none in common.

    It falls as there are more lines: of real lines beside others of the same number it is not 0 (Gulrajani et al. 2017,
    arXiv:1704.00028, section 5.4; Heusel et al. 2017, arXiv:1706.08500, section 4). Raises ValueError as `counts`, and for sets
    without n-grams.
    """
    a, b = counts(some, n), counts(others, n)
    total_a, total_b = a.total(), b.total()
    if not (total_a and total_b):
        raise ValueError(f"lines without {n}-grams")
    out = 0.0
    for gram in a.keys() | b.keys():
        x, y = a[gram] / total_a, b[gram] / total_b
        out += sum(p * math.log2(2 * p / (x + y)) / 2 for p in (x, y) if p)
    return out


class NGrams:
    """A model of n-grams with Witten-Bell's smoothing: p(c | h) = (n(h c) + t(h) p(c | h')) / (n(h) + t(h)), where t(h) is the
    number of kinds of characters after h, and h' is h without its first; the shortest is uniform over `alphabet` and END. Without `ends`
    lines are stretches of a text, and there is no END.

    Raises ValueError for n below 1 and for lines with START or END. Witten and Bell 1991, method C.
    """

    def __init__(self, lines: Sequence[str], n: int, alphabet: str, ends: bool = True):
        if n < 1:
            raise ValueError(f"{n}-grams: n of 1 or more")
        _require_plain(lines)
        self.n, self.ends, self.symbols = n, ends, alphabet + END * ends
        self._after: dict[str, Counter[str]] = defaultdict(Counter)
        for line in lines:
            whole = START + line + END * ends
            for i in range(1, len(whole)):
                for length in range(min(n, i + 1)):
                    self._after[whole[i - length : i]][whole[i]] += 1

    def probabilities(self, history: str) -> np.ndarray:
        """Returns p of each of `symbols`, given what came before."""
        history = START + history
        found = np.full(len(self.symbols), 1 / len(self.symbols))
        for length in range(min(self.n, len(history) + 1)):
            after = self._after.get(history[len(history) - length :])
            if after is None:
                break
            seen = np.array([after[symbol] for symbol in self.symbols], np.float64)
            found = (seen + len(after) * found) / (after.total() + len(after))
        return found

    def nll(self, lines: Sequence[str]) -> float:
        """Returns the mean of -ln p over the characters of the lines and, if they have, their ends, in nats. Raises ValueError for a character that
        is not in the alphabet.
        """
        total = number = 0.0
        cache: dict[str, np.ndarray] = {}
        place = {symbol: i for i, symbol in enumerate(self.symbols)}
        for line in lines:
            for i, symbol in enumerate(line + END * self.ends):
                if symbol not in place:
                    raise ValueError(f"{line!r}: {symbol!r} is not in the alphabet {self.symbols.removesuffix(END)!r}")
                whole = START + line[:i]
                history = whole[len(whole) - min(self.n - 1, len(whole)) :]
                if history not in cache:
                    cache[history] = -np.log(self.probabilities(line[:i]))
                total, number = total + cache[history][place[symbol]], number + 1
        return total / number

    def sample(self, count: int, seed: int, temperature: float = 1.0, most: int = 100) -> list[str]:
        """Returns lines, cut off after `most` characters; p is taken to the power of 1 / temperature."""
        rng, out = np.random.default_rng(seed), []
        for _ in range(count):
            line = ""
            while len(line) < most:
                p = self.probabilities(line) ** (1 / temperature)
                symbol = self.symbols[rng.choice(len(p), p=p / p.sum())]
                if symbol == END:
                    break
                line += symbol
            out.append(line)
        return out


def shares(lines: Sequence[str], learnt: Sequence[str], held_out: Sequence[str]) -> dict[str, float]:
    """Returns the shares of lines that are "distinct", "copied" from what was learnt, and in what was held out ("found")."""
    first, second = {*learnt}, {*held_out}
    return {
        "distinct": len({*lines}) / len(lines),
        "copied": sum(line in first for line in lines) / len(lines),
        "found": sum(line in second for line in lines) / len(lines),
    }


def _require_plain(lines: Sequence[str]) -> None:
    for line in lines:
        if START in line or END in line:
            raise ValueError(f"{line!r} has a mark of a beginning or an end, {START!r} or {END!r}")
