"""Clips of video: what readers take of files, what is refused, what is drawn, and what is read out of it."""

import re

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import clips
from gan_jax.data.clips import How, cut
from gan_jax.data.moving import moving
from gan_jax.metrics import trajectories
from gan_jax.types import UserError
from gan_jax.workdir import animated

RNG = np.random.default_rng(0)


def frames(count, h=16, w=16):
    """Frames of few colours, so that a GIF keeps them as they are."""
    return RNG.integers(0, 4, (count, h, w, 3), np.uint8) * 80


def write(path, held, kind="gif"):
    images = [Image.fromarray(frame) for frame in held]
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("gif", "png", "webp"):
        more = {"lossless": True} if kind == "webp" else {}
        images[0].save(path.with_suffix(f".{kind}"), save_all=True, append_images=images[1:], duration=100, **more)
    elif kind == "strip":
        Image.fromarray(np.concatenate(held, 1)).save(path.with_suffix(".png"))
    else:
        path.mkdir()
        for i, image in enumerate(images):
            image.save(path / f"frame_{i}.png")  # 10 is after 9, not after 1


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "strip", "folder"])
def test_every_kind_of_clip_gives_its_frames(tmp_path, kind):
    held = [frames(12) for _ in range(20)]
    for i, one in enumerate(held):
        write(tmp_path / "set" / f"{i:02d}", one, kind)
    learnt, test = clips.load(str(tmp_path / "set"), length=5, every=2, size=0)
    assert (learnt.images.shape, test.images.shape) == ((18, 5, 16, 16, 3), (2, 5, 16, 16, 3))
    np.testing.assert_array_equal(test.images, np.stack([held[0], held[10]])[:, :9:2])
    np.testing.assert_array_equal(learnt.images[0], held[1][:9:2])
    fast = " at 10 frames a second" if kind in ("gif", "png", "webp") else ""
    assert learnt.facts["layout"] == f"18 clips of 12 to 12 frames{fast}, 16x16; of each 5 frames, every 2."
    assert learnt.digest == clips.load(str(tmp_path / "set"), length=5, every=2, size=0)[0].digest != test.digest


def test_frames_that_a_writer_joined_are_there_again(tmp_path):
    one, other = frames(2)
    write(tmp_path / "a", [one, one, one, other, one], "gif")
    with Image.open(tmp_path / "a.gif") as file:
        assert file.n_frames == 3
    read = clips.read_clip(tmp_path / "a.gif")
    assert read.rate == 10 and [np.asarray(x).tolist() for x in read.frames] == [
        x.tolist() for x in (*(one,) * 3, other, one)
    ]


def test_one_short_frame_or_one_long_one_does_not_stretch_the_others(tmp_path):
    held = [Image.fromarray(frame) for frame in frames(6)]
    held[0].save(tmp_path / "a.gif", save_all=True, append_images=held[1:], duration=[20, 100, 100, 100, 100, 3_000])
    read = clips.read_clip(tmp_path / "a.gif")
    assert read.rate == 10 and len(read.frames) == 5 + clips.LONGEST


def test_wide_frames_in_folders_are_no_strips(tmp_path):
    for i in range(20):
        write(tmp_path / f"{i:02d}", frames(4, 8, 16), "folder")
    learnt, _ = clips.load(str(tmp_path), length=4, size=0)
    assert learnt.images.shape == (18, 4, 8, 16, 3) and learnt.classes == 0


@pytest.mark.parametrize(
    "how, rows",
    [
        (How(3), [[0, 1, 2]]),
        (How(3, every=3), [[0, 3, 6]]),
        (How(3, stride=2), [[0, 1, 2], [2, 3, 4], [4, 5, 6]]),
        (How(2, every=2, stride=3), [[0, 2], [3, 5]]),
        (How(4, rate=5), [[0, 2, 4, 6]]),  # of 10 a second
        (How(4, rate=20), [[0, 0, 1, 1]]),
    ],
    ids=str,
)
def test_what_is_taken_of_a_clip(how, rows):
    held = [np.full((2, 2, 3), i, np.uint8) for i in range(8)]
    np.testing.assert_array_equal(cut(held, 10.0, how)[..., 0, 0, 0], rows)


def test_classes_and_both_splits(tmp_path):
    for split, count in (("train", 3), ("test", 1)):
        for name in ("jump", "walk"):
            for i in range(count):
                write(tmp_path / split / name / str(i), frames(4), "folder" if i else "gif")
    learnt, test = clips.load(str(tmp_path), length=4, size=8)
    assert learnt.names == ("jump", "walk") and learnt.images.shape == (6, 4, 8, 8, 3)
    assert learnt.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.labels.tolist() == [0, 1]


def test_arrays_and_what_is_made_smaller(tmp_path):
    x = RNG.integers(0, 256, (10, 4, 8, 8, 3), np.uint8)
    x[7] = 3  # shows nothing
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.array([0, 3] * 5))
    learnt, test = clips.load(str(tmp_path / "a.npz"), length=4, size=4)
    means = x.reshape(10, 4, 4, 2, 4, 2, 3).mean((3, 5))
    assert np.abs(test.images - means[[0, 5]]).max() <= 1 and learnt.images.shape == (7, 4, 4, 4, 3)
    assert "1 show nothing and are left out" in learnt.facts["layout"]
    assert learnt.labels.tolist() == [1, 0, 1, 0, 0, 0, 1] and learnt.names == ("0", "3")


def twenty(at, of, kind="gif"):
    for i in range(20):
        write(at / "set" / f"{i:02d}", of(i), kind)


def damaged(at):
    twenty(at, lambda i: frames(4))
    (at / "set" / "03.gif").write_bytes(b"GIF89a")


@pytest.mark.parametrize(
    "make, how, text",
    [
        (lambda at: None, {}, "no such file or folder"),
        (lambda at: (at / "set").mkdir(), {}, "no clips: animated GIF"),
        (lambda at: (at / "set").write_bytes(b"GIF89a"), {}, "is one file, and a folder of clips is read: put it into one"),
        (lambda at: write(at / "set" / "a", frames(4)), {}, "fewer than 20 clips: too few to hold out a tenth"),
        (lambda at: twenty(at, lambda i: frames(3)), {}, r"18 of 18 clips .*\(3 frames, and 4 are needed\)"),
        (
            lambda at: twenty(at, lambda i: frames(4, 16, 16 + 16 * (i == 9))),
            {"size": 0},
            "several sizes, 16x16, 32x16: bring them to one with --size 16",
        ),
        (lambda at: twenty(at, lambda i: frames(4), "folder"), {"rate": 5}, "does not say how fast it is: leave --rate out"),
        (lambda at: twenty(at, lambda i: frames(1, 8, 12), "strip"), {}, "one picture of 12x8"),
        (lambda at: write(at / "set" / "a" / "b" / "c", frames(4)), {}, "classes are one level"),
        (damaged, {}, r"1 of 18 clips .*03.gif \(damaged"),
        (lambda at: None, {"length": 1}, "--length 1 --every 1"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, make, how, text):
    make(tmp_path)
    with pytest.raises(UserError, match=text):
        clips.load(str(tmp_path / "set"), **{"length": 4, "size": 8} | how)


@pytest.mark.parametrize(
    "arrays, how, text",
    [
        ({"a": np.zeros(3)}, {}, "no array x_train, only a"),
        ({"x_train": np.zeros((5, 4, 8, 8), np.uint8)}, {}, r"x_train is \[5, 4, 8, 8\] uint8: clips are"),
        ({"x_train": np.zeros((5, 4, 8, 8, 3))}, {}, "float64: clips are"),
        ({"x_train": np.ones((5, 4, 8, 8, 3), np.uint8)}, {}, "of one brightness throughout"),
        ({"x_train": np.ones((5, 3, 8, 8, 3), np.uint8)}, {}, "have 3 frames, and 4 are needed: take a smaller"),
        ({"x_train": np.ones((5, 4, 8, 8, 3), np.uint8), "y_train": np.ones(4, int)}, {}, "a number of 0 or more for each"),
        ({"x_train": np.ones((5, 4, 8, 8, 3), np.uint8)}, {"rate": 8}, "arrays do not say how fast they are"),
    ],
)  # fmt: skip
def test_arrays_that_are_refused(tmp_path, arrays, how, text):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=text):
        clips.load(str(tmp_path / "a.npz"), **{"length": 4, "size": 0} | how)


def test_films_need_their_reader(tmp_path):
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        (tmp_path / "a.mp4").write_bytes(b"\0")
        with pytest.raises(UserError, match=re.escape("pip install imageio-ffmpeg")):
            clips.read_clip(tmp_path / "a.mp4")


# -- what is drawn, and what is read out


def test_moving_shapes_are_read_out_exactly():
    found = moving(40, 16, 32, 3)
    seen = trajectories.tracks(found.images)
    assert (seen.objects == 1).all() and trajectories.content_distance(seen) == 0
    np.testing.assert_array_equal(trajectories.directions(seen), found.labels)
    first = found.images.reshape(40, -1, 3).max(1)  # black, and one colour
    np.testing.assert_array_equal(seen.colour, np.repeat(first[:, None], 16, 1))
    assert found.digest == moving(40, 16, 32, 3).digest != moving(40, 16, 32, 4).digest


def drawn(places, colours, side=8):
    """Squares of 2x2 at these rows and columns, [n t 2]."""
    clips = np.zeros((*np.shape(places)[:2], side, side, 3), np.uint8)
    for i, j in np.ndindex(*np.shape(places)[:2]):
        y, x = places[i][j]
        clips[i, j, y : y + 2, x : x + 2] = colours[i][j]
    return clips


def test_tracks_and_distances_in_closed_form():
    clips = drawn(
        [[(6, 0), (4, 0), (0, 1)], [(0, 6), (0, 3), (1, 0)]],
        [[(200, 0, 0), (0, 200, 0), (200, 0, 0)], [(99, 0, 0)] * 3],
    )
    clips[0, 0, 0, 7] = 255  # a second, smaller object
    clips[1, 1] = 0  # nothing to see
    seen = trajectories.tracks(clips)
    assert seen.objects.tolist() == [[2, 1, 1], [1, 0, 1]] and seen.area.tolist() == [[4, 4, 4], [4, 0, 4]]
    np.testing.assert_allclose(seen.centre[0], [[7 / 8, 1 / 8], [5 / 8, 1 / 8], [1 / 8, 2 / 8]])
    np.testing.assert_allclose(seen.centre[1, 1], 0.5)
    assert trajectories.directions(seen).tolist() == [0, 1]
    # Of three frames two pairs of three differ, by 200 sqrt 2; the other clip does not change.
    np.testing.assert_allclose(trajectories.content_distance(seen), 2 / 3 * 200 * np.sqrt(2) / 2)
    assert trajectories.features(seen, 64).shape == (2, 3 * 3 + 3)
    np.testing.assert_allclose(trajectories.features(seen, 64)[0, 2], 4 * 64 * 64 / 200 / 64)
    assert trajectories.trajectory_frechet(seen, seen, 64) == pytest.approx(0, abs=1e-9)


def test_a_distance_of_trajectories_is_that_of_their_means():
    places = RNG.integers(0, 3, (50, 4, 2))
    one, other = (trajectories.tracks(drawn(places + by, np.full((50, 4, 3), 120))) for by in (0, 3))
    np.testing.assert_allclose(trajectories.trajectory_frechet(one, other, 64), 4 * 2 * (3 / 8) ** 2, rtol=1e-6)


def test_samples_that_move():
    found = animated.show(np.linspace(-1, 1, 3 * 4 * 8 * 8 * 3).reshape(3, 4, 8, 8, 3), {})
    assert {*found} == {"gif", "png"} and found["gif"][:4] == b"GIF8"
