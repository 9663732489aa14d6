"""Bicubic resizing: MATLAB's taps, borders, and what other programs agree with inside."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax.data.bicubic import resized, shrunk, weights
from gan_jax.types import UserError

RNG = np.random.default_rng(0)


def test_the_taps():
    down = weights(16, 8)[4]
    half = [-0.01171875, -0.03515625, 0.11328125, 0.43359375]
    np.testing.assert_allclose(down[5:13], [*half, *half[::-1]], rtol=1e-12)
    taps = weights(16, 32)
    np.testing.assert_allclose(taps[8, 2:6], [-0.0234375, 0.2265625, 0.8671875, -0.0703125], rtol=1e-12)
    np.testing.assert_allclose(taps[9, 3:7], [-0.0703125, 0.8671875, 0.2265625, -0.0234375], rtol=1e-12)


@pytest.mark.parametrize("size, to", [(16, 8), (16, 4), (15, 5), (8, 16), (7, 28), (9, 9), (3, 12)])
def test_rows_sum_to_one_and_borders_are_mirrored(size, to):
    rows = weights(size, to)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(rows, rows[::-1, ::-1], atol=1e-12)
    # The same as the middle of the image mirrored to both sides, whose own border plays no part.
    wide = weights(5 * size, 5 * to)[2 * to : 3 * to].reshape(to, 5, size)
    folded = sum(wide[:, i] if i % 2 == 0 else wide[:, i, ::-1] for i in range(5))
    np.testing.assert_allclose(rows, folded, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 4])
def test_inside_it_is_pillows(scale):
    image = RNG.integers(0, 256, (48, 64, 3), np.uint8)
    small = (48 // scale, 64 // scale)
    ours = resized(image, small).astype(int)
    theirs = np.asarray(Image.fromarray(image).resize(small[::-1], Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - theirs)[2:-2, 2:-2].max() <= 1  # they round after each axis
    assert resized(image, (48, 64)).tolist() == image.tolist()


def test_the_network_sees_what_a_file_would_hold():
    image = RNG.integers(0, 256, (2, 16, 24, 3), np.uint8)
    low = shrunk(jnp.asarray(image, jnp.float32) / 127.5 - 1, 4)
    on_disk = np.stack([resized(one, (4, 6)) for one in image]).astype(np.float32) / 127.5 - 1
    # float32 and float64 may round one level apart where a value lies between two
    assert np.abs(low - on_disk).max() < 1.01 / 127.5 and (np.abs(low - on_disk) < 1e-5).mean() > 0.98
    with pytest.raises(UserError, match="images of 16x24 cannot be made 5 times smaller"):
        shrunk(jnp.zeros((1, 16, 24, 3)), 5)
