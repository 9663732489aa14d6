"""Augmentation: published shares and draws, closed forms, and that real and fake images see the same family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from rounding import float32

from gan_jax import augment
from gan_jax.augment import SYM6, cutout, diffaugment, inverse_map, pipe, translation, warped
from gan_jax.system import mesh

KEY = jax.random.key(0)
WARPED = jax.jit(warped)
RNG = np.random.default_rng(0)


def smooth(rows, high, wide, channels=1):
    """Images whose pixels vary slowly, so that any good interpolation agrees."""
    noise = RNG.normal(size=(rows, high, wide, channels))
    return jnp.float32(scipy.ndimage.gaussian_filter(noise, (0, 2.5, 2.5, 0), mode="reflect") * 4)


PARTS = {"colour": augment.colour, "translation": translation, "cutout": cutout, "all": diffaugment, "ada": pipe()}
ONE = {name: jax.jit(part) for name, part in PARTS.items()}
each = pytest.mark.parametrize("name", ONE)


@each
@pytest.mark.parametrize("shape", [(5, 8, 8, 1), (4, 7, 12, 3), (3, 6, 9, 2)])
def test_any_shape_by_the_key_alone(name, shape):
    x = jnp.float32(RNG.uniform(-1, 1, shape))
    one, same, other = (ONE[name](x, jax.random.key(i), 1.0) for i in (1, 1, 2))
    assert one.shape == shape and one.dtype == jnp.float32 and np.isfinite(one).all()
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
    still = ONE[name](x, KEY, 0.0)
    np.testing.assert_allclose(still, x, atol=float32(60) if name == "ada" else 0)


@each
def test_a_row_hangs_on_itself_alone(name):
    """And not on p of others: with p = 1/2 some rows change, and the gradient of a row's result is in that row."""
    x = jnp.float32(RNG.uniform(-1, 1, (16, 8, 8, 1)))
    slope = jax.grad(lambda x: (ONE[name](x, KEY, 0.5)[3] ** 2).sum())(x)
    assert np.abs(slope[3]).max() > 0 and np.abs(np.delete(slope, 3, 0)).max() == 0
    if name != "ada":
        changed = np.abs(ONE[name](x, KEY, jnp.float32(0.5)) - x).max((1, 2, 3)) > 0
        assert 0 < changed.sum() < 16 or name == "all"


def test_rows_that_are_split_over_devices():
    """Each device changes its own as one device would."""
    x = jnp.float32(RNG.uniform(-1, 1, (8, 8, 8, 1)))
    grid = mesh.make(4, 8, 1)
    split = jax.device_put(x, mesh.batch_sharding(grid))
    for part in (PARTS["ada"], diffaugment):
        expected = jax.jit(part)(x, KEY, 0.7)
        np.testing.assert_allclose(jax.jit(part)(split, KEY, 0.7), expected, atol=float32(40))


# ---- DiffAugment


@pytest.mark.parametrize(("size", "share"), [(28, 0.1858), (32, 0.1865), (64, 0.1889)])
def test_the_mean_share_that_is_cut_out(size, share):
    """In closed form, by all offsets; of draws within four standard errors."""
    side = int(size / 2 + 0.5)
    starts = np.arange(size + 1 - side % 2) - side // 2
    inside = np.minimum(starts + side, size) - np.maximum(starts, 0)
    exact = (inside.mean() / size) ** 2
    assert exact == pytest.approx(share, abs=5e-5)
    cut = 1 - np.asarray(cutout(jnp.ones((4_000, size, size, 1)), KEY)).mean((1, 2, 3))
    assert abs(cut.mean() - exact) < 4 * cut.std() / np.sqrt(4_000)


def test_translation_is_a_shift_with_zeros():
    x = jnp.float32(RNG.uniform(1, 2, (400, 9, 28, 2)))
    y, shifts = np.asarray(translation(x, KEY)), set()
    for one, moved in zip(np.asarray(x), y, strict=True):
        rows, columns = np.flatnonzero(moved[..., 0].any(1)), np.flatnonzero(moved[..., 0].any(0))
        dy, dx = (place[0] if place[0] else place[-1] - last for place, last in ((rows, 8), (columns, 27)))
        shifts.add((int(dy), int(dx)))
        np.testing.assert_array_equal(moved, scipy.ndimage.shift(one, (dy, dx, 0), order=0))
        assert len(rows) * len(columns) == (9 - abs(dy)) * (28 - abs(dx))
    assert {dy for dy, _ in shifts} == {-1, 0, 1} and {dx for _, dx in shifts} == {*range(-4, 5)}


def test_colour_in_closed_form():
    """Brightness leaves differences, saturation those of channels, and contrast the ratio of differences."""
    x = jnp.float32(RNG.uniform(-1, 1, (3_000, 4, 4, 3)))
    y = np.asarray(augment.colour(x, KEY), np.float64)
    x = np.asarray(x, np.float64)
    u = y.mean((1, 2, 3)) - x.mean((1, 2, 3))
    grey = [z.mean(-1) - z.mean((1, 2, 3), keepdims=True)[..., 0] for z in (x, y)]
    c = (grey[0] * grey[1]).sum((1, 2)) / (grey[0] ** 2).sum((1, 2))
    np.testing.assert_allclose(grey[1], c[:, None, None] * grey[0], atol=1e-6)
    across = [z - z.mean(-1, keepdims=True) for z in (x, y)]
    s = (across[0] * across[1]).sum((1, 2, 3)) / (across[0] ** 2).sum((1, 2, 3)) / c
    for drawn, low, high in ((u, -0.5, 0.5), (c, 0.5, 1.5), (s, 0, 2)):
        assert low - 1e-5 <= drawn.min() and drawn.max() <= high + 1e-5
        spread = (high - low) / np.sqrt(12)
        assert abs(drawn.mean() - (low + high) / 2) < 4 * spread / np.sqrt(3_000)
        assert drawn.std() == pytest.approx(spread, rel=0.05)


# ---- ADA


def test_the_filter_is_an_orthogonal_wavelets():
    assert SYM6.sum() == pytest.approx(np.sqrt(2)) and (SYM6**2).sum() == pytest.approx(1)
    np.testing.assert_allclose([SYM6[2 * k :] @ SYM6[: 12 - 2 * k] for k in range(1, 6)], 0, atol=1e-11)


def test_doubled_and_halved_is_the_image_itself():
    x = jnp.float32(RNG.uniform(-1, 1, (3, 9, 14, 2)))
    np.testing.assert_allclose(WARPED(x, jnp.broadcast_to(jnp.eye(3), (3, 3, 3))), x, atol=float32(60))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, -3], [0, 1, 2], [0, 0, 1]],
        [[1, 0, 0.4], [0, 1, -1.7], [0, 0, 1]],
        [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        [[0.8, 0.3, 1], [-0.2, 1.1, 2], [0, 0, 1]],
        [[1.6, 0, 0], [0, 0.6, 0], [0, 0, 1]],
    ],
    ids=["whole pixels", "parts of a pixel", "mirrored", "turned", "affine", "stretched"],
)
def test_warps_are_those_of_scipy(matrix):
    """Of smooth images, by splines, about the centre: x is the second axis, and what is outside is mirrored."""
    x = smooth(1, 24, 30)
    found = np.asarray(WARPED(x, jnp.float32(matrix)[None]))[0, ..., 0]
    (a, b, c), (d, e, f), _ = matrix
    middle = np.array([11.5, 14.5])
    inverse = np.array([[e, d], [b, a]])
    offset = middle + np.array([f, c]) - inverse @ middle
    expected = scipy.ndimage.affine_transform(np.asarray(x)[0, ..., 0], inverse, offset, order=3, mode="mirror")
    assert np.abs(found - expected).max() < 0.06 * np.ptp(expected), np.abs(found - expected).max() / np.ptp(expected)


@pytest.mark.parametrize(
    ("p", "whole", "geometry"), [(0.1, 0.323, 0.519), (0.2, 0.0924, 0.251), (0.5, 0.00069, 0.0146)]
)
def test_the_share_of_images_that_stay_as_they_are(p, whole, geometry):
    """(1 - p/2)(1 - .75 p)(1 - p)^5 for the geometry, and of the whole pipe (1 - p/2)^2 (1 - .75 p)(1 - p)^9."""
    n = 4_000
    maps = inverse_map(KEY, (n, 28, 28, 3), p)
    shifts = (1 - p) + p / 64  # a whole-pixel shift may be drawn as none; so rarely that both axes are
    still = np.mean(np.abs(maps - jnp.eye(3)[None]).max((1, 2)) < 1e-6)
    expected = (1 - p / 2) * (1 - 0.75 * p) * (1 - p) ** 5
    assert expected == pytest.approx(geometry, rel=5e-3)
    assert abs(still - expected * shifts / (1 - p)) < 4 * np.sqrt(expected / n) + 1e-3
    assert (1 - p / 2) ** 2 * (1 - 0.75 * p) * (1 - p) ** 9 == pytest.approx(whole, rel=0.01)


def test_signs_are_not_mirrored_turned_or_inverted():
    """Nothing changes the orientation, and no grey is mirrored: determinants are positive, and off-diagonals 0."""
    maps = np.asarray(inverse_map(KEY, (500, 28, 28, 1), 1.0, mirror=False, rotate=False))
    assert (np.diagonal(maps, axis1=1, axis2=2) > 0).all() and (maps[:, [0, 1], [1, 0]] == 0).all()
    both = np.asarray(inverse_map(KEY, (500, 28, 28, 1), 1.0))
    assert 0.3 < np.mean(np.linalg.det(both[:, :2, :2]) < 0) < 0.7
    x = jnp.broadcast_to(jnp.float32([-0.9, 0.9])[None, None, :, None], (500, 8, 2, 1))
    kept, turned = (augment._coloured(x, KEY, 1.0, flips) for flips in (False, True))
    slope = [np.asarray(y[:, 0, 1, 0] - y[:, 0, 0, 0]) for y in (kept, turned)]
    assert (slope[0] > 0).all() and 0.4 < np.mean(slope[1] < 0) < 0.6


def test_hue_turns_about_the_greys():
    """By 120 degrees channels change places; the mean of the channels stays, at any angle."""
    x = jnp.float32(RNG.uniform(-1, 1, (1, 2, 2, 3)))
    third = augment._hue(x, jnp.full((1, 1, 1, 1), 2 * jnp.pi / 3))
    np.testing.assert_allclose(third, jnp.roll(x, 1, -1), atol=float32(20))
    some = augment._hue(x, jnp.full((1, 1, 1, 1), 0.7))
    np.testing.assert_allclose(some.mean(-1), x.mean(-1), atol=float32(20))
    np.testing.assert_allclose((some**2).sum(-1), (x**2).sum(-1), rtol=float32(40))


def test_two_halves_of_rotations_are_p():
    p = 0.2
    angles = np.asarray(inverse_map(KEY, (6_000, 8, 8, 1), p, mirror=False))
    # With neither turn by 90 degrees nor rotation the map is diagonal.
    diagonal = np.mean((np.abs(angles[:, [0, 1], [1, 0]]) < 1e-6).all(1))
    expected = (1 - p) * (1 - p + p / 2)  # of the four turns two leave it diagonal
    assert abs(diagonal - expected) < 4 * np.sqrt(expected * (1 - expected) / 6_000)
