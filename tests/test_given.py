"""Measures of what is made of given images: pairs, domains without pairs, and enlargements, each beside trivial answers."""

import numpy as np
import pytest

from gan_jax.data import bicubic
from gan_jax.data.pairs import Pairs
from gan_jax.data.photographs import read, squares
from gan_jax.data.validate import image_set
from gan_jax.evaluation import domains, enlargement, translation
from gan_jax.metrics.fidelity import enlarged
from gan_jax.models.perceptual import FIRE, VGG, feature_distance, squeezenet, vgg19
from gan_jax.types import UserError

RNG = np.random.default_rng(0)


def noise(rows, side=8, channels=3, low=0, high=256):
    return image_set(RNG.integers(low, high, (rows, side, side, channels), np.uint8), None, "x")


def test_pairs_beside_trivial_answers():
    train, test = Pairs(noise(20), noise(20)), Pairs(noise(9), noise(9))
    evaluate = translation.measures(train, test)
    right = evaluate.measure(lambda batch: test.b.scaled())
    assert {*right} == {*evaluate.names} and right["l1"].value == 0 and np.isinf(right["psnr"].value)
    assert right["return_l1"].value == pytest.approx(right["return_l1"].protocol["answers"]["real"])
    copied = evaluate.measure(lambda batch: batch["a"])
    for key, record in copied.items():
        assert record.value == pytest.approx(record.protocol["answers"]["copy"], rel=1e-6), key
    expected = np.abs(test.a.images.astype(float) - test.b.images).mean() / 127.5
    assert copied["l1"].value == pytest.approx(expected, rel=1e-6)
    mean = train.b.scaled().mean(0, keepdims=True)
    assert copied["l1"].protocol["answers"]["mean_target"] == pytest.approx(
        np.abs(mean - test.b.scaled()).mean(), abs=0.004
    )
    near = [np.argmin(((train.a.scaled() - x) ** 2).sum((1, 2, 3))) for x in test.a.scaled()]
    expected = np.abs(train.b.scaled()[near] - test.b.scaled()).mean()
    assert copied["l1"].protocol["answers"]["target of the nearest input"] == pytest.approx(expected, rel=1e-5)
    grey = Pairs(noise(9, channels=1), test.b)
    assert (
        "copy"
        not in translation.measures(Pairs(noise(20, channels=1), train.b), grey)
        .measure(lambda batch: test.b.scaled())["l1"]
        .protocol
    )
    with pytest.raises(UserError, match="8 of each split are needed; there are 7"):
        translation.measures(train, Pairs(noise(7), noise(7)))


def test_the_way_back():
    """Of pairs that are negatives of each other it is learnt, colours and all; what is not of the given does not lead back."""
    places = RNG.integers(0, 2, (60, 4, 4, 1)).repeat(2, 1).repeat(2, 2)
    colours = np.array([(200, 30, 30), (20, 40, 220)], np.uint8)
    maps = colours[places[..., 0]]
    sets = [
        Pairs(image_set(maps[part], None, "maps"), image_set(255 - maps[part], None, "b"))
        for part in (slice(48), slice(48, 60))
    ]
    evaluate = translation.measures(*sets, colours=colours)
    right, wrong = (evaluate.measure(lambda batch, of=of: of) for of in (sets[1].b.scaled(), sets[1].b.scaled()[::-1]))
    assert right["return_colours"].value > 0.95 and right["return_l1"].value < 0.2
    assert wrong["return_colours"].value < 0.7 and wrong["return_l1"].value > 0.3


def test_a_transfer_of_colours():
    a, b = noise(5, low=80, high=160).scaled(), noise(6, low=20, high=120).scaled()
    moved = domains.matched(a, b)
    rows = np.random.default_rng(0).integers(0, 6, 5)
    np.testing.assert_allclose(moved.mean((1, 2)), b[rows].mean((1, 2)), atol=0.01)
    np.testing.assert_allclose(moved.std((1, 2)), b[rows].std((1, 2)), atol=0.02)
    shape = (moved - moved.mean((1, 2), keepdims=True)) / moved.std((1, 2), keepdims=True)
    expected = (a - a.mean((1, 2), keepdims=True)) / a.std((1, 2), keepdims=True)
    assert np.corrcoef(shape.ravel(), expected.ravel())[0, 1] > 0.99


def test_domains_beside_copies_and_colours():
    train, test = (
        Pairs(noise(20, 16), noise(20, 16, low=0, high=60)),
        Pairs(noise(12, 16), noise(12, 16, low=0, high=60)),
    )
    found = domains.measures(train, test).measure(lambda batch: batch["a"])
    assert found["content"].value == pytest.approx(1) == found["content"].protocol["answers"]["copy"]
    kid = found["kid_projection"]
    assert kid.value == pytest.approx(kid.protocol["answers"]["copy"]) and not kid.higher_is_better
    colours, copied = (kid.protocol["answers"][key] for key in ("colours", "copy"))
    assert colours + abs(kid.protocol["floor"]) < copied / 10


def test_enlargements_beside_bicubic():
    photographs = {"a.png": noise(1, 41).images[0], "b.png": noise(1, 30).images[0]}
    evaluate = enlargement.measures({"few": photographs}, 2, distance=lambda x, y: float(np.abs(x - y).mean()))
    assert evaluate.names == ("psnr_y_few", "ssim_y_few", "features_few")

    def draw(batch):
        assert batch["low"].shape[0] == 1 and batch["low"].shape[1] in (20, 15)
        low = np.round((batch["low"][0] + 1) * 127.5).astype(np.uint8)
        large = bicubic.resized(low, (2 * low.shape[0], 2 * low.shape[1]))
        return large[None].astype(np.float32) / 127.5 - 1

    for record in evaluate.measure(draw).values():
        assert record.value == pytest.approx(record.protocol["answers"]["bicubic"], rel=1e-9)
    repeated = evaluate.measure(lambda batch: batch["low"].repeat(2, 1).repeat(2, 2))["psnr_y_few"]
    truth = {"a.png": photographs["a.png"][:40, :40], "b.png": photographs["b.png"]}
    each = []
    for image in truth.values():
        low = bicubic.resized(image, (image.shape[0] // 2, image.shape[1] // 2))
        each.append(enlarged(low.repeat(2, 0).repeat(2, 1), image, 2)["psnr"])
    assert repeated.value == pytest.approx(np.mean(each), rel=1e-9)
    with pytest.raises(UserError, match="a.png is 41x41, too small"):
        enlargement.measures({"few": photographs}, 16)


def test_squares_cover_photographs(tmp_path):
    y, x = np.meshgrid(np.arange(50), np.arange(33), indexing="ij")
    image = np.stack([y, x, 0 * x], -1).astype(np.uint8)
    cut = squares([image, image[:16, :16]], 16, "photographs")
    assert cut.images.shape == (4 * 3 + 1, 16, 16, 3)
    seen = np.zeros((50, 33), bool)
    for one in np.asarray(cut.images)[:12]:
        top, left = one[0, 0, :2]
        np.testing.assert_array_equal(one, image[top : top + 16, left : left + 16])
        seen[top : top + 16, left : left + 16] = True
    assert seen.all()
    with pytest.raises(UserError, match="a photograph of 33x50 is smaller than squares of 40"):
        squares([image], 40, "photographs")
    with pytest.raises(UserError, match="no pictures"):
        read(tmp_path)
    (tmp_path / "x.png").write_bytes(b"no")
    with pytest.raises(UserError, match="1 of 1 pictures are damaged, such as x.png"):
        read(tmp_path)


def test_vgg_by_its_formula(tmp_path):
    """Three 1x1-like kernels: what reaches relu3_1 is known."""
    widths = [3, 3, 4, 4, 5, 5, 6]
    held = {}
    for i, name in enumerate(VGG):
        side = 1 if name == "conv0" else 3
        held[f"vgg19.{name}.weight"] = RNG.normal(size=(widths[i + 1], widths[i], side, side)).astype(np.float32)
        held[f"vgg19.{name}.bias"] = RNG.normal(size=widths[i + 1]).astype(np.float32)
    np.savez(tmp_path / "vgg.npz", **held)
    images = RNG.uniform(-1, 1, (2, 8, 12, 3)).astype(np.float32)
    found = vgg19(tmp_path / "vgg.npz")(images)

    def conv(x, name):
        kernel = held[f"vgg19.{name}.weight"].astype(np.float64)
        by = kernel.shape[-1] // 2
        x = np.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (1, 2))  # [b h w c k k]
        return np.einsum("bhwcij,ocij->bhwo", windows, kernel) + held[f"vgg19.{name}.bias"]

    def halved(x):
        return x.reshape(2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))

    x = conv((images.astype(np.float64) + 1) / 2, "conv0")
    x = np.maximum(conv(x, "conv1_1"), 0)
    np.testing.assert_allclose(found["relu1_1"], x, rtol=1e-4, atol=1e-4)
    x = np.maximum(conv(halved(np.maximum(conv(x, "conv1_2"), 0)), "conv2_1"), 0)
    np.testing.assert_allclose(found["relu2_1"], x, rtol=1e-4, atol=1e-3)
    x = np.maximum(conv(halved(np.maximum(conv(x, "conv2_2"), 0)), "conv3_1"), 0)
    np.testing.assert_allclose(found["relu3_1"], x, rtol=1e-4, atol=1e-2)
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(UserError, match="no array vgg19.conv0.weight"):
        vgg19(tmp_path / "other.npz")(images)


def test_squeezenet_by_its_formula(tmp_path):
    """Of the first layers; and the distance is one of directions, 0 for equal images."""
    widths, held = {"conv1": (4, 3, 7)}, {}
    for i, name in enumerate(FIRE):
        widths[f"{name}.conv1x1_1"] = (2, 4 if i == 0 else 6, 1)
        widths[f"{name}.conv1x1_2"], widths[f"{name}.conv3x3_2"] = (3, 2, 1), (3, 2, 3)
    for name, (out, given, side) in widths.items():
        held[f"{name}.codebook"] = RNG.normal(size=16).astype(np.float32)
        held[f"{name}.weight_code"] = RNG.integers(0, 16, (out, given, side, side), np.uint8)
        held[f"{name}.bias"] = 0.1 + RNG.uniform(size=out).astype(np.float32)
    np.savez(tmp_path / "squeezenet.npz", **held)
    network = squeezenet(tmp_path / "squeezenet.npz")
    images = RNG.uniform(-1, 1, (2, 40, 45, 3)).astype(np.float32)
    found = network(images)

    def conv(x, name, stride=1):
        kernel = held[f"{name}.codebook"][held[f"{name}.weight_code"]].astype(np.float64)
        by = 0 if stride > 1 else kernel.shape[-1] // 2
        x = np.pad(x, ((0, 0), (by, by), (by, by), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (1, 2))[:, ::stride, ::stride]
        return np.maximum(np.einsum("bhwcij,ocij->bhwo", windows, kernel) + held[f"{name}.bias"], 0)

    x = conv((images[..., ::-1].astype(np.float64) + 1) * 127.5 - [104, 117, 123], "conv1", 2)
    assert x.shape[1:3] == (17, 20)
    np.testing.assert_allclose(found["conv1"], x, rtol=1e-4, atol=0.05)
    x = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=-np.inf)  # 17 fits, 20 hangs over
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((-1, -2))
    for name in ("fire2", "fire3"):
        squeezed = conv(x, f"{name}.conv1x1_1")
        x = np.concatenate([conv(squeezed, f"{name}.{part}") for part in ("conv1x1_2", "conv3x3_2")], -1)
    np.testing.assert_allclose(found["fire3"], x, rtol=1e-3, atol=1e-3 * np.abs(x).max())
    distance = feature_distance(network)
    assert distance(images[:1], images[:1]) == 0 < distance(images[:1], images[1:])
