"""The resizers against the packages they are of, by tests/references/resize.py, and on what is known of each."""

import json

import jax
import numpy as np
import pytest
from references.resize import HERE, SIZES, entries, image
from rounding import float32

from gan_jax.evaluation import resize
from gan_jax.workdir.pictures import to_uint8

KEPT = json.loads((HERE / "resize.json").read_text())
# Weights of up to eight pixels, twice (rows, columns), of levels up to 255 that become 2; and the packages round as much.
LEVELS = float32(2 * 16, size=2)
RESIZERS = {"tensorflow": resize.tensorflow, "pytorch": resize.pytorch, "pillow": resize.pillow}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", RESIZERS)
def test_resized_as_the_package_does(name, size):
    out = np.asarray(RESIZERS[name](image(*size)[None]))
    assert out.shape == (1, 299, 299, 3) and out.dtype == np.float32
    np.testing.assert_allclose(entries(out[0]), KEPT["{} {} {}".format(name, *size)], rtol=0, atol=LEVELS)


@pytest.mark.parametrize("name", RESIZERS)
def test_forms_of_the_same_images(name):
    resized = RESIZERS[name]
    pixels = np.stack([image(20, 30), image(20, 30)[::-1]])
    expected = np.asarray(resized(pixels))
    np.testing.assert_array_equal(resized(pixels[1:]), expected[1:])  # an image for itself
    floats = pixels.astype(np.float32) / 127.5 - 1
    np.testing.assert_array_equal(to_uint8(floats), pixels)
    np.testing.assert_allclose(resized(floats), expected, atol=LEVELS)
    np.testing.assert_allclose(jax.jit(resized)(pixels), expected, atol=LEVELS)
    np.testing.assert_allclose(resized(pixels[..., :1]), resized(pixels[..., [0, 0, 0]]), atol=LEVELS)


@pytest.mark.parametrize(
    ("name", "black", "white"), [("tensorflow", -1, 127 / 128), ("pytorch", -1, 1), ("pillow", -1, 127 / 128)]
)
@pytest.mark.parametrize("size", [(5, 7), (299, 299), (400, 310)], ids=str)
def test_black_stays_black_and_white_white(name, black, white, size):
    for level, expected in ((0, black), (255, white)):
        out = RESIZERS[name](np.full((1, *size, 1), level, np.uint8))
        np.testing.assert_allclose(out, np.full((1, 299, 299, 3), expected), rtol=0, atol=LEVELS)


@pytest.mark.parametrize("name", RESIZERS)
def test_nothing_is_moved_where_the_size_is_right(name):
    pixels = image(299, 299)[None]
    scale = (lambda x: x / 127.5 - 1) if name == "pytorch" else (lambda x: x / 128 - 1)
    np.testing.assert_allclose(RESIZERS[name](pixels), scale(pixels.astype(np.float64)), rtol=0, atol=LEVELS)


def test_where_pixels_lie():
    """A ramp over 8 columns: by where each says that output pixel i lies, and only one filters before it leaves out."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8) * 30, (8, 8))[None, ..., None]
    i = np.arange(299)
    at = np.minimum(i * 8 / 299, 7)
    np.testing.assert_allclose(resize.tensorflow(ramp)[0, 5, :, 0], (30 * at - 128) / 128, atol=LEVELS)
    at = np.clip((i + 0.5) * 8 / 299 - 0.5, 0, 7)
    np.testing.assert_allclose(resize.pytorch(ramp)[0, 5, :, 0], 2 * 30 * at / 255 - 1, atol=LEVELS)
    inside = slice(80, 220)  # cubics reproduce ramps, away from the border
    np.testing.assert_allclose(resize.pillow(ramp)[0, 5, inside, 0], ((30 * at - 128) / 128)[inside], atol=LEVELS)
    # Every second column white, twice as wide: two inputs tell nothing of it, all of them do.
    comb = np.zeros((1, 4, 598, 1), np.uint8)
    comb[:, :, ::2] = 255
    np.testing.assert_allclose(resize.pillow(comb)[0, :, 20:-20], -0.5 / 128, atol=LEVELS)
    np.testing.assert_allclose(resize.tensorflow(comb), 127 / 128, atol=LEVELS)


@pytest.mark.parametrize("name", RESIZERS)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"\[b h w c\] of 1 or 3 channels, none of them 0; got \(4, 4, 3\)"),
        (np.zeros((1, 4, 4, 2), np.uint8), r"got \(1, 4, 4, 2\)"),
        (np.zeros((1, 0, 4, 3), np.uint8), r"got \(1, 0, 4, 3\)"),
        (np.zeros((1, 4, 4, 3), np.int32), "images are uint8 in 0..255 or float in [-1, 1]; got int32"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refuses(name, images, message):
    with pytest.raises(ValueError, match=message.replace("[-1, 1]", r"\[-1, 1\]")):
        RESIZERS[name](images)
