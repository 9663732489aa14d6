"""Lines of text as data: characters as numbers, of one length, each line followed by an end."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import Array, ImageSet, UserError

SYLLABLES = "syllables"
FEWEST = 20


class Lines(NamedTuple):
    """Distinct lines, and the characters they are made of, in order."""

    lines: tuple[str, ...]
    alphabet: str
    name: str
    facts: dict[str, Any]


def load(name: str, *, length: int) -> tuple[Lines, Lines]:
    """Returns the lines that are learnt from and those that are held out, each line once, none in both.

    `name` is "syllables", which are made here; a text file, of which a tenth of its distinct lines is held out, drawn by a fixed
    seed; or a folder with train.txt and test.txt, of which a line of both is held out. Lines have 1 to `length`
    characters, without the spaces around them: empty ones and longer ones are left out, and `facts` say how many. The alphabet is that of what is learnt.
    Held-out lines with other characters are left out, too. Raises UserError for no such file, for another encoding than UTF-8,
    and for fewer than 20 lines.
    """
    if length < 1:
        raise UserError(f"--length {length}: 1 or more characters")
    path = Path(name).expanduser()
    if name == SYLLABLES:
        held, more = syllables(4_000, 0), []
    elif path.is_dir():
        if missing := [one for one in ("train.txt", "test.txt") if not (path / one).is_file()]:
            raise UserError(f"{name}: no {' and no '.join(missing)}: a folder of texts has both")
        held, more = (_read(path / one, name) for one in ("train.txt", "test.txt"))
    else:
        held, more = _read(path, name), []
    fitting = [_fitting(lines, length) for lines in (held, more)]
    learnt, test = (sorted({*lines}) for lines in fitting)
    if more:
        both = {*learnt} & {*test}
        learnt = [line for line in learnt if line not in both]
        apart = f"{len(both)} are in both files and held out, "
    else:
        order, tenth, apart = np.random.default_rng(0).permutation(len(learnt)), len(learnt) // 10, ""
        learnt, test = ([learnt[i] for i in rows] for rows in (order[tenth:], order[:tenth]))
    alphabet = "".join(sorted({*"".join(learnt)}))
    strange = [line for line in test if not {*line} <= {*alphabet}]
    test = [line for line in test if {*line} <= {*alphabet}]
    if len(learnt) < FEWEST or len(test) < 2:
        raise UserError(
            f"{name}: {len(learnt)} and {len(test)} distinct lines of 1 to {length} characters are too few: {FEWEST} are needed, or another --length"
        )
    said = f"{len(learnt)} distinct lines, {len(test)} held out, of up to {length} of {len(alphabet)} characters"
    left_out = len(held) + len(more) - sum(map(len, fitting))
    if strange:
        apart += f"{len(strange)} held out have other characters and are left out, such as {strange[0]!r}, "
    facts: dict[str, Any] = {"layout": f"{said}; {apart}{left_out} are empty or longer and left out"}
    if name != SYLLABLES:
        facts["path"] = str(path.absolute())
    learnt_of, test_of = (Lines(tuple(lines), alphabet, name, facts) for lines in (learnt, test))
    return learnt_of, test_of


def encoded(lines: Sequence[str], alphabet: str, length: int) -> np.ndarray:
    """Returns int32 [n length + 1]: places in the alphabet, and after the last character its length, the end, again and again.
    Raises ValueError for a line that is longer.
    """
    out = np.full((len(lines), length + 1), len(alphabet), np.int32)
    place = {symbol: i for i, symbol in enumerate(alphabet)}
    for row, line in zip(out, lines, strict=True):
        if len(line) > length:
            raise ValueError(f"{line!r} is longer than {length}")
        row[: len(line)] = [place[symbol] for symbol in line]
    return out


def decoded(scores: Array, alphabet: str) -> list[str]:
    """Returns the lines of scores of symbols [n t k + 1], or of numbers [n t]: up to the first end, the most likely at each place."""
    numbers = np.asarray(scores)
    numbers = numbers.argmax(-1) if numbers.ndim == 3 else numbers
    out = []
    for row in numbers:
        ends = np.flatnonzero(row == len(alphabet))
        out.append("".join(alphabet[i] for i in row[: ends[0] if len(ends) else len(row)]))
    return out


def one_hot(lines: Lines, length: int) -> ImageSet:
    """Returns the lines as floats [n length + 1 symbols], 1 at each character or end and 0 elsewhere."""
    numbers = encoded(lines.lines, lines.alphabet, length)
    held = np.eye(len(lines.alphabet) + 1, dtype=np.float32)[numbers]
    return understood(ImageSet(held, None, 0, lines.name, digest(held, None), (), lines.facts))


def syllables(count: int, seed: int) -> list[str]:
    """Returns words of two to four syllables, which gan_jax makes itself: a consonant and a vowel each, and perhaps an n at the end."""
    rng = np.random.default_rng(seed)
    return [
        "".join(rng.choice([*"bdgkmrst"]) + rng.choice([*"aeiou"]) for _ in range(rng.integers(2, 5)))
        + "n" * int(rng.random() < 0.3)
        for _ in range(count)
    ]


def _read(path: Path, name: str) -> list[str]:
    if not path.is_file():
        raise UserError(f"{name}: no such file or folder of texts ({path.absolute()})")
    try:
        return path.read_text(encoding="utf-8").replace("\x02", "").replace("\x03", "").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{os.fspath(path)}: byte {error.start} is not UTF-8: save it as UTF-8") from error


def _fitting(lines: Sequence[str], length: int) -> list[str]:
    return [line for one in lines if 0 < len(line := one.strip()) <= length]
