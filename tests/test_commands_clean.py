"""gan-jax clean: every fault of a spoilt set is found and nothing else, and what is left is written."""

import io
import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from gan_jax import data
from gan_jax.commands import clean
from gan_jax.data.clean.kinds import KINDS
from gan_jax.types import UserError

SIDE = 72
FOUND = {
    "unreadable": {"broken.png", "link.jpg"},
    "no-image": {"empty.jpg", "page.png"},
    "truncated": {"cut.jpg", "cut.png"},
    "too-many-pixels": {"bomb.png"},
    "too-small": {"tiny.png"},
    "black": {"black.png"},
    "white": {"white.png"},
    "plain": {"plain.png"},
    "duplicate": {'z"copy<b>&.bmp'},
    "near-duplicate": {"z_near.jpg", os.fsdecode(b"z_near_\xff.jpg")},
    "wrong-suffix": {"wrong.jpg"},
    "smaller": {"smaller.png"},
    "long": {"long.png"},
    "animated": {"moves.gif"},
    "deep": {"deep.png"},
    "grey": {"deep.png", "grey.png"},
    "transparent": {"glass.png"},
    "outlier": {"outlier.png"},
}


def start(*words):
    return clean.main(tyro.cli(clean.Config, args=[str(word) for word in words]))


def drawn(seed, side=SIDE, channels=3):
    """A picture that is like no other: five spots a side of random levels, smoothed, and fine noise."""
    rng = np.random.default_rng(seed)
    spots = Image.fromarray(rng.integers(70, 186, (5, 5, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.clip(np.asarray(spots) + rng.integers(-9, 10, (side, side, 3)), 0, 255).astype(np.uint8)
    return pixels if channels == 3 else pixels[..., :1]


def save(path, pixels, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **how)


def encoded(pixels, form):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=form)
    return file.getvalue()


def bomb(side):
    """The head of a PNG of side x side pixels."""
    parts = (b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT" + bytes(9))
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def spoil(folder):
    """Forty good pictures, and one or two of every fault."""
    for i in range(37):
        save(folder / f"good_{i:02}.png", drawn(i))
    Image.fromarray(drawn(37)).convert("CMYK").save(folder / "good_cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "good_turned.jpg", drawn(38), exif=exif, quality=95)
    save(folder / "good_mirrored.png", drawn(5)[:, ::-1])  # no duplicate
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.png").write_text("<!doctype html><p>404</p>")
    for form, name in (("JPEG", "cut.jpg"), ("PNG", "cut.png")):
        whole = encoded(drawn(50), form)
        (folder / name).write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "bomb.png").write_bytes(bomb(20_000))
    save(folder / "tiny.png", drawn(51, 14))
    for name, level in (("black", 2), ("white", 254), ("plain", 130)):
        save(folder / f"{name}.png", np.full((SIDE, SIDE, 3), level, np.uint8))
    save(folder / 'z"copy<b>&.bmp', drawn(3))
    save(folder / "z_near.jpg", drawn(4), quality=60)
    near = Image.fromarray(drawn(4)).resize((SIDE * 2 // 3, SIDE * 2 // 3), Image.Resampling.LANCZOS)
    near.save(folder / os.fsdecode(b"z_near_\xff.jpg"))
    (folder / "wrong.jpg").write_bytes(encoded(drawn(52), "PNG"))
    save(folder / "smaller.png", drawn(53, 34))
    save(folder / "long.png", np.concatenate([drawn(54), drawn(55), drawn(56)], 1))
    frames = [Image.fromarray(drawn(i)) for i in (57, 58)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:])
    save(folder / "deep.png", drawn(59)[..., 0].astype(np.uint16)[..., None] * 257)
    save(folder / "grey.png", drawn(60, channels=1))
    save(folder / "glass.png", np.concatenate([drawn(61), np.full((SIDE, SIDE, 1), 200, np.uint8)], -1))
    halves = np.indices((SIDE, SIDE)).sum(0) // 18 % 2 * 255
    save(folder / "outlier.png", np.stack([halves, 255 - halves, halves], -1).astype(np.uint8))
    for name in ("Thumbs.db", "notes.txt", ".hidden.png"):
        (folder / name).write_bytes(b"mine")


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """The spoilt set, what was written of it, and what was said."""
    home = tmp_path_factory.mktemp("clean")
    (home / "set").mkdir()
    spoil(home / "set")
    before, lines = contents(home / "set"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "say", lines.append)
        counts = start(
            home / "set", "--out", home / "out", "--json", home / "found.json", "--report", home / "found.html"
        )
    return home, before, counts, lines


def names(found, kind):
    return {Path(one["path"]).name for one in found if one["kind"] == kind}


def test_each_fault_is_found_and_nothing_else(spoilt):
    home, _, counts, _ = spoilt
    found = json.loads((home / "found.json").read_text())["findings"]
    assert {kind: names(found, kind) for kind in dict.fromkeys(one["kind"] for one in found)} == FOUND
    assert counts == {"images": 62, "left": 48, **{kind: len(FOUND[kind]) for kind in KINDS if kind in FOUND}}
    like = {Path(one["path"]).name: Path(one["like"]["path"]).name for one in found if "like" in one}
    assert like == {
        'z"copy<b>&.bmp': "good_03.png",
        "z_near.jpg": "good_04.png",
        os.fsdecode(b"z_near_\xff.jpg"): "good_04.png",
    }
    assert len({one["group"] for one in found if one["kind"] == "near-duplicate"}) == 1


def test_nothing_of_the_source_is_changed(spoilt):
    home, before, _, _ = spoilt
    assert contents(home / "set") == before


def test_what_is_left_is_written_as_it_is(spoilt):
    """With the names mended, and read by the library."""
    home, before, _, lines = spoilt
    gone = {name for kind, each in FOUND.items() if KINDS[kind].fate == "left out" for name in each}
    kept = {
        name: held for name, held in before.items() if name not in gone and Path(name).suffix not in (".db", ".txt")
    }
    kept.pop(".hidden.png")
    kept["wrong.png"] = kept.pop("wrong.jpg")
    assert contents(home / "out") == kept
    assert "mended: wrong.jpg is wrong.png" in lines
    assert len(data.load(str(home / "out"), size=16).images) == 48


def test_what_is_said(spoilt):
    _, _, _, lines = spoilt
    assert "      2  near duplicates in 1 group: z_near.jpg (" in "\n".join(lines)
    assert "z_near_\\xff.jpg" in "\n".join(lines)
    assert any(line.startswith("not looked at: 3 other files (") for line in lines)
    assert "48 of 62 images are left" in lines
    assert "turned by the camera's note 1 of 55" in lines[0] and "CMYK 1" in lines[0]


def test_the_page(spoilt, opened):
    home, *_ = spoilt
    page = opened(f"file://{home}/found.html", width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert {title.partition(":")[0].lower() for title in page.locator("h2").all_inner_texts()} == {
        "the images",
        *(KINDS[kind].title for kind in FOUND),
    }
    text = page.inner_text("body")
    assert 'z"copy<b>&.bmp' in text and "z_near_\\xff.jpg" in text
    group = page.locator("#near-duplicate ~ .groups .group").first
    assert group.locator("img").count() == 3 and "kept" in group.inner_text()
    assert page.evaluate("[...document.images].every((x) => x.naturalWidth > 0)")
    assert page.locator("#unreadable ~ .tiles").first.locator("img").count() == 0
    assert page.locator("#truncated ~ .tiles").first.locator("img").count() == 2  # as far as they can be decoded
    assert (home / "found.html").stat().st_size < 3_000_000


def test_a_page_of_much_is_small(monkeypatch):
    """It says what it leaves out."""
    monkeypatch.setattr(clean, "BUDGET", 60_000)
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 40, 3), np.uint8)
    np.save("x.npy", np.concatenate([noise, noise]))
    counts = start("x.npy", "--report", "page.html")
    assert counts["duplicate"] == 30
    text = Path("page.html").read_text()
    assert " of 30 are shown; --json lists all." in text and len(text) < 60_000 + 110_000


# -- folders


def test_classes_train_and_test(capsys):
    """Sub-folders are classes; a test image that is in train is left out of test, and none of train for its sake."""
    for i in range(30):
        save(Path("set/train", "ab"[i % 2], f"{i}.png"), drawn(i))
    for i in range(30, 36):
        save(Path("set/test", "ab"[i % 2], f"{i}.png"), drawn(i))
    save(Path("set/test/a/copy.png"), drawn(0))
    save(Path("set/test/b/near.jpg"), drawn(1), quality=70)
    save(Path("set/train/b/other.png"), drawn(2))
    save(Path("set/train/rare/0.png"), drawn(40))
    counts = start("set", "--out", "out")
    assert counts == {"images": 40, "left": 37, "duplicate": 1, "in-both": 2, "few": 1}
    said = capsys.readouterr().out
    assert "duplicates in 1 group: train/b/other.png (equal to train/a/2.png, and of another class: a)" in said
    assert "test/a/copy.png (equal to train/a/0.png)" in said and "rare (1 left, and the median class has 15)" in said
    assert not Path("out/test/a/copy.png").exists() and not Path("out/test/b/near.jpg").exists()
    assert len(data.load("out/train").images) == 31 and data.load("out/test").classes == 2


def test_another_test_set():
    for i in range(6):
        save(Path("one", f"{i}.png"), drawn(i))
        save(Path("two", f"{i}.png"), drawn(i + 5))
    assert start("one", "--test", "two", "--out", "out") == {"images": 12, "left": 11, "in-both": 1}
    assert len([*Path("out/train").iterdir()]) == 6 and len([*Path("out/test").iterdir()]) == 5


def test_links_in_circles_and_folders_that_cannot_be_read(monkeypatch):
    for i in range(3):
        save(Path("set/a", f"{i}.png"), drawn(i))
    Path("set/locked").mkdir()
    Path("set/a/again").symlink_to(Path("set").absolute())
    listdir = os.listdir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    assert start("set", "--json", "found.json") == {"images": 3, "left": 3, "folder": 1}
    (found,) = json.loads(Path("found.json").read_text())["findings"]
    assert found["path"] == "locked" and found["detail"] == "Permission denied"


def test_mended_names_take_no_others():
    save(Path("set/a.png"), drawn(0))
    Path("set/a.jpg").write_bytes(encoded(drawn(1), "PNG"))
    start("set", "--out", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "a_2.png"]
    assert Path("out/a_2.png").read_bytes() == Path("set/a.jpg").read_bytes()


def test_one_image_alone():
    save(Path("set/a.png"), drawn(0))
    assert start("set", "--report", "page.html") == {"images": 1, "left": 1}
    assert "Nothing was found." in Path("page.html").read_text()
    start("set", "--report", "page.html")  # written over


def test_small_images_are_small_where_others_are_not():
    """All of MNIST have 28 pixels, and are not too small; with --least they are."""
    for i in range(4):
        save(Path("set", f"{i}.png"), drawn(i, 28))
    assert start("set") == {"images": 4, "left": 4}
    assert start("set", "--least", 29, "--keep", "too-small") == {"images": 4, "left": 4, "too-small": 4}


# -- arrays


def test_rows_of_an_npz_go_with_all_that_belongs_to_them():
    x = np.stack([drawn(i) for i in range(24)])
    x[7], x[9], x[20] = x[2], 0, x[3]
    arrays = {
        "x_train": x[:16],
        "y_train": np.arange(16) % 3,
        "weight_train": np.arange(16.0),
        "names": np.array("abc"),
    }
    np.savez_compressed("set.npz", **arrays, x_test=x[16:], y_test=np.arange(8)[:, None] % 3)
    assert start("set.npz", "--out", "out") == {
        "images": 24,
        "left": 21,
        "black": 1,
        "duplicate": 1,
        "in-both": 1,
        "few": 3,
    }
    with np.load("out/set.npz") as left:
        train, test = np.delete(np.arange(16), [7, 9]), np.delete(np.arange(8), 4)
        for key in ("x_train", "y_train", "weight_train"):
            np.testing.assert_array_equal(left[key], arrays[key][train])
        np.testing.assert_array_equal(left["x_test"], x[16:][test])
        np.testing.assert_array_equal(left["y_test"], test[:, None] % 3)
        assert left["names"] == "abc"
    assert len(data.load("out/set.npz", "test").images) == 7


def test_an_npy_of_floats(tmp_path):
    x = np.stack([drawn(i) for i in range(12)]).astype(np.float32) / 127.5 - 1
    x[3, 5, 5], x[8] = np.nan, x[1]
    np.save("set.npy", x)
    assert start("set.npy", "--out", "out", "--json", "found.json") == {
        "images": 12,
        "left": 10,
        "not-finite": 1,
        "duplicate": 1,
    }
    np.testing.assert_array_equal(np.load("out/set.npy"), np.delete(x, [3, 8], 0))
    nan, copy = json.loads(Path("found.json").read_text())["findings"]
    assert nan["index"] == 3 and copy["index"] == 8 and copy["like"] == {"path": "set.npy", "array": "set", "index": 1}


def test_kinds_can_be_kept_and_removed():
    x = np.stack([drawn(i) for i in range(40)])
    x[11], x[30] = x[10], np.indices((SIDE, SIDE)).sum(0)[..., None] // 18 % 2 * 255
    np.save("set.npy", x)
    assert start("set.npy", "--keep", "duplicate") == {
        "images": 40,
        "left": 40,
        "duplicate": 1,
        "grey": 1,
        "outlier": 1,
    }
    assert start("set.npy", "--remove", "outlier", "grey")["left"] == 38


# -- refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a folder of images"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["notes.txt"], "notes.txt: a folder of images, an .npz or an .npy"),
        (["hollow"], "hollow: no images: it is empty"),
        (["texts"], r"texts: no images: 1 other files \(.txt 1\)"),
        (["bad.npz"], "bad.npz: cannot be read, it is damaged"),
        (["nameless.npz"], "nameless.npz: no images: expected x_train"),
        (["whole.npy"], "whole.npy whole: images are int64: store uint8"),
        (["large.npy"], "large.npy: values from 0 to 255"),
        (["set", "--out", "texts"], "--out texts exists: name a new folder"),
        (["set", "--out", "set/out"], "--out set/out is in the folder of the data"),
        (["set", "--report", "set/a.html"], "--report set/a.html is in the folder of the data"),
        (["set", "--report", "notes.txt"], "--report notes.txt exists, and this command has not written it"),
        (["set", "--json", "notes.txt"], "--json notes.txt exists, and this command has not written it"),
        (["set", "--json", "texts"], "--json texts is a directory"),
        (["set", "--json", "notes.txt/a"], "--json notes.txt/a cannot be written"),
        (["set", "--out", "notes.txt/a"], "--out notes.txt/a cannot be written: .* is no folder"),
        (["set", "--json", "a", "--report", "a"], "are both a: name two files"),
        (["set", "--near", "16"], "--near 16 --alike 0.99: at most 15 bits"),
        (["set", "--alike", "2"], "a correlation in"),
        (["set", "--keep", "unreadable"], "--keep unreadable: the kinds are too-small"),
        (["set", "--remove", "nonsense"], "--remove nonsense: the kinds are smaller"),
        (["set", "--least", "100", "--out", "out"], "--out out: no image of train is left"),
        (["split", "--test", "set"], "split has a test set of its own"),
    ],
)
def test_refusals_come_before_anything_is_written(words, said):
    save(Path("set/a.png"), drawn(0))
    save(Path("split/train/a.png"), drawn(0))
    save(Path("split/test/a.png"), drawn(1))
    Path("hollow").mkdir()
    for path in (Path("notes.txt"), Path("texts/a.txt"), Path("bad.npz")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    np.savez("nameless.npz", one=np.zeros(3))
    np.save("whole.npy", np.zeros((2, 8, 8), int))
    np.save("large.npy", np.linspace(0, 255, 128).reshape(2, 8, 8))
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    with pytest.raises(UserError, match=said):
        start(*words)
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before


def test_the_library_of_hashes_is_named(monkeypatch):
    save(Path("set/a.png"), drawn(0))
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(UserError, match=r"imagehash, which is not installed: pip install 'gan_jax\[clean\]'"):
        start("set")
