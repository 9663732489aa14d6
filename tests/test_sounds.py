"""Sounds from files: what is heard, at which rate and loudness, and files that are no use."""

import numpy as np
import pytest
import scipy.io.wavfile

from gan_jax.data import sounds
from gan_jax.types import UserError
from gan_jax.workdir import audible

RNG = np.random.default_rng(0)
T = np.arange(4_000) / 8_000
TONE = 0.5 * np.sin(2 * np.pi * 440 * T)


def write(path, samples=TONE, rate=8_000, kind=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == np.uint8:
        held = np.round(samples * 127 + 128).astype(kind)
    elif np.issubdtype(kind, np.integer):
        held = np.round(samples * np.iinfo(kind).max).astype(kind)
    else:
        held = samples.astype(kind)
    scipy.io.wavfile.write(path, rate, held)


@pytest.mark.parametrize("kind, bits", [(np.uint8, 7), (np.int16, 15), (np.int32, 31), (np.float32, 24)])
def test_every_kind_of_wav(tmp_path, kind, bits):
    write(tmp_path / "x.wav", kind=kind)
    found = sounds.read_file(tmp_path / "x.wav")
    assert found.rate == 8_000
    np.testing.assert_allclose(found.samples, TONE, atol=2.5 / 2**bits)


def test_there_and_back(tmp_path):
    (tmp_path / "x.wav").write_bytes(audible.wav(TONE, 8_000))
    once = sounds.read_file(tmp_path / "x.wav").samples
    (tmp_path / "y.wav").write_bytes(audible.wav(once * 32_768 / 32_767, 8_000))
    np.testing.assert_array_equal(sounds.read_file(tmp_path / "y.wav").samples, once)


def test_a_folder_of_classes(tmp_path):
    for i, name in enumerate(("one", "two")):
        for j in range(3):
            write(tmp_path / name / f"{j}.wav", 0.1 * (1 + i) * TONE[: 2_000 + 1_000 * j])
    (tmp_path / "one" / "notes.txt").write_text("no sound")
    found = sounds.read(tmp_path, length=3_000)
    assert found.images.shape == (6, 3_000, 1) and found.images.dtype == np.float32
    assert found.names == ("one", "two") and found.labels.tolist() == [0, 0, 0, 1, 1, 1] and found.classes == 2
    np.testing.assert_allclose(np.abs(found.images).max((1, 2)), 0.95, rtol=1e-4)
    assert not found.images[0, 2_000:].any()
    assert (
        "8000 samples a second, 0.25 to 0.50 s, of which 0.38 s are taken: 2 are cut off; 0 were recorded too loud"
        in found.facts["layout"]
    )
    loud = sounds.read(tmp_path, length=3_000, loudness="as_is")
    np.testing.assert_allclose(np.abs(loud.images).max((1, 2)), [0.05] * 3 + [0.1] * 3, rtol=0.01)
    assert loud.digest != found.digest


def test_rates_and_channels(tmp_path):
    write(tmp_path / "a.wav", np.stack([TONE, 0 * TONE], 1))
    write(tmp_path / "b.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000), 16_000)
    with pytest.raises(UserError, match="several rates, 8000, 16000: bring them to one by rate=8000"):
        sounds.read(tmp_path, length=4_000)
    found = sounds.read(tmp_path, length=4_000, rate=8_000).images[..., 0]
    np.testing.assert_allclose(found[0, 100:-100], found[1, 100:-100], atol=0.02)


def test_what_was_recorded_too_loud(tmp_path):
    assert not sounds.clipped(sounds.Sound(0.95 * TONE / 0.5, 8_000))
    assert sounds.clipped(sounds.Sound(np.clip(3 * TONE, -1, 1), 8_000))


def silent(root):
    write(root / "x.wav", 0 * TONE)


def short(root):
    write(root / "x.wav", TONE[:50])


def damaged(root):
    (root / "x.wav").write_bytes(b"RIFF no sound")


def mixed(root):
    write(root / "x.wav")
    write(root / "one" / "x.wav")


def empty_class(root):
    write(root / "one" / "x.wav")
    (root / "two").mkdir()


def not_finite(root):
    write(root / "x.wav", np.full(4_000, np.nan), kind=np.float32)


@pytest.mark.parametrize("make, words", [
    (silent, r"1 of 1 sounds cannot be used: x.wav \(silent\)"), (short, r"x.wav \(50 samples\)"),
    (damaged, r"x.wav \(damaged: "), (mixed, "either all lie flat, or all in classes"), (empty_class, "class two has no sounds"),
    (not_finite, "not finite"), (lambda root: None, "no sounds: .wav"),
])  # fmt: skip
def test_what_is_no_use(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(UserError, match=words):
        sounds.read(tmp_path, length=4_000)


def held(tmp_path, **more):
    x = np.round(32_767 * np.tile(TONE[:3_000], (4, 1))).astype(np.int16)
    arrays = {"x_train": x, "x_test": x[:2], "y_train": np.arange(4) % 2, "y_test": np.arange(2), "rate": 8_000} | more
    np.savez(tmp_path / "s.npz", **{key: value for key, value in arrays.items() if value is not None})
    return str(tmp_path / "s.npz")


def test_arrays_of_sounds(tmp_path):
    learnt, test = sounds.load(held(tmp_path), length=2_000)
    assert (
        learnt.images.shape == (4, 2_000, 1) and test.classes == learnt.classes == 2 and test.labels.tolist() == [0, 1]
    )
    np.testing.assert_allclose(learnt.images[0, :, 0], 0.95 / 0.5 * TONE[:2_000], atol=1e-3)
    windows, _ = sounds.load(held(tmp_path), length=2_000, every=500)
    assert windows.images.shape == (12, 2_000, 1) and windows.labels.tolist() == [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3
    np.testing.assert_array_equal(windows.images[1, :1_500], windows.images[0, 500:])


@pytest.mark.parametrize("more, words", [
    ({"rate": None}, "no array rate"), ({"rate": 0}, "rate 0: samples in a second"), ({"y_test": None}, "y_train alone"),
    ({"y_train": np.arange(3)}, r"y_train is \[3\] int64"), ({"y_train": np.arange(4) - 1}, "a number of 0 or more"),
    ({"y_train": np.array([*"abcd"])}, "a number of 0 or more"), ({"x_test": np.zeros((0, 9), np.int16)}, r"x_test is \[0, 9\]"),
    ({"x_test": np.zeros((2, 9), np.int16)}, "2 of 2 sounds of x_test are silent"), ({"x_train": np.ones((4, 9)) * 3}, "floats in"),
])  # fmt: skip
def test_arrays_that_are_no_use(tmp_path, more, words):
    with pytest.raises(UserError, match=words):
        sounds.load(held(tmp_path, **more), length=2_000)
    with pytest.raises(UserError, match="no such file"):
        sounds.load(str(tmp_path / "none.npz"), length=2_000)


def test_whole_recordings_are_held_out(tmp_path):
    """What --every takes of one recording is on one side alone; and the folder is what is named, whole."""
    for j in range(20):
        write(tmp_path / f"ann_{j:02d}.wav", 0.5 * np.sin(2 * np.pi * (200 + 10 * j) * T))
    learnt, test = sounds.load(str(tmp_path), length=2_000, every=1_000)
    assert learnt.images.shape == (54, 2_000, 1) and test.images.shape == (6, 2_000, 1)
    pitches = [{int(np.abs(np.fft.rfft(x[:, 0], 8_000)).argmax()) // 10 for x in one.images} for one in (learnt, test)]
    assert not pitches[0] & pitches[1]
    assert learnt.facts["path"] == test.facts["folder"] == str(tmp_path)
    (tmp_path / "ann_19.wav").unlink()
    with pytest.raises(UserError, match="19 sounds are too few to hold out a tenth"):
        sounds.load(str(tmp_path), length=2_000)


def test_a_header_that_is_cut_off(tmp_path):
    write(tmp_path / "x.wav")
    (tmp_path / "y.wav").write_bytes((tmp_path / "x.wav").read_bytes()[:30])
    with pytest.raises(UserError, match=r"1 of 2 sounds cannot be used: y.wav \(damaged"):
        sounds.read(tmp_path, length=2_000)


def test_who_speaks(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for j in range(count):
            write(tmp_path / split / "one" / f"{'ann' if j % 2 else 'bob'}_{j}.wav")
    learnt, _ = sounds.load(str(tmp_path), length=2_000)
    assert learnt.facts["path"] == str(tmp_path) and sounds.speakers(tmp_path / "test")[1] == ("ann", "bob")
    assert sounds.speakers(tmp_path / "train")[0].tolist() == [0, 1, 1]  # ann_1, bob_0, bob_2
    write(tmp_path / "test" / "one" / "nobody.wav")
    with pytest.raises(UserError, match="nobody.wav does not say who speaks"):
        sounds.speakers(tmp_path / "test")
