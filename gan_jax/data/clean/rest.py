"""Writes a set without what is left out: files as they are, rows of arrays into a file of the same kind."""

import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from gan_jax.data.clean.look import SUFFIXES
from gan_jax.data.clean.sources import Arrays, Entry, Folder

ROWS = 1_024  # copied at a time


def mended(entries: Sequence[Entry], left: Sequence[int], forms: Mapping[int, str]) -> dict[int, str]:
    """Returns the names in the copy, by item: as they are, but for those in `forms`, which get the suffix of their format.

    A name that is taken gets a number. A format that a folder's reader does not know keeps its name.
    """
    names = {i: entries[i].name for i in left}
    taken = {name.lower() for name in names.values()}
    for i in left:
        if i not in forms or forms[i] not in SUFFIXES:
            continue
        path, suffix, number = PurePosixPath(names[i]), SUFFIXES[forms[i]][0], 1
        name = path.with_suffix(suffix)
        while str(name).lower() in taken:
            number += 1
            name = path.with_name(f"{path.stem}_{number}{suffix}")
        names[i] = str(name)
        taken.add(names[i].lower())
    return names


def copied(source: Folder, out: Path, names: Mapping[str, str]) -> None:
    """Copies files into a folder, each to the name that `names` has for it. Raises OSError."""
    for name, new in names.items():
        target = out / new
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.path / name, target)


def written(source: Arrays, out: Path, left: Mapping[str, np.ndarray]) -> list[str]:
    """Writes the rows `left` of each split, with those of all arrays that belong to it, and other arrays as they are.

    Returns the names of the arrays whose rows were chosen. Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    target = out / source.path.name
    if not source.file:
        images, rows = source.images["train"], left["train"]
        shape = (len(rows), *images.shape[1:])
        held = np.lib.format.open_memmap(os.fspath(target), mode="w+", dtype=images.dtype, shape=shape)
        for begin in range(0, len(rows), ROWS):
            held[begin : begin + ROWS] = images[rows[begin : begin + ROWS]]
        held.flush()
        return [source.keys["train"]]
    chosen = {key: source.split_of(key) for key in source.file}
    kept = {key: array[left[split]] if (split := chosen[key]) else array for key, array in source.file.items()}
    how = zipfile.ZIP_DEFLATED if source.packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", how) as packed:  # np.savez cannot write an array called "file"
        for key, array in kept.items():
            with packed.open(f"{key}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, array, allow_pickle=False)
    return [key for key, split in chosen.items() if split]
