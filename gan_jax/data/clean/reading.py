"""A set with its test set: all images in one list, looked at one after another, and written without some of them."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_jax.data.clean import rest, sources
from gan_jax.data.clean.kinds import Finding
from gan_jax.data.clean.look import Broken, Seen
from gan_jax.data.clean.sources import Arrays, Entry, Folder
from gan_jax.data.ondisk import THREADS
from gan_jax.types import UserError

AHEAD = 64  # images that are handed to the threads at a time


class Collection:
    """The images of `data`, and of `test` where it is given: they are then called train/... and test/...

    Raises UserError where one of them cannot be read, or both have a test set.
    """

    def __init__(self, data: str, test: str = ""):
        self.sources = [sources.read(data)] + ([sources.read(test)] if test else [])
        self.heads = ("train", "test") if test else ("",)
        if test and any(entry.split == "test" for entry in self.sources[0].entries):
            raise UserError(
                f"{data} has a test set of its own: leave --test {test} out, or name its training images alone"
            )
        self.entries: list[Entry] = []  # of all sources
        self._own: list[tuple[int, Entry]] = []  # the source, and the entry as that has it
        for number, (source, head) in enumerate(zip(self.sources, self.heads, strict=True)):
            self._own += [(number, entry) for entry in source.entries]
            self.entries += [
                entry._replace(name=f"{head}/{entry.name}", split=head) if head else entry for entry in source.entries
            ]

    def look(self, hashed: Callable[[Any], int]) -> Iterator[Seen | Broken]:
        """Yields what is kept of each image, or why it cannot be used, in the order of the list."""

        def one(own: tuple[int, Entry]) -> Seen | Broken:
            return self.sources[own[0]].seen(own[1], hashed)

        Image.init()  # before threads do
        with ThreadPoolExecutor(THREADS) as pool, warnings.catch_warnings(action="ignore"):
            for begin in range(0, len(self._own), AHEAD):
                part = self._own[begin : begin + AHEAD]
                for (number, own), found in zip(part, [*pool.map(one, part)], strict=True):
                    damaged = isinstance(found, Broken) and found.kind == "damaged"
                    yield self.sources[number].partly(own) if damaged else found

    def faults(self) -> list[Finding]:
        """Returns the folders that cannot be read."""
        return [
            Finding("folder", "/".join(filter(None, (head, name))), why)
            for source, head in zip(self.sources, self.heads, strict=True)
            for name, why in source.faults
        ]

    def others(self) -> list[str]:
        """Returns what files of each source are no images, as text."""
        return [text for source in self.sources if (text := source.said())]

    def picture(self, item: int) -> Image.Image | None:
        """Returns an image in mode L or RGB, or what can be decoded of it; None where nothing can."""
        number, own = self._own[item]
        with warnings.catch_warnings(action="ignore"):
            return self.sources[number].picture(own)

    def where(self, item: int) -> dict[str, Any]:
        """Returns where an image lies: its path, or the path of its file with the array and the index."""
        number, own = self._own[item]
        source = self.sources[number]
        if isinstance(source, Folder):
            return {"path": str(source.path / own.name)}
        return {"path": str(source.path), "array": source.keys[own.split], "index": own.row}

    def write(self, out: Path, left: Sequence[int], forms: Mapping[int, str]) -> list[str]:
        """Writes the images `left`, those in `forms` with the suffix of that format. Returns what else there is to say.

        Raises OSError.
        """
        said = []
        for number, (source, head) in enumerate(zip(self.sources, self.heads, strict=True)):
            items = [i for i in left if self._own[i][0] == number]
            entries = [own for _, own in self._own]
            if isinstance(source, Arrays):
                rows = {
                    split: np.array([entries[i].row for i in items if entries[i].split == split], np.int64)
                    for split in source.images
                }
                said.append(f"rows of {', '.join(rest.written(source, out / head, rows))} were chosen")
            else:
                names = rest.mended(entries, items, forms)
                rest.copied(source, out / head, {entries[i].name: name for i, name in names.items()})
                said += [f"mended: {entries[i].name} is {name}" for i, name in names.items() if name != entries[i].name]
        return said
