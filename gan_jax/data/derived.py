"""A source whose batches hold more arrays, made of what they have: small images of large ones, what is missing."""

from collections.abc import Callable, Mapping

import jax

from gan_jax.data.ondisk import digest_of
from gan_jax.types import Batch, Key, PyTree, Source

DERIVED = 2**32 - 8  # folded into the key, so that what is drawn is no other draw


def derived(inner: Source, what: str, make: Callable[[Batch, Key], Mapping[str, jax.Array]]) -> Source:
    """Returns `inner` with the arrays `make(batch, key)` beside its own, in each batch; `key` is of the step.

    `what` describes them; it is part of the identity of the data, so that a run does not go on with others. Examples have
    them too, drawn by one key.
    """

    def with_more(batch: Batch, key: Key) -> Batch:
        return {**batch, **make(batch, key)}

    def batch(fetched: PyTree, key: Key, step: jax.Array) -> Batch:
        own = jax.random.fold_in(jax.random.fold_in(key, DERIVED), step)
        return with_more(inner.batch(fetched, key, step), own)

    def arrays() -> dict[str, jax.ShapeDtypeStruct]:
        shapes = jax.eval_shape(lambda: with_more(inner.spec.blank(inner.rows), jax.random.key(0)))
        return {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in shapes.items()}

    found = inner.examples
    examples = None if found is None else lambda which: with_more(found(which), jax.random.key(0))
    return Source(
        inner.fetch, batch, inner.key, inner.rows, inner.spec._replace(arrays=arrays()), inner.size, inner.resident,
        inner.name, digest_of("derived", inner.digest, what), inner.follow, {**inner.facts, "made of them": what}, examples,
    )  # fmt: skip
