"""Batches of an image set by step: gathered on the device where the set fits into its memory, else on the host, from
memory or disk. The batches are the same in all cases.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.ondisk import OnDisk, ahead, grain_module
from gan_jax.data.shuffle import epoch_index
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, ImageSet, Key, PyTree, Source, UserError

# Folded into the key, so that no other draws use the same bits: a run folds its steps into the same key, and never
# reaches these numbers.
ORDER, FLIP, SHIFT, CROP = 2**32 - 1, 2**32 - 2, 2**32 - 6, 2**32 - 7  # - 3 to - 5 are used elsewhere


def source(
    images: ImageSet,
    batch_size_rows: int,
    seed: int,
    *,
    flip: bool = False,
    shift: int = 0,
    crop: int = 0,
    resident_bytes: int = 2**32,
) -> Source:
    """Returns a `Source` of shuffled batches of an image set.

    Batches are {"image": float32 [b h w c] in [-1, 1], "label": int32 [b]}. There is no "label" for a set without
    labels. Batches never end: every epoch is a new permutation of all images, and no image is dropped. A batch has
    `batch_size_rows` rows. Positions are counted in 32 bits, so the order repeats after 2**32 examples. `seed` is for
    the order, flips and shifts; with `flip`, each image is mirrored left to right with probability 1/2, and with `shift`
    moved by as many pixels at most on both axes, each distance as likely, its edge repeated; with `crop`, a square of that
    side is cut out of each, at a place drawn anew every time. A set larger than
    `resident_bytes` stays on the host, from which the rows of each step are sent; so does a set on disk, of any size,
    and its source can `follow`.

    Raises UserError where the set is smaller than a batch or its images than `crop`, or where it is on disk and Grain is
    not installed.
    """
    size, rows = len(images.images), batch_size_rows
    if rows < 1:
        raise UserError(f"batch of {rows} rows: --batch-size 1 or more")
    if rows > size:
        raise UserError(
            f"a round takes {rows} images (--batch-size times the discriminator steps), but {images.name} has only {size}: lower --batch-size"
        )

    if crop > min(images.images.shape[1:3]):
        h, w = images.images.shape[1:3]
        raise UserError(f"crop of {crop} pixels: the images of {images.name} are {w}x{h}; take a smaller one")
    arrays = {"image": images.images} if images.labels is None else {"image": images.images, "label": images.labels}
    on_disk = isinstance(images.images, OnDisk)
    resident = not on_disk and sum(array.nbytes for array in arrays.values()) <= resident_bytes
    if on_disk:
        grain_module()  # raises now if Grain is missing, not after compilation

    if resident:

        def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
            return arrays  # the same every time, so that the caller can put them on its devices once
    else:

        def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
            # np.uint32, since a step of 2**31 or more does not fit into int32.
            with jax.default_device(jax.local_devices(backend="cpu")[0]):  # not to wait for steps queued on the device
                chosen = np.asarray(_index(key, np.uint32(step), rows, size))[which]
            return {name: array[chosen] for name, array in arrays.items()}

    def follow(key: Key, step: int, which: slice = slice(None)) -> Iterator[PyTree]:
        return ahead(lambda number: fetch(key, number, which), step)

    def batch(fetched: PyTree, key: Key, step: jax.Array) -> Batch:
        if resident:
            # Replicated: a walk that is split over devices would need a message between them in each of its turns.
            chosen = mesh.gather(_index(key, step, rows, size))
            # Outside of a compiled step the arrays are on the host.
            fetched = {name: array[chosen] for name, array in fetched.items()}
        image = fetched["image"]
        if image.dtype == jnp.uint8:
            # x / 127.5 - 1 with a single rounding, at the end, so that the bits do not depend on how the compiler fuses
            # or rewrites it.
            image = (image.astype(jnp.float32) * 2 - 255) * np.float32(1 / 255)
        if flip:
            mirrored = jax.random.bernoulli(
                jax.random.fold_in(jax.random.fold_in(key, FLIP), step), 0.5, (rows, 1, 1, 1)
            )
            image = jnp.where(mirrored, image[:, :, ::-1], image)
        if shift:
            by = _drawn(key, SHIFT, step, rows, -shift, shift)
            image = _windows(image, by, image.shape[1:3])
        if crop:
            most = jnp.array(image.shape[1:3]) - crop
            image = _windows(image, _drawn(key, CROP, step, rows, 0, most[None]), (crop, crop))
        return {**fetched, "image": image}

    def examples(which: np.ndarray) -> Batch:
        return {"image": middle(images.scaled(which), crop)} | (
            {} if images.labels is None else {"label": images.labels[which]}
        )

    key, spec = jax.random.key(seed), images.spec
    if crop:
        kind = spec.arrays["image"]
        cut = jax.ShapeDtypeStruct((crop, crop, kind.shape[-1]), kind.dtype)
        spec = spec._replace(arrays={**spec.arrays, "image": cut})
    return Source(
        fetch,
        batch,
        key,
        rows,
        spec,
        size,
        resident,
        images.name,
        images.digest,
        follow if on_disk else None,
        images.facts,
        examples,
    )


def _drawn(key: Key, what: int, step: jax.Array, rows: int, low: int, high: int | jax.Array) -> jax.Array:
    """int32 [rows 2] in [low, high], rows and columns of each image."""
    own = jax.random.fold_in(jax.random.fold_in(key, what), step)
    return jax.random.randint(own, (rows, 2), low, high + 1)


def middle(image: np.ndarray, crop: int) -> np.ndarray:
    """Returns the middle of each image [b h w c], a square of `crop` pixels, or without `crop` the whole."""
    if not crop:
        return image
    top, left = ((side - crop) // 2 for side in image.shape[1:3])
    return image[:, top : top + crop, left : left + crop]


def _windows(image: Array, by: jax.Array, sides: tuple[int, ...]) -> jax.Array:
    """[b h w c] -> [b *sides c], from the pixel `by` [b 2] on, edges repeated."""
    for axis in (1, 2):
        places = jnp.arange(sides[axis - 1])[None] + by[:, axis - 1 : axis]
        places = jnp.clip(places, 0, image.shape[axis] - 1)  # [b side]
        image = jnp.take_along_axis(jnp.asarray(image), jnp.expand_dims(places, (3 - axis, 3)), axis)
    return jnp.asarray(image)


@functools.partial(jax.jit, static_argnames=("rows", "size"))
def _index(key: Key, step: jax.Array, rows: int, size: int) -> jax.Array:
    """int32 [rows], the indices of the images of one step."""
    bits = jax.random.bits(jax.random.fold_in(key, ORDER), (2,), jnp.uint32)
    position = jnp.asarray(step).astype(jnp.uint32) * jnp.uint32(rows) + jnp.arange(rows, dtype=jnp.uint32)
    return epoch_index(bits, position, size)
