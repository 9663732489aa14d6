"""Checks of images by what was kept of them: each by itself, and all together for what is mixed."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.data.clean import alike
from gan_jax.data.clean.kinds import Finding
from gan_jax.data.clean.look import SIDE, SUFFIXES, Broken, Seen
from gan_jax.data.clean.sources import Entry

LEAST = 32  # pixels of the shorter side, where the user says nothing and the set's median is twice as much
PLAIN = 5.0  # levels of 255: an image whose channels have smaller standard deviations shows nothing
BLACK, WHITE = 24, 231  # mean levels below and above which such an image is black, and white
FEW = 10  # images of a class
SHARE = 0.1  # of the median class, below which one is small
MINOR = 0.2  # share of images below which they are the odd ones
LONG = 2.0  # times the median shape


class Bounds(NamedTuple):
    """What the user chose."""

    least: int = 0  # pixels of the shorter side; 0: LEAST, or half of the set's median where that is less
    near: int = 6  # bits of 64 that may differ between near duplicates
    alike: float = 0.99  # correlation of pixels that they have at least


Kept = Mapping[int, Seen]  # images that could be read, by their place in the list of all


def broken(entries: Sequence[Entry], found: Iterable[tuple[int, Broken]]) -> list[Finding]:
    """Returns a finding for each image that cannot be used."""
    return [Finding(why.kind, entries[i].name, why.detail, i) for i, why in found]


def alone(entries: Sequence[Entry], seen: Kept, bounds: Bounds) -> list[Finding]:
    """Returns what is wrong with images by themselves: too small, black, white, of one colour, the wrong suffix."""
    if not seen:
        return []
    median = float(np.median([min(one.size) for one in seen.values()]))
    least = bounds.least or min(LEAST, median / 2)
    found = []
    for i, one in seen.items():
        name, (width, height) = entries[i].name, one.size
        if min(one.size) < least:
            found.append(Finding("too-small", name, f"{width}x{height}, less than {least:g}", i))
        if one.spread < PLAIN:
            kind = "black" if one.mean < BLACK else "white" if one.mean > WHITE else "plain"
            found.append(Finding(kind, name, f"mean level {one.mean:.0f}, deviation {one.spread:.1f} of 255", i))
        if one.form != "array" and not name.lower().endswith(SUFFIXES.get(one.form, ())):
            more = "" if one.form in SUFFIXES else ", which no suffix is kept for here: the name stays"
            found.append(Finding("wrong-suffix", name, f"the content is {one.form}{more}", i))
        if one.deep:
            found.append(Finding("deep", name, one.deep, i))
        if "animated" in one.notes:
            found.append(Finding("animated", name, f"{one.form}, of which the first frame is taken", i))
    return found


def mixed(entries: Sequence[Entry], seen: Kept) -> list[Finding]:
    """Returns which images are odd ones out in size, shape, colour or transparency."""
    if not seen:
        return []
    found = []
    middle = float(np.median([min(one.size) for one in seen.values()]))
    shape = float(np.median([_shape(one) for one in seen.values()]))
    for i, one in seen.items():
        width, height = one.size
        if min(one.size) < middle / 2:
            found.append(Finding("smaller", entries[i].name, f"{width}x{height}, and the median side is {middle:g}", i))
        if _shape(one) >= LONG * shape:
            found.append(Finding("long", entries[i].name, f"{width}x{height}", i))
    for note, few, others in (("grey", "grey", "colour"), ("transparent", "transparent", "opaque")):
        has = [i for i, one in seen.items() if note in one.notes]
        lacks = [i for i, one in seen.items() if note not in one.notes]
        for kind, minority in ((few, has), (others, lacks)):
            if 0 < len(minority) <= MINOR * len(seen):
                found += [Finding(kind, entries[i].name, f"stored as {seen[i].mode}", i) for i in minority]
    return found


def copies(entries: Sequence[Entry], seen: Kept, bounds: Bounds) -> list[Finding]:
    """Returns duplicates and near duplicates inside train and inside test, and test images that are in train."""
    every = range(len(entries))
    digests, bits = (
        [seen[i].digest if i in seen else b"" for i in every],
        [seen[i].bits if i in seen else 0 for i in every],
    )
    prints = alike.Prints(digests, bits, pixels(seen, every), bounds.near, bounds.alike)
    sides = {split: [i for i in seen if entries[i].split == split] for split in ("train", "test")}
    found: list[tuple[str, int, int]] = []
    left: dict[str, list[int]] = {}
    for split, items in sides.items():
        same = alike.equal(items, prints)
        rest = [i for i in items if i not in same]
        near = alike.nearly(rest, prints)
        left[split] = [i for i in rest if i not in near]
        found += [("duplicate", *pair) for pair in same.items()] + [("near-duplicate", *pair) for pair in near.items()]
    both = alike.across(sides["train"], left["test"], prints)
    found += [("in-both", *pair) for pair in both.items()]
    groups = {pair: number for number, pair in enumerate(dict.fromkeys((kind, kept) for kind, _, kept in found))}
    return [
        Finding(kind, entries[i].name, _alike(entries, seen, i, kept), i, groups[kind, kept], kept)
        for kind, i, kept in found
    ]


def pixels(seen: Kept, items: Iterable[int]) -> np.ndarray:
    """Returns what was kept of the pixels of some images, uint8 [n SIDE * SIDE * 3]; zeros for those that were not read."""
    blank = bytes(SIDE * SIDE * 3)
    rows = b"".join(seen[i].small if i in seen else blank for i in items)
    return np.frombuffer(rows, np.uint8).reshape(-1, len(blank))


def classes(entries: Sequence[Entry], left: Sequence[int]) -> list[Finding]:
    """Returns which classes of train have few images left; those that had some at first count too."""
    labels = dict.fromkeys(entry.label for entry in entries if entry.split == "train")
    if len(labels) < 2:
        return []
    counts = Counter(entries[i].label for i in left if entries[i].split == "train")
    middle = float(np.median([counts[label] for label in labels]))
    return [
        Finding(
            "few", label or "(beside the classes)", f"{counts[label]:,} left, and the median class has {middle:,.0f}"
        )
        for label in labels
        if counts[label] < max(FEW, SHARE * middle)
    ]


def _shape(one: Seen) -> float:
    return max(one.size) / max(1, min(one.size))


def _alike(entries: Sequence[Entry], seen: Kept, item: int, kept: int) -> str:
    """How two images are alike, and whether they are of one class."""
    one, other = entries[item], entries[kept]
    differ = (seen[item].bits ^ seen[kept].bits).bit_count()
    text = f"equal to {other.name}" if seen[item].digest == seen[kept].digest else f"{differ} bits from {other.name}"
    if one.label != other.label and one.label and other.label:
        text += f", and of another class: {other.label}"
    return text


def summary(entries: Sequence[Entry], seen: Kept, most: int = 100) -> dict[str, str]:
    """Returns what the images are like, in words; of classes so many are listed."""
    sizes = Counter(one.size for one in seen.values())
    first, last = (pick(sizes, key=math.prod) for pick in (min, max)) if sizes else ((0, 0), (0, 0))
    text = f"{first[0]}x{first[1]}" + (f" to {last[0]}x{last[1]}, {len(sizes):,} sizes" if len(sizes) > 1 else "")
    shapes = Counter(
        "landscape" if w > h else "portrait" if h > w else "square" for w, h in (one.size for one in seen.values())
    )
    notes = Counter(note for one in seen.values() for note in one.notes)
    splits = Counter(entry.split for entry in entries)
    labels = Counter(entry.label for entry in entries if entry.label)
    return {
        "images": ", ".join(f"{split} {count:,}" for split, count in splits.items())
        if len(splits) > 1
        else f"{len(entries):,}",
        "pixels": text,
        "shapes": _listed(shapes),
        "formats": _listed(Counter(one.form for one in seen.values())),
        "stored as": _listed(Counter(one.mode for one in seen.values())),
        **{name: f"{count:,} of {len(seen):,}" for note, name in NOTES.items() if (count := notes[note])},
        **({"classes": _listed(Counter(dict(sorted(labels.items()))), most)} if labels else {}),
    }


NOTES = {
    "grey": "grey",
    "transparent": "with transparency",
    "animated": "animated",
    "turned": "turned by the camera's note",
}


def _listed(counts: Counter[str], most: int = 100) -> str:
    told = [f"{name} {count:,}" for name, count in counts.items()][:most]
    return ", ".join(told) + (f" and {len(counts) - most:,} more" if len(counts) > most else "")
