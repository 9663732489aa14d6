"""Two sources in one batch."""

import jax
import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data.validate import image_set

RNG = np.random.default_rng(0)
A = image_set(RNG.integers(0, 256, (10, 4, 4, 1), np.uint8), np.arange(10) % 3, "a")
B = image_set(RNG.integers(0, 256, (7, 6, 6, 3), np.uint8), None, "b")


def both(**options):
    return data.together(a=data.source(A, 4, 5, **options), b=data.source(B, 4, 5, **options))


def which(batch, images):
    """Which images of the set a batch holds."""
    return [int(np.flatnonzero((images.scaled() == x).all((1, 2, 3)))[0]) for x in np.asarray(batch)]


def test_each_goes_through_its_own_order():
    source = both()
    assert {name: (x.shape, x.dtype) for name, x in source.spec.arrays.items()} == {
        "a": ((4, 4, 1), np.float32), "a_label": ((), np.int32), "b": ((6, 6, 3), np.float32),
    }  # fmt: skip
    assert (source.rows, source.size, source.resident, source.spec.classes) == (4, 10, True, 0)
    assert source.spec.meta["a"]["classes"] == 3 and source.name == "a a and b b" and len(source.digest) == 16
    seen = {"a": [], "b": []}
    for step in range(70):
        batch = source[step]
        rows = which(batch["a"], A)
        np.testing.assert_array_equal(batch["a_label"], A.labels[rows])
        seen["a"] += rows
        seen["b"] += which(batch["b"], B)
    for name, size in (("a", 10), ("b", 7)):
        epochs = np.array(seen[name][: 280 // size * size]).reshape(-1, size)
        assert (np.sort(epochs) == np.arange(size)).all()  # every epoch a permutation
    alone = [which(data.source(A, 4, 5)[step]["image"], A) for step in range(10)]
    assert alone != [seen["a"][4 * i : 4 * i + 4] for i in range(10)]
    same = image_set(np.asarray(A.images), None, "a")
    twin = data.together(a=data.source(same, 4, 5), b=data.source(same, 4, 5))[0]
    assert (np.asarray(twin["a"]) != np.asarray(twin["b"])).any(), "one order for both would pair them"


def test_what_stays_on_disk_is_the_same(tmp_path):
    for name, images in (("a", A), ("b", B)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images.images):
            Image.fromarray(image.squeeze()).save(tmp_path / name / f"{i:02d}.png")
    sources = {}
    for stream in (False, True):
        sets = {name: data.load(str(tmp_path / name), stream=stream) for name in ("a", "b")}
        sources[stream] = data.together(**{name: data.source(one, 4, 5) for name, one in sets.items()})
    assert sources[True].resident is False and sources[True].follow is not None
    ahead = sources[True].follow(sources[True].key, 3)
    for step in (3, 4, 5):
        one, other = sources[False][step], sources[True][step]
        jax.tree.map(np.testing.assert_array_equal, one, other)
        fetched = next(ahead)
        jax.tree.map(np.testing.assert_array_equal, fetched, sources[True].fetch(sources[True].key, step))
    ahead.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: data.together(), "needs sources by name"),
        (
            lambda: data.together(a=data.source(A, 4, 5), b=data.source(B, 3, 5)),
            "give as many rows; got {'a': 4, 'b': 3}",
        ),
        (lambda: data.together(a=data.source(A, 4, 5), b=data.source(B, 4, 6)), "have one seed, the run's"),
        (
            lambda: data.together(a=data.source(A, 4, 5), b=data.source(B, 4, 5, resident_bytes=0)),
            "stay in one place; {'a': 'in memory', 'b': 'on disk'}: stream all of them, or none",
        ),
    ],
)
def test_what_cannot_be_played_together(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_other_data_have_another_digest():
    other = data.together(a=data.source(A, 4, 5), b=data.source(A, 4, 5))
    swapped = data.together(b=data.source(A, 4, 5), a=data.source(B, 4, 5))
    assert len({both().digest, other.digest, swapped.digest}) == 3
