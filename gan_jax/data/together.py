"""Several sources in one batch, such as two domains of images, or a labelled and an unlabelled set."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax

from gan_jax.data.ondisk import digest_of
from gan_jax.types import Batch, Key, PyTree, Source, Spec

TOGETHER = 2**32 - 5  # folded into the key, then the index of a source, so that each source has its own order


def together(**sources: Source) -> Source:
    """Returns a source whose batches contain a batch of each source: {name: its images, name_label: its labels, ...}.

    The array "image" of a source is named after the source, and every other array after the source and itself. Each
    source has its own order and its own epochs; the epoch of the result is that of the largest source.

    Raises ValueError without sources, for different numbers of rows or different seeds, and where one source is
    resident and another is not.
    """
    if not sources:
        raise ValueError("together() needs sources by name: together(a=..., b=...)")
    first = next(iter(sources.values()))
    rows = {name: source.rows for name, source in sources.items()}
    if len({*rows.values()}) > 1:
        raise ValueError(f"sources that are played together give as many rows; got {rows}")
    if any((jax.random.key_data(one.key) != jax.random.key_data(first.key)).any() for one in sources.values()):
        raise ValueError("sources that are played together have one seed, the run's")
    if len({source.resident for source in sources.values()}) > 1:
        where = {name: "in memory" if source.resident else "on disk" for name, source in sources.items()}
        raise ValueError(f"sources that are played together stay in one place; {where}: stream all of them, or none")

    def key_of(key: Key, place: int) -> Key:
        return jax.random.fold_in(jax.random.fold_in(key, TOGETHER), place)

    def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
        return {name: one.fetch(key_of(key, i), step, which) for i, (name, one) in enumerate(sources.items())}

    def follow(key: Key, step: int, which: slice = slice(None)) -> Iterator[PyTree]:
        def reader(one: Source, key: Key) -> Iterator[PyTree]:
            if one.follow is not None:
                return one.follow(key, step, which)
            return (one.fetch(key, number, which) for number in itertools.count(step))

        readers: dict[str, Any] = {name: reader(one, key_of(key, i)) for i, (name, one) in enumerate(sources.items())}
        try:
            while True:
                yield {name: next(rows) for name, rows in readers.items()}
        finally:
            for rows in readers.values():
                rows.close()  # ends their threads

    def batch(fetched: PyTree, key: Key, step: jax.Array) -> Batch:
        parts = {name: one.batch(fetched[name], key_of(key, i), step) for i, (name, one) in enumerate(sources.items())}
        return {_joined(name, array): x for name, part in parts.items() for array, x in part.items()}

    arrays = {_joined(name, array): x for name, one in sources.items() for array, x in one.spec.arrays.items()}
    meta = {name: {**one.spec.meta, "classes": one.spec.classes} for name, one in sources.items()}
    description = " and ".join(f"{name} {one.name}" for name, one in sources.items())
    digest = digest_of("together", [(name, one.name, one.digest) for name, one in sources.items()])
    return Source(
        fetch, batch, first.key, first.rows, Spec(arrays, 0, meta), max(one.size for one in sources.values()),
        first.resident, description, digest,
        follow if any(one.follow for one in sources.values()) else None,
        {"sources": {name: one.facts for name, one in sources.items() if one.facts}},
    )  # fmt: skip


def _joined(source: str, array: str) -> str:
    return source if array == "image" else f"{source}_{array}"
