"""Image sets from files, and batches by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rounding import float32

from gan_jax import data
from gan_jax.data import arrays, digits, folders
from gan_jax.data.validate import image_set
from gan_jax.types import UserError

RNG = np.random.default_rng(0)
UINT8 = RNG.integers(0, 256, (20, 6, 5, 3), np.uint8)
LABELS = np.arange(20) % 4


def seen(spec):
    """What networks have to know."""
    return spec.shape, spec.classes


@pytest.fixture(scope="module")
def small():
    return image_set(UINT8, LABELS, "small")


# ---- sources


def test_batches_go_through_every_image_once_an_epoch(small):
    source = data.source(small, 7, seed=0)
    batches = [source[step] for step in range(6)]  # two epochs and two rows; batch 2 spans both
    images = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    assert images.dtype == np.float32 and labels.dtype == np.int32
    pixels = np.round((images + 1) * 127.5).astype(np.uint8)
    for epoch in (slice(0, 20), slice(20, 40)):
        met = [int(np.flatnonzero((image == UINT8).all((1, 2, 3)))[0]) for image in pixels[epoch]]
        assert sorted(met) == list(range(20))
        np.testing.assert_array_equal(labels[epoch], LABELS[met])
    assert (source.rows, source.size, seen(source.spec)) == (7, 20, ((6, 5, 3), 4))


@pytest.mark.parametrize("flip", [False, True])
def test_host_and_resident_give_the_same_batches(small, flip):
    resident, host = (
        data.source(small, 7, seed=3, flip=flip, shift=2 * flip, resident_bytes=limit) for limit in (2**32, 0)
    )
    assert isinstance(host.fetch(host.key, 0)["image"], np.ndarray)
    for step in (0, 1, 5):
        for name, value in resident[step].items():
            np.testing.assert_array_equal(value, host[step][name])


def test_a_resident_set_is_sent_once(small):
    source = data.source(small, 7, seed=3)
    assert source.fetch(source.key, 0)["image"] is source.fetch(source.key, 1)["image"]


def test_a_batch_is_the_same_inside_jit(small):
    source = data.source(small, 7, seed=3, flip=True)
    jitted = jax.jit(source.batch)(source.fetch(source.key, 4), source.key, jnp.int32(4))
    for name, value in source[4].items():
        np.testing.assert_array_equal(jitted[name], value)


def test_seeds_under_vmap_are_the_seeds_alone(small):
    source = data.source(small, 7, seed=0, flip=True)
    keys = jnp.stack([jax.random.key(seed) for seed in range(3)])
    images = jax.vmap(source.batch, (None, 0, None))(jax.device_put(source.fetch(keys, 2)), keys, jnp.int32(2))["image"]
    for seed in range(3):
        np.testing.assert_allclose(
            images[seed], data.source(small, 7, seed=seed, flip=True)[2]["image"], atol=float32(4)
        )


def test_seeds_and_steps_differ_and_repeat(small):
    first, again, other = (data.source(small, 7, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[3]["image"], again[3]["image"])
    assert not np.array_equal(first[3]["label"], other[3]["label"]) and not np.array_equal(
        first[3]["label"], first[4]["label"]
    )


def test_flip_mirrors_half_the_rows():
    ramp = image_set(np.tile(np.arange(4, dtype=np.uint8)[:, None], (256, 2, 1, 1)), None, "ramp")
    source = data.source(ramp, 256, seed=0, flip=True)
    images = np.stack([source[step]["image"] for step in range(4)]).reshape(-1, 2, 4)
    rising = images[:, 0, 0] < images[:, 0, 3]
    np.testing.assert_array_equal(images[:, 0], images[:, 1])
    np.testing.assert_allclose(rising.mean(), 0.5, atol=5 * 0.5 / 32)
    assert set(source[0]) == {"image"}


def test_shifts_are_as_likely_and_repeat_the_edge():
    pixels = np.arange(7 * 9, dtype=np.uint8).reshape(1, 7, 9, 1) * 4
    source = data.source(image_set(np.repeat(pixels, 500, 0), None, "one"), 500, seed=0, shift=2)
    seen = np.zeros((5, 5))
    for image in np.asarray(source[0]["image"]):
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(
                np.round((image + 1) * 127.5),
                pixels[0][np.clip(np.arange(7) + dy, 0, 6)][:, np.clip(np.arange(9) + dx, 0, 8)],
            )
        ]
        assert len(matches) == 1
        seen[matches[0][0] + 2, matches[0][1] + 2] += 1
    assert (abs(seen - 20) < 5 * np.sqrt(20)).all()  # of 500 in 25 kinds


@pytest.mark.parametrize("value, expected", [(0, -1.0), (255, 1.0), (51, -0.6)])
def test_range_of_uint8(value, expected):
    source = data.source(image_set(np.full((2, 3, 3, 1), value, np.uint8), None, "grey"), 2, seed=0)
    np.testing.assert_allclose(source[0]["image"], expected, atol=float32(4))


def test_floats_pass_unchanged():
    images = RNG.uniform(-1, 1, (3, 2, 2, 1)).astype(np.float32)
    batch = data.source(image_set(images, None, "floats"), 3, seed=0)[0]["image"]
    np.testing.assert_array_equal(np.sort(np.ravel(batch)), np.sort(np.ravel(images)))


def test_step_may_pass_the_end_of_int32_positions(small):
    """2**31 positions are met after 300 million steps of 7; both ways of reading must still agree there."""
    step = 2**31 // 7 + 11
    resident, host = (data.source(small, 7, seed=3, resident_bytes=limit) for limit in (2**32, 0))
    np.testing.assert_array_equal(resident[step]["image"], host[step]["image"])


# ---- toys


@pytest.mark.parametrize(
    "make, centres, std",
    [(data.ring, data.ring_centres(), 0.01), (data.grid, data.grid_centres(), 0.05)],
    ids=["ring", "grid"],
)
def test_toy_mixtures(make, centres, std):
    source = make(20000, seed=0)
    batch = jax.jit(source.batch)(source.fetch(source.key, 0), source.key, 0)
    x, label = np.asarray(batch["image"]), np.asarray(batch["label"])
    assert x.shape == (20000, 2) and x.dtype == np.float32 and label.dtype == np.int32
    assert seen(source.spec) == ((2,), len(centres)) and source.size == 0
    noise = x - centres[label]
    np.testing.assert_allclose(noise.mean(0), 0, atol=5 * std / np.sqrt(20000))
    np.testing.assert_allclose(noise.std(0), std, rtol=0.03)
    share = np.bincount(label, minlength=len(centres)) / len(label)
    np.testing.assert_allclose(share, 1 / len(centres), atol=5 * np.sqrt(1 / len(centres) / 20000))
    assert not np.array_equal(x, source[1]["image"])


def test_toys_are_not_drawn_from_the_latents_bits():
    """A run draws from fold_in(key, step); noise made of the same bits would tie the data to the latents."""
    source = data.ring(64, seed=0)
    batch = source[5]
    noise = (batch["image"] - data.ring_centres()[batch["label"]]) / 0.01
    for key in (jax.random.fold_in(source.key, 5), *jax.random.split(jax.random.fold_in(source.key, 5))):
        assert abs(np.corrcoef(np.ravel(noise), np.ravel(jax.random.normal(key, (64, 2))))[0, 1]) < 0.5


def test_centres():
    assert (
        len(np.unique(np.round(data.ring_centres(), 5), axis=0)) == 8
    )  # not seven: the end of the circle is its beginning
    np.testing.assert_allclose(np.hypot(*data.ring_centres(8, 2.0).T), 2, rtol=float32(4))
    assert {tuple(c) for c in data.grid_centres().tolist()} == {
        (float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2)
    }


# ---- readers


def test_digits():
    images = digits.read()
    assert images.images.shape == (1797, 8, 8, 1) and images.images.dtype == np.uint8 and images.images.max() == 255
    assert images.labels.dtype == np.int32 and images.classes == 10
    assert len(np.unique(images.images)) == 17


GREY = UINT8[..., 0]
FLOATS = UINT8 / np.float64(255)


@pytest.mark.parametrize(
    "content, split, images, classes",
    [
        ({"x_train": GREY, "y_train": LABELS, "x_test": GREY[:3], "y_test": LABELS[:3]}, "train", GREY[..., None], 4),
        (
            {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:3], "y_test": LABELS[:3]},
            "test",
            GREY[:3, ..., None],
            3,
        ),
        ({"images": UINT8, "labels": LABELS[:, None].astype(np.uint8)}, "train", UINT8, 4),
        ({"image": UINT8, "label": LABELS}, "train", UINT8, 4),
        ({"x": UINT8, "y": LABELS}, "train", UINT8, 4),
        ({"faces": UINT8, "names": LABELS, "x_test": UINT8}, "train", UINT8, 4),
        ({"images": FLOATS}, "train", (FLOATS * 2 - 1).astype(np.float32), 0),
        (
            {"images": (FLOATS * 2 - 1).astype(np.float16)},
            "train",
            (FLOATS * 2 - 1).astype(np.float16).astype(np.float32),
            0,
        ),
        ({"images": UINT8.astype(">f4") / 255}, "train", (FLOATS * 2 - 1).astype(np.float32), 0),
    ],
)
def test_npz(tmp_path, content, split, images, classes):
    np.savez(tmp_path / "set.npz", **content)
    found = arrays.read(tmp_path / "set.npz", split)
    assert found.images.dtype == images.dtype and found.classes == classes
    np.testing.assert_allclose(found.images, images, atol=float32(4))
    if classes:
        assert found.labels.dtype == np.int32
        np.testing.assert_array_equal(found.labels, LABELS[: len(images)])


def test_npy(tmp_path):
    np.save(tmp_path / "set.npy", np.asfortranarray(UINT8))
    np.testing.assert_array_equal(arrays.read(tmp_path / "set.npy").images, UINT8)


def test_digest_tells_sets_apart(small):
    assert len(small.digest) == 16 and int(small.digest, 16) >= 0
    others = [(UINT8, None), (UINT8, LABELS[::-1]), (UINT8[::-1], LABELS), (UINT8.reshape(20, 5, 6, 3), LABELS)]
    assert len({small.digest, *(image_set(images, labels, "small").digest for images, labels in others)}) == 5
    assert image_set(UINT8.copy(), LABELS.astype(np.uint8), "another name").digest == small.digest


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def test_flat_folder_in_the_order_of_names(tmp_path):
    for i, name in enumerate(["b.png", "a.PNG", "c.webp"]):
        save(UINT8[i], tmp_path / name, format="webp" if "webp" in name else "png", lossless=True)
    for noise in (".hidden.png", "Thumbs.db", "notes.txt", "__MACOSX/._a.png"):
        (tmp_path / noise).parent.mkdir(exist_ok=True)
        (tmp_path / noise).write_bytes(b"not an image")
    images = folders.read(tmp_path)
    np.testing.assert_array_equal(images.images, UINT8[[1, 0, 2]])
    assert images.labels is None and seen(images.spec) == ((6, 5, 3), 0)


def test_sub_folders_are_classes(tmp_path):
    for name in ("dog/1.png", "cat/1.png", "cat/2.png"):
        save(GREY[0], tmp_path / name)
    images = folders.read(tmp_path)
    assert seen(images.spec) == ((6, 5, 1), 2)
    np.testing.assert_array_equal(images.labels, [0, 0, 1])


HALF = np.zeros((2, 2, 4), np.uint8)  # transparent black, which is white on white
WIDE = np.array([[0, 65535], [257, 32896]], np.uint16)


@pytest.mark.parametrize(
    "image, expected",
    [
        (Image.fromarray(HALF), np.full((2, 2, 3), 255)),
        (Image.fromarray(HALF[..., 2:]), np.full((2, 2, 1), 255)),
        (Image.fromarray(WIDE), [[[0], [255]], [[1], [128]]]),
        (Image.fromarray(np.eye(2, dtype=bool)), [[[255], [0]], [[0], [255]]]),
        (Image.fromarray(np.eye(2, dtype=np.uint8)).convert("P"), np.repeat(np.eye(2)[..., None], 3, -1)),
    ],
    ids=["RGBA", "LA", "16 bits", "1 bit", "palette"],
)
def test_modes(tmp_path, image, expected):
    save(image, tmp_path / "a.png")
    np.testing.assert_array_equal(folders.read(tmp_path).images[0], expected)


@pytest.mark.parametrize("channels, shape", [(None, (2, 2, 2, 3)), (3, (2, 2, 2, 3)), (1, (2, 2, 2, 1))])
def test_channels_of_grey_beside_colour(tmp_path, channels, shape):
    save(np.full((2, 2), 7, np.uint8), tmp_path / "a.png")
    save(np.full((2, 2, 3), 9, np.uint8), tmp_path / "b.png")
    images = folders.read(tmp_path, channels=channels).images
    assert images.shape == shape
    assert np.unique(images[0]) == 7 and np.unique(images[1]) == 9


def test_camera_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    save(np.zeros((4, 8), np.uint8), tmp_path / "a.jpg", exif=exif)
    assert folders.read(tmp_path).images.shape == (1, 8, 4, 1)


@pytest.mark.parametrize(
    "fit, row",
    [("crop", [100, 100, 200, 200]), ("stretch", [50, 100, 200, 250]), ("pad", None)],
)
def test_fit(tmp_path, fit, row):
    """Four plain stripes, twice as wide as high."""
    stripes = np.repeat(np.array([50, 100, 200, 250], np.uint8), 4)
    save(np.tile(stripes, (8, 1)), tmp_path / "a.png")
    image = folders.read(tmp_path, size=4, fit=fit).images[0, :, :, 0]
    assert image.shape == (4, 4)
    if fit == "pad":
        assert image[0].max() == 0 and image[3].max() == 0 and image[1].min() > 30
    else:
        np.testing.assert_allclose(image[2].astype(float), row, atol=20)


@pytest.mark.parametrize("size, shape", [(None, (8, 8, 1)), (8, (8, 8, 1))])
def test_load_digits(size, shape):
    assert seen(data.load("digits", size=size).spec) == (shape, 10)


def test_load_paths(tmp_path, monkeypatch):
    np.savez(tmp_path / "set.npz", x_train=GREY, x_test=GREY[:2])
    save(UINT8[0], tmp_path / "faces" / "a.png")
    assert len(data.load(str(tmp_path / "set.npz"), "test").images) == 2
    assert seen(data.load(str(tmp_path / "faces"), size=4, fit="stretch").spec) == ((4, 4, 3), 0)
    monkeypatch.chdir(tmp_path)
    assert data.load("faces").name == "faces"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert seen(data.load("~/set.npz").spec) == ((6, 5, 1), 0)


# ---- fixed points


@pytest.mark.parametrize(
    ("centres", "std"), [(data.ring_centres(), 0.01), (data.grid_centres(), 0.05)], ids=["ring", "grid"]
)
def test_points_are_one_set_of_the_mixture(centres, std):
    points = data.points(centres, std)
    assert points.images.shape == (100_000, 2) and points.images.dtype == np.float32 and points.classes == len(centres)
    away = (points.images - centres[points.labels]) / std
    np.testing.assert_allclose(away.mean(0), 0, atol=5 / np.sqrt(1e5))
    np.testing.assert_allclose(np.cov(away.T), np.eye(2), atol=5 * np.sqrt(2 / 1e5))
    even = len(points.labels) / len(centres)
    counts = np.bincount(points.labels, minlength=len(centres))
    assert ((counts - even) ** 2 / even).sum() < len(centres) + 5 * np.sqrt(2 * len(centres))
    assert data.points(centres, std).digest == points.digest != data.points(centres, std, seed=1).digest


def test_batches_of_points_are_the_points_themselves():
    """Not scaled to [-1, 1], each once an epoch."""
    points = data.points(data.grid_centres(), 0.05, 60)
    source = data.source(points, 20, seed=3)
    batches = [source[step] for step in range(3)]
    rows = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(np.sort(rows, 0), np.sort(points.images, 0))
    assert np.abs(rows).max() > 3 and seen(source.spec) == ((2,), 25)


def test_no_points():
    with pytest.raises(UserError, match="a set of 0 points"):
        data.points(data.ring_centres(), 0.01, 0)
