"""Pictures: pixel values, where things stand, and files."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax.workdir import pictures

RNG = np.random.default_rng(0)


def test_to_uint8_ends_middle_and_beyond():
    values = [-1, 1, 0, -1.2, 7, -np.inf, np.inf, np.nan, 2 / 255 - 1, 254 / 127.5 - 1]
    pixels = pictures.to_uint8(np.array(values, np.float32))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, [0, 255, 128, 0, 255, 0, 255, 0, 1, 254])


def test_to_uint8_rounds_and_does_not_cut():
    steps = np.arange(256)
    for off in (-0.49, 0, 0.49):
        np.testing.assert_array_equal(pictures.to_uint8((steps + off) / 127.5 - 1), steps)


def test_to_uint8_undoes_what_the_data_did():
    pixels = RNG.integers(0, 256, (3, 5, 4, 2), np.uint8)
    np.testing.assert_array_equal(pictures.to_uint8(pixels.astype(np.float32) / 127.5 - 1), pixels)


@pytest.mark.parametrize(
    ("count", "shape", "columns", "pad", "rows", "across", "scale"),
    [
        (16, (40, 40, 1), None, 2, 4, 4, 1),
        (10, (48, 64, 3), None, 2, 4, 3, 1),  # the square root of 10 * 48 / 64, upwards; two cells stay empty
        (4, (1, 320, 1), None, 2, 4, 1, 2),  # the longer side ends it: 2 * 320 = 640
        (6, (8, 8, 1), 3, 1, 2, 3, 5),  # 5 * 8 = 40
        (3, (28, 28, 3), 5, 0, 1, 5, 2),  # 2 * 28 is the first above 40
        (2, (12, 20, 1), 1, 4, 2, 1, 4),  # the shorter side decides
        (1, (64, 64, 1), None, 2, 1, 1, 1),
    ],
)
def test_grid_geometry(count, shape, columns, pad, rows, across, scale):
    h, w, c = shape
    pixels = RNG.integers(
        80, 176, (count, *shape), np.uint8
    )  # never 255, the background, nor so far out that bicubic overshoots
    sheet = pictures.grid(pixels / 127.5 - 1, columns, pad)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (rows * (h * scale + pad) + pad, across * (w * scale + pad) + pad, c)
    rest = np.ones(sheet.shape[:2], bool)
    for i in range(count):
        top = pad + (i // across) * (h * scale + pad)
        left = pad + (i % across) * (w * scale + pad)
        cell = np.s_[top : top + h * scale, left : left + w * scale]
        # Pillow's bicubic of each channel in floating point: the picture is rounded after each of its two passes.
        planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(pixels[i], -1, 0)]
        smooth = np.stack([plane.resize((w * scale, h * scale), Image.Resampling.BICUBIC) for plane in planes], -1)
        np.testing.assert_allclose(sheet[cell], np.clip(smooth, 0, 255), atol=0 if scale == 1 else 2)
        rest[cell] = False
    np.testing.assert_array_equal(sheet[rest], 255)


def test_grid_pads_by_two():
    np.testing.assert_array_equal(
        pictures.grid(np.zeros((4, 40, 40, 1))), pictures.grid(np.zeros((4, 40, 40, 1)), 2, 2)
    )


@pytest.mark.parametrize("shape", [(4, 8, 8), (0, 8, 8, 1), (8, 8, 1), (4, 8, 0, 2), (2, 4, 8, 8, 1), (4, 2)], ids=str)
@pytest.mark.usefixtures("unchecked")
def test_grid_refuses(shape):
    with pytest.raises(
        ValueError, match=r"images \[b h w c\], none of them 0; got \({}\)".format(", ".join(map(str, shape)))
    ):
        pictures.grid(np.zeros(shape))


def blue(picture):
    """Rows and columns of the pixels of fakes, and those of the rings of reals."""
    return np.argwhere((picture == (30, 80, 200)).all(-1)), np.argwhere((picture == (170, 170, 170)).all(-1))


CORNERS = np.array([[-1.0, -1], [1, 1], [-1, 1], [1, -1]])


@pytest.mark.parametrize(
    ("point", "at"),
    [
        ((0, 0), (0.5, 0.5)),
        ((1, 0), (0.5, 0.9)),
        ((0, 1), (0.1, 0.5)),
        ((-1, -1), (0.9, 0.1)),
        ((0.5, -0.25), (0.6, 0.7)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("shift", "size"), [(0, 1), (7, 0.01)])
@pytest.mark.usefixtures("unchecked")
def test_scatter_shows_points_where_they_are(point, at, shift, size):
    # Reals from -1 to 1, and a quarter more on each side: x = -1.25 .. 1.25 is the width, y the height upwards.
    picture = pictures.scatter(shift + size * np.array([point]), shift + size * CORNERS)
    assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8
    dots, rings = blue(picture)
    assert 4 <= len(dots) <= 25
    np.testing.assert_allclose(dots.mean(0), 479 * np.array(at), atol=1)
    assert {tuple(quarter) for quarter in rings // 240} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_allclose(rings.min(0), 48 - 9, atol=1.5)  # whole rings, none cut by the edge
    np.testing.assert_allclose(rings.max(0), 431 + 9, atol=1.5)
    assert (picture[0, 0] == 255).all()


def test_scatter_keeps_strays_on_the_edge():
    dots, _ = blue(pictures.scatter(np.array([[50.0, 0], [0, -50]]), CORNERS, side=200))
    assert (dots[:, 1] >= 197).any() and (dots[:, 0] >= 197).any()


@pytest.mark.parametrize("stray", [np.nan, np.inf])
def test_scatter_survives_what_is_not_finite(stray):
    assert pictures.scatter(np.array([[stray, 0], [0, 0]]), CORNERS).shape == (480, 480, 3)


def test_scatter_of_one_place():
    dots, rings = blue(pictures.scatter(np.zeros((1, 2)), np.zeros((3, 2))))
    np.testing.assert_allclose(dots.mean(0), 239.5, atol=1)
    np.testing.assert_allclose(rings.mean(0), 239.5, atol=1)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_picture_is_saved(tmp_path, channels, mode):
    pixels = RNG.integers(0, 256, (11, 7, channels), np.uint8)
    path = tmp_path / "samples" / "00001000.png"  # the directory is made
    pictures.save(path, pictures.png(pixels))
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, (7, 11))
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    pictures.save(str(path), pictures.png(255 - pixels))  # over the old one, and by a string
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), 255 - pixels)
    assert [entry.name for entry in path.parent.iterdir()] == ["00001000.png"]


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "00000000.png"
    pictures.save(path, b"before")
    write = Path.write_bytes

    def half(self, content):
        write(self, content[:2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        pictures.save(path, b"after")
    assert path.read_bytes() == b"before"


def test_of_a_single_sample_its_own_file_is_shown():
    """Not enlarged, no border; of several a sheet, in the columns asked for."""
    image = RNG.uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    with Image.open(io.BytesIO(pictures.show(image, {})["png"])) as shown:
        np.testing.assert_array_equal(np.asarray(shown), pictures.to_uint8(image[0]))
    many = pictures.show(np.repeat(image, 6, 0), {}, columns=6)["png"]
    with Image.open(io.BytesIO(many)) as shown:
        assert shown.size == (6 * 42 + 2, 44)


@pytest.mark.parametrize(("channels", "shown"), [(2, 1), (4, 3), (7, 3)])
def test_grid_of_other_channels(channels, shown):
    pixels = RNG.uniform(-1, 1, (4, 40, 40, channels))
    np.testing.assert_array_equal(pictures.grid(pixels), pictures.grid(pixels[..., :shown]))
