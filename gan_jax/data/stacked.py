"""Stacked MNIST: three digits as the channels of one image, a distribution with exactly 1,000 modes."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.ondisk import OnDisk, digest_of
from gan_jax.data.shuffle import epoch_index
from gan_jax.system import mesh
from gan_jax.types import Batch, ImageSet, Key, PyTree, Source, UserError, spec_of

# Folded into the key, so that triples are not drawn from the same bits as the latents of a run.
ORDER, DRAW = 2**32 - 1, 2**32 - 3


def stacked(digits: ImageSet, rows: int, seed: int, *, count: int = 0) -> Source:
    """Returns a `Source` of triples of `digits`: {"image": float32 [b h w 3] in [-1, 1], "label": int32 [b]}.

    Labels are 100 a + 10 b + c for digits a, b, c in the three channels. The digits, [n h w 1] of ten classes, stay on
    the device. With `count` there are that many fixed triples, the same for every seed, in a new order in each epoch
    (PacGAN, arXiv:1712.04086, section 4.2, has 128,000). With 0, each step draws new triples (Unrolled GAN,
    arXiv:1611.02163, section 3.3). Raises UserError for sets without exactly ten classes and one channel, sets that
    stay on disk, and fewer than `rows` triples.
    """
    h, w, channels = digits.images.shape[1:]
    if channels != 1 or digits.classes != 10 or digits.labels is None:
        raise UserError(
            f"{digits.name} has {channels} channels and {digits.classes} classes: stacked digits are made of grey images of ten classes, such as mnist"
        )
    if isinstance(digits.images, OnDisk):
        raise UserError(f"{digits.name} stays on disk, and stacked digits are made on the device: leave --stream out")
    if rows < 1 or count < 0 or 0 < count < rows:
        raise UserError(
            f"{rows} rows a step of {count} triples: 1 row or more, and as many triples, or 0 for fresh ones"
        )
    size = len(digits.images)
    arrays = {"image": digits.images, "label": digits.labels}
    if count:
        arrays["triples"] = triples(size, count)

    def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
        return arrays

    def batch(fetched: PyTree, key: Key, step: jax.Array) -> Batch:
        if count:
            bits = jax.random.bits(jax.random.fold_in(key, ORDER), (2,), jnp.uint32)
            position = jnp.asarray(step).astype(jnp.uint32) * jnp.uint32(rows) + jnp.arange(rows, dtype=jnp.uint32)
            chosen = fetched["triples"][mesh.gather(epoch_index(bits, position, count))]  # [b 3]
        else:
            draw = jax.random.fold_in(jax.random.fold_in(key, DRAW), step)
            chosen = jax.random.randint(draw, (rows, 3), 0, size, jnp.int32)
        image = jnp.moveaxis(jnp.asarray(fetched["image"])[chosen][..., 0], 1, -1)  # [b 3 h w] -> [b h w 3]
        if image.dtype == jnp.uint8:
            image = (image.astype(jnp.float32) * 2 - 255) * np.float32(1 / 255)  # rounded once, at the end
        a, b, c = jnp.asarray(fetched["label"])[chosen].T
        return {"image": image, "label": 100 * a + 10 * b + c}

    def examples(which: np.ndarray) -> Batch:
        chosen = triples(size, count or int(which.max()) + 1)[which]
        image = np.moveaxis(digits.scaled(chosen.ravel())[..., 0].reshape(*chosen.shape, h, w), 1, -1)
        return {"image": image, "label": np.asarray(digits.labels)[chosen] @ np.array([100, 10, 1], np.int32)}

    name = f"{digits.name}, {f'{count:,} triples' if count else 'fresh triples'}"
    digest = digest_of("stacked", digits.digest, count)
    return Source(
        fetch,
        batch,
        jax.random.key(seed),
        rows,
        spec_of((h, w, 3), 1000),
        count,
        True,
        name,
        digest,
        facts=digits.facts,
        examples=examples,
    )


def triples(size: int, count: int) -> np.ndarray:
    """Returns indices into a set of `size` images, int32 [count 3], drawn with replacement, the same in every call."""
    return np.random.default_rng(0).integers(0, size, (count, 3), dtype=np.int32)
