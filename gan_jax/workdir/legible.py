"""Samples that are read: a file with a line for each."""

from collections.abc import Callable, Sequence

from gan_jax.types import Batch, PyTree


def shown(lines_of: Callable[[PyTree], Sequence[str]]) -> Callable[[PyTree, Batch], dict[str, bytes]]:
    """Returns the `show` of a recipe whose samples are lines of text: a .txt."""

    def show(samples: PyTree, batch: Batch) -> dict[str, bytes]:
        return {"txt": "".join(f"{line}\n" for line in lines_of(samples)).encode()}

    return show
