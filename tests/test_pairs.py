"""Pairs and domains of images: every layout, what is told of it, and mistakes with three examples."""

import csv

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import pairs, source
from gan_jax.data.pairs import Pairs
from gan_jax.data.validate import image_set
from gan_jax.types import NoSplit, UserError

RNG = np.random.default_rng(0)
A, B = (RNG.integers(0, 256, (5, 8, 8, 3), np.uint8) for _ in range(2))
NAMES = [f"p{i}" for i in range(5)]


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def both(root, a="A", b="B", rows=range(5), suffixes=("png", "bmp")):
    for i in rows:
        write(root / a / f"{NAMES[i]}.{suffixes[0]}", A[i])
        write(root / b / f"{NAMES[i]}.{suffixes[1]}", B[i])


def listed(root, rows, **more):
    with open(root / "pairs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["input", "target", *more])
        writer.writeheader()
        for i in rows:
            writer.writerow(
                {"input": f"x/{NAMES[i]}.png", "target": f"y/{NAMES[i]}.bmp"} | {k: v[i] for k, v in more.items()}
            )


def test_folders_a_and_b(tmp_path):
    both(tmp_path)
    found = pairs.read(tmp_path)
    assert (found.a.images == A).all() and (found.b.images == B).all()
    assert found.a.facts["layout"] == "A and B, by the names of the files"
    with pytest.raises(NoSplit, match="no folder A/test"):
        pairs.read(tmp_path, "test")


@pytest.mark.parametrize("a, b", [("A/{}", "B/{}"), ("{}/A", "{}/B"), ("a/{}", "b/{}")])
def test_splits(tmp_path, a, b):
    both(tmp_path, a.format("train"), b.format("train"), range(3))
    both(tmp_path, a.format("test"), b.format("test"), range(3, 5))
    assert (pairs.read(tmp_path).b.images == B[:3]).all()
    assert (pairs.read(tmp_path, "test").a.images == A[3:]).all()


@pytest.mark.parametrize("inside", ["", "train"])
def test_halves_of_one_picture(tmp_path, inside):
    for i in range(5):
        write(tmp_path / inside / f"{NAMES[i]}.png", np.concatenate([A[i], B[i]], 1))
    found = pairs.read(tmp_path)
    assert (found.a.images == A).all() and (found.b.images == B).all()
    assert "left half" in found.a.facts["layout"]
    with pytest.raises(NoSplit):
        pairs.read(tmp_path, "test")
    small = pairs.read(tmp_path, size=4)
    assert small.a.images.shape == small.b.images.shape == (5, 4, 4, 3)


def test_two_folders_of_any_name(tmp_path):
    both(tmp_path, "labels", "photos")
    found = pairs.read(tmp_path)
    assert (found.a.images == A).all() and found.a.facts["layout"].startswith("a: labels, b: photos")


def test_a_list(tmp_path):
    both(tmp_path, "x", "y")
    listed(tmp_path, range(5))
    assert (pairs.read(tmp_path / "pairs.csv").b.images == B).all()
    with pytest.raises(NoSplit, match="no column split"):
        pairs.read(tmp_path / "pairs.csv", "test")
    listed(tmp_path, range(5), split=["train"] * 3 + ["test"] * 2)
    assert (pairs.read(tmp_path / "pairs.csv", "test").a.images == A[3:]).all()


def test_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", a=A, b=B[..., :1], a_test=A[:2], b_test=B[:2, ..., :1])
    found = pairs.read(tmp_path / "x.npz", "test")
    assert (found.a.images == A[:2]).all() and found.b.images.shape == (2, 8, 8, 1)
    with pytest.raises(NoSplit, match="no array a_val and b_val, only a, b, a_test, b_test"):
        pairs.read(tmp_path / "x.npz", "val")


def damaged(root):
    both(root)
    for i in range(4):
        (root / "A" / f"{NAMES[i]}.png").write_bytes(b"no picture")


def other_size(root):
    both(root)
    write(root / "B" / "p3.bmp", B[0, :4])


def alone(root):
    both(root)
    for name in ("u", "v", "w", "x"):
        write(root / "A" / f"{name}.png", A[0])


def twins(root):
    both(root)
    write(root / "B" / "p3.png", B[0])


def wide(root):
    for i in range(4):
        write(root / f"{NAMES[i]}.png", A[i])


def gone(root):
    both(root, "x", "y", range(1))
    listed(root, range(5))


def fewer(root):
    np.savez(root / "x.npz", a=A, b=B[:3])


WRONG = {
    "nothing there": (lambda root: None, "", "no pairs: pairs are read from DIR/A and DIR/B"),
    "damaged": (damaged, "", r"4 of 5 pictures are damaged: .*p0.png .*p1.png .*p2.png"),
    "several sizes": (other_size, "", "pictures of several sizes, such as 8x4 and 8x8: bring them to one with --size 4"),
    "no partner": (alone, "", "4 of 14 pictures of A and B have no partner of the same name: A/u.png, A/v.png, A/w.png ..."),
    "two partners": (twins, "", "p3.bmp and .*p3.png have one stem"),
    "no halves": (wide, "", r"4 of 4 pictures are not twice as wide as high, .* p0.png \(8x8\), p1.png \(8x8\), p2.png"),
    "missing files": (gone, "pairs.csv", "8 files are not there: .*p1.png"),
    "no such columns": (lambda root: (root / "p.csv").write_text("x,y\n1,2\n"), "p.csv", "input and target are needed; found x, y"),
    "a line without a target": (lambda root: (root / "p.csv").write_text("input,target\nx.png\n"), "p.csv", "line 2 has no input or no target"),
    "a damaged file": (lambda root: (root / "x.npz").write_bytes(b"PK\x03\x04 no more"), "x.npz", "x.npz: cannot be read: "),
    "unequal arrays": (fewer, "x.npz", "5 images in a and 3 in b: pairs are as many"),
    "domains": (lambda root: both(root, "trainA", "trainB"), "", "domains without pairs, for cyclegan and cut"),
    "no such folder": (lambda root: None, "other", "no such folder, .csv or .npz"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(tmp_path, case):
    make, name, words = WRONG[case]
    make(tmp_path)
    with pytest.raises(UserError, match=words):
        pairs.read(tmp_path / name if name else tmp_path)


def test_domains(tmp_path):
    both(tmp_path, "trainA", "trainB")
    write(tmp_path / "trainA" / "more.png", A[0])
    found = pairs.read_domains(tmp_path)
    assert (len(found.a.images), len(found.b.images)) == (6, 5) and found.a.classes == 0
    with pytest.raises(NoSplit, match="testA and DIR/testB"):
        pairs.read_domains(tmp_path, "test")


def test_what_is_measured_by(tmp_path):
    """Test images, or those of val, or a tenth that is held out; grey ones become colours where the others have some."""
    both(tmp_path / "x", "A/train", "B/train", range(3))
    both(tmp_path / "x", "A/val", "B/val", range(3, 5))
    train, test = pairs.splits(tmp_path / "x")
    assert (len(train.a.images), len(test.a.images)) == (3, 2) and (test.b.images == B[3:]).all()
    with pytest.raises(UserError, match="no test images, and 5 are too few to hold out a tenth"):
        both(tmp_path / "y")
        pairs.splits(tmp_path / "y")
    many = RNG.integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "z.npz", a=many[..., :1], b=many, a_test=many[:4], b_test=many[:4])
    train, test = pairs.splits(tmp_path / "z.npz")
    assert (
        train.a.images.shape == (30, 8, 8, 3)
        and (train.a.images == many[..., :1]).all()
        and (test.a.images == many[:4]).all()
    )
    np.savez(tmp_path / "w.npz", a=many, b=255 - many)
    train, test = pairs.splits(tmp_path / "w.npz")
    assert (
        (test.a.images == many[::10]).all() and (test.b.images == 255 - many[::10]).all() and len(train.b.images) == 27
    )
    assert train.a.name == f"nine tenths of {tmp_path}/w.npz" and train.a.digest != test.a.digest
    middle = pairs.cut(test, 4)
    assert (middle.b.images == 255 - many[::10, 2:6, 2:6]).all() and pairs.cut(test, 0) is test
    with pytest.raises(UserError, match="--size 64, but a is 8x8, and only pictures are resized: --size 0"):
        pairs.splits(tmp_path / "w.npz", size=64)
    domains = pairs.splits(tmp_path / "z.npz", reader=pairs.read_domains)
    assert domains[0].a.images.shape == domains[0].b.images.shape


def test_what_is_said_of_pairs(tmp_path):
    both(tmp_path)
    found = pairs.read(tmp_path)
    assert found.a.facts["folder"] == found.a.facts["path"] == str(tmp_path) and found.b.facts["values"] == [
        B.min(),
        B.max(),
    ]
    one = pairs.pairs(found, 2, 0)
    assert {*one.facts["sources"]} == {"a", "b"}


def test_the_range_of_floats_is_that_of_all_splits(tmp_path):
    low, bright = np.linspace(-1, 1, 5 * 64).reshape(5, 8, 8, 1), np.full((5, 8, 8, 1), 0.5)
    np.savez(tmp_path / "x.npz", a=low, b=low, a_test=bright, b_test=bright)
    assert (pairs.read(tmp_path / "x.npz", "test").a.images == 0.5).all()


# ---- batches


def counted(rows=12, side=6):
    """Each pixel says its image, row and column; b is a, but for an added channel."""
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(side), np.arange(side), indexing="ij"), -1).astype(np.uint8)
    return Pairs(image_set(grid, None, "a"), image_set(grid[..., :1] + 100, None, "b"))


@pytest.mark.parametrize("how", [{}, {"flip": True}, {"crop": 4}, {"flip": True, "crop": 3}])
def test_both_of_a_pair_are_moved_alike(how):
    one = pairs.pairs(counted(), 4, 0, **how)
    side = how.get("crop", 6)
    seen, places = [], set()
    for step in range(6):
        batch = one[step]
        a, b = (np.round((np.asarray(batch[name]) + 1) * 127.5).astype(int) for name in "ab")
        assert a.shape == (4, side, side, 3) and b.shape == (4, side, side, 1)
        assert (b[..., 0] == a[..., 0] + 100).all()
        seen += a[:, 0, 0, 0].tolist()
        turned = a[:, 0, 0, 2] > a[:, 0, -1, 2]
        assert how.get("flip") or not turned.any()
        places |= {
            (int(r), int(min(c, d))) for r, c, d in zip(a[:, 0, 0, 1], a[:, 0, 0, 2], a[:, 0, -1, 2], strict=True)
        }
        columns = np.where(turned[:, None], a[:, 0, ::-1, 2], a[:, 0, :, 2])
        assert (np.diff(columns, axis=1) == 1).all() and (np.diff(a[:, :, 0, 1], axis=1) == 1).all()
    assert sorted(seen) == sorted([*range(12)] * 2)  # two epochs, each image once
    assert len(places) == 1 if side == 6 else len(places) > 4
    np.testing.assert_array_equal(one[3]["a"], pairs.pairs(counted(), 4, 0, **how)[3]["a"])
    assert {name: x.shape for name, x in one.spec.arrays.items()} == {"a": (side, side, 3), "b": (side, side, 1)}


def test_a_crop_of_plain_images():
    images = counted().a
    cut = source(images, 4, 0, crop=4)
    assert cut.spec.shape == (4, 4, 3) and cut[0]["image"].shape == (4, 4, 4, 3)
    middle = cut.examples(np.arange(2))["image"]
    np.testing.assert_array_equal(middle, images.scaled(np.arange(2))[:, 1:5, 1:5])
    with pytest.raises(UserError, match="crop of 9 pixels: the images of a are 6x6"):
        source(images, 4, 0, crop=9)
