"""Batches of an image set by step: from device memory where the set fits, else gathered on the host, from memory or from
disk. All give the same batches.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.ondisk import OnDisk, ahead, grain_module
from gan_jax.data.shuffle import epoch_index
from gan_jax.types import Batch, ImageSet, Key, PyTree, Source, UserError

# Folded into the key, so that these draws are nobody else's: a run folds its steps into the same key, and never comes
# this far.
ORDER, FLIP = 2**32 - 1, 2**32 - 2


def source(
    images: ImageSet, batch_size_rows: int, seed: int, *, flip: bool = False, resident_bytes: int = 2**32
) -> Source:
    """Shuffled batches of an image set, without end: every epoch is a new permutation of all images, and nothing is
    dropped.

    Args:
      images: the set.
      batch_size_rows: rows of one batch; steps * rows counts positions in 32 bits, so the order repeats itself after
      2**32 examples.
      seed: of the order and the flips.
      flip: mirror each image left to right with probability 1/2.
      resident_bytes: a larger set stays on the host, and each step's rows are sent; so does one on disk, of any size,
      and its source can `follow`.

    Returns:
      A `Source` of {"image": float32 [b h w c] in [-1, 1], "label": int32 [b], where there are labels}.

    Raises:
      UserError: the set is smaller than a batch, or it is on disk and Grain is not installed.
    """
    size, rows = len(images.images), batch_size_rows
    if rows < 1:
        raise UserError(f"batch of {rows} rows: --batch-size 1 or more")
    if rows > size:
        raise UserError(
            f"a round takes {rows} images (--batch-size times the discriminator steps), but {images.name} has only {size}: lower --batch-size"
        )

    arrays = {"image": images.images} if images.labels is None else {"image": images.images, "label": images.labels}
    on_disk = isinstance(images.images, OnDisk)
    resident = not on_disk and sum(array.nbytes for array in arrays.values()) <= resident_bytes
    if on_disk:
        grain_module()  # at once, and not when everything has been compiled

    if resident:

        def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
            return arrays  # the same every time: who compiles the step puts them on its devices once
    else:

        def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
            # uint32 here: a Python step beyond 2**31 is no int32.
            with jax.default_device(jax.local_devices(backend="cpu")[0]):  # not behind the steps queued on the device
                chosen = np.asarray(_index(key, np.uint32(step), rows, size))[which]
            return {name: array[chosen] for name, array in arrays.items()}

    def follow(key: Key, step: int, which: slice = slice(None)) -> Iterator[PyTree]:
        return ahead(lambda number: fetch(key, number, which), step)

    def batch(fetched: PyTree, key: Key, step: jax.Array) -> Batch:
        if resident:
            chosen = _index(key, step, rows, size)
            fetched = {name: array[chosen] for name, array in fetched.items()}  # on the host too, called step by step
        image = fetched["image"]
        if image.dtype == jnp.uint8:
            # x / 127.5 - 1 with a single rounding, at the end: the same bits whether or not a compiler fuses or
            # rewrites it.
            image = (image.astype(jnp.float32) * 2 - 255) * np.float32(1 / 255)
        if flip:
            mirrored = jax.random.bernoulli(
                jax.random.fold_in(jax.random.fold_in(key, FLIP), step), 0.5, (rows, 1, 1, 1)
            )
            image = jnp.where(mirrored, image[:, :, ::-1], image)
        return {**fetched, "image": image}

    key, spec = jax.random.key(seed), images.spec
    return Source(
        fetch, batch, key, rows, spec, size, resident, images.name, images.digest, follow if on_disk else None
    )


@functools.partial(jax.jit, static_argnames=("rows", "size"))
def _index(key: Key, step: jax.Array, rows: int, size: int) -> jax.Array:
    """int32 [rows]: the images of one step."""
    bits = jax.random.bits(jax.random.fold_in(key, ORDER), (2,), jnp.uint32)
    position = jnp.asarray(step).astype(jnp.uint32) * jnp.uint32(rows) + jnp.arange(rows, dtype=jnp.uint32)
    return epoch_index(bits, position, size)
