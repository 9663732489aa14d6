"""Texts as data: characters or words as numbers. Lines are of one length, each followed by an end; a long text is cut into stretches."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from gan_jax.data.resident import source
from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import Array, Batch, ImageSet, PyTree, Source, Spec, UserError

SYLLABLES = "syllables"
BREAK = "\u23ce"  # the sign of the return key, for a line's end inside of a stretch
FEWEST = 20
MOST_WORDS = 0x110000 - 0xF0000
WORD = 0xF0000  # first of the characters that stand for words: no text has them, so that n-grams of words are those of characters
Unit = Literal["characters", "words"]


class Lines(NamedTuple):
    """Distinct lines, and the characters they are made of, in order. Where these stand for words, `words` are what they stand for."""

    lines: tuple[str, ...]
    alphabet: str
    name: str
    facts: dict[str, Any]
    words: tuple[str, ...] = ()
    ends: bool = True  # whether a line ends where it does, or goes on in the text
    length: int = 0  # characters that a line may have

    @property
    def symbols(self) -> int:
        """The number of characters, and the end."""
        return len(self.alphabet) + self.ends


def load(name: str, *, length: int, unit: Unit = "characters", stream: bool = False) -> tuple[Lines, Lines]:
    """Returns the lines that are learnt from and those that are held out, each line once, none in both.

    `name` is "syllables", which are made here; a text file, of which a tenth of its distinct lines is held out, drawn by a fixed
    seed; or a folder with train.txt and test.txt, of which a line of both is held out. Lines have 1 to `length`
    characters or words, without the spaces around them: empty ones and longer ones are left out, and `facts` say how many. With `stream` a text
    is one, and its lines are the stretches of `length` that begin at every half of it; its last tenth is held out. The alphabet, or the
    words, are those of what is learnt. Held-out lines with others are left out, too. Raises UserError for no such file, for another
    encoding than UTF-8, and for fewer than 20 lines.
    """
    if length < 1:
        raise UserError(f"--length {length}: 1 or more {unit}")
    path = Path(name).expanduser()
    two: tuple[str, str] | None = None
    if name == SYLLABLES:
        whole = "\n".join(syllables(4_000, 0))
    elif path.is_dir():
        if missing := [one for one in ("train.txt", "test.txt") if not (path / one).is_file()]:
            raise UserError(f"{name}: no {' and no '.join(missing)}: a folder of texts has both")
        two = _read(path / "train.txt", name), _read(path / "test.txt", name)
        whole = two[0]
    else:
        whole = _read(path, name)
    if stream and two is None:
        two = whole[: len(whole) * 9 // 10], whole[len(whole) * 9 // 10 :]
    held, more = (_lines(one, unit, stream) for one in (two or (whole, "")))
    words: list[str] = sorted({word for line in held + more for word in line}) if unit == "words" else []
    if len(words) > MOST_WORDS:
        raise UserError(f"{name}: {len(words)} distinct words are too many, {MOST_WORDS} at most: --unit characters")
    place = {word: chr(WORD + i) for i, word in enumerate(words)}
    spelled = [["".join(place.get(one, one) for one in line) for line in lines] for lines in (held, more)]
    cut = [_stretches(lines, length) if stream else _fitting(lines, length) for lines in spelled]
    learnt, test = (sorted({*lines}) for lines in cut)
    apart = ""
    if two is not None:
        both = {*learnt} & {*test}
        learnt = [line for line in learnt if line not in both]
        test = [test[i] for i in np.random.default_rng(0).permutation(len(test))]  # so that some first ones are of all
        apart = f"{len(both)} are in both {'parts' if stream else 'files'} and held out, "
    else:
        order, tenth = np.random.default_rng(0).permutation(len(learnt)), len(learnt) // 10
        learnt, test = ([learnt[i] for i in rows] for rows in (order[tenth:], order[:tenth]))
    alphabet = "".join(sorted({*"".join(learnt)}))
    known = tuple(words[ord(symbol) - WORD] for symbol in alphabet) if unit == "words" else ()
    strange = [line for line in test if not {*line} <= {*alphabet}]
    test = [line for line in test if {*line} <= {*alphabet}]
    if len(learnt) < FEWEST or len(test) < 2:
        what = f"distinct {'stretches' if stream else 'lines'} of {'' if stream else '1 to '}{length} {unit}"
        raise UserError(
            f"{name}: {len(learnt)} and {len(test)} {what} are too few: {FEWEST} are needed, or another --length"
        )
    of = f"{len(learnt)} distinct {'stretches' if stream else 'lines'}, {len(test)} held out, of {'' if stream else 'up to '}{length}"
    said = f"{of} of {len(alphabet)} {unit}"
    if strange:
        first = " ".join(words[ord(one) - WORD] for one in strange[0]) if words else strange[0]
        apart += f"{len(strange)} held out have other {unit} and are left out, such as {first!r}, "
    left_out = 0 if stream else sum(map(len, spelled)) - sum(map(len, cut))
    facts: dict[str, Any] = {"layout": f"{said}; {apart}{left_out} are empty or longer and left out"}
    if name != SYLLABLES:
        facts["path"] = str(path.absolute())
    learnt_of, test_of = (
        Lines(tuple(lines), alphabet, name, facts, known, not stream, length) for lines in (learnt, test)
    )
    return learnt_of, test_of


def encoded(lines: Sequence[str], alphabet: str, length: int, ends: bool = True) -> np.ndarray:
    """Returns int32 [n length + 1]: places in the alphabet, and after the last character its length, the end, again and again.
    Without `ends`, [n length], for lines of this length. Raises ValueError for a line that is longer.
    """
    out = np.full((len(lines), length + ends), len(alphabet), np.int32)
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


def tokens(held: np.ndarray, rows: int, seed: int, name: str, facts: dict[str, Any]) -> Source:
    """Returns batches of sequences of symbols {"tokens": int32 [b t]}, of those held [n t]."""
    inner = source(understood(ImageSet(held, None, 0, name, digest(held, None), (), facts)), rows, seed)
    arrays = {"tokens": jax.ShapeDtypeStruct(held.shape[1:], np.dtype(np.int32))}

    def renamed(batch: Batch) -> Batch:
        return {"tokens": batch["image"]}

    found = inner.examples
    return dataclasses.replace(
        inner,
        batch=lambda fetched, key, step: renamed(inner.batch(fetched, key, step)),
        examples=None if found is None else lambda which: renamed(found(which)),
        spec=inner.spec._replace(arrays=arrays),
    )


def source_of(lines: Lines, rows: int, seed: int) -> Source:
    """Returns batches of lines as `tokens`; the spec's `meta` has "symbols", their number, "ends", whether the last one is the end, and
    "alphabet" and "words", by which they are read.
    """
    held = encoded(lines.lines, lines.alphabet, lines.length, lines.ends)
    found = tokens(held, rows, seed, lines.name, lines.facts)
    meta = {"alphabet": lines.alphabet, "words": list(lines.words), "symbols": lines.symbols, "ends": lines.ends}
    return dataclasses.replace(found, spec=found.spec._replace(meta=meta))


def reader(spec: Spec) -> Callable[[PyTree], list[str]]:
    """Returns the function from samples, tokens [n t] or scores [n t k], to the lines that a person reads, by the `meta` of `source_of`."""
    alphabet, words = spec.meta["alphabet"], spec.meta.get("words", ())

    def read(samples: PyTree) -> list[str]:
        lines = spelled(decoded(samples, alphabet), alphabet, words)
        return [line.replace("\n", BREAK) for line in lines]  # of a stretch, which is one line where samples are shown

    return read


def spelled(lines: Sequence[str], alphabet: str, words: Sequence[str]) -> list[str]:
    """Returns lines as a person reads them: characters that stand for words as these, with spaces between."""
    if not words:
        return [*lines]
    of = dict(zip(alphabet, words, strict=True))
    return [" ".join(of[symbol] for symbol in line) for line in lines]


def syllables(count: int, seed: int) -> list[str]:
    """Returns words of two to four syllables, which gan_jax makes itself: a consonant and a vowel each, and perhaps an n at the end."""
    rng = np.random.default_rng(seed)
    return [
        "".join(rng.choice([*"bdgkmrst"]) + rng.choice([*"aeiou"]) for _ in range(rng.integers(2, 5)))
        + "n" * int(rng.random() < 0.3)
        for _ in range(count)
    ]


def _read(path: Path, name: str) -> str:
    if not path.is_file():
        raise UserError(f"{name}: no such file or folder of texts ({path.absolute()})")
    try:
        return path.read_text(encoding="utf-8-sig").replace("\x02", "").replace("\x03", "")
    except UnicodeDecodeError as error:
        raise UserError(f"{os.fspath(path)}: byte {error.start} is not UTF-8: save it as UTF-8") from error


def _lines(text: str, unit: Unit, stream: bool) -> list[Sequence[str]]:
    """The lines as sequences of units; with `stream` there is one."""
    lines = [text] if stream else text.splitlines()
    return [line.split() if unit == "words" else (line if stream else line.strip()) for line in lines]


def _fitting(lines: Sequence[str], length: int) -> list[str]:
    return [line for line in lines if 0 < len(line) <= length]


def _stretches(lines: Sequence[str], length: int) -> list[str]:
    step = max(1, length // 2)
    return [line[i : i + length] for line in lines for i in range(0, len(line) - length + 1, step)]
