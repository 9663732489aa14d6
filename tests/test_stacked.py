"""Stacked digits: which three make an image, how even the thousand modes are, and the networks of the tiny protocol."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from rounding import float32
from sklearn.datasets import load_digits

from gan_jax import data, game, losses
from gan_jax.data.stacked import triples
from gan_jax.data.validate import image_set
from gan_jax.evaluation import evaluators
from gan_jax.games.adversarial import adversarial
from gan_jax.games.packed import packed
from gan_jax.metrics.modes import categories
from gan_jax.models import tiny_dcgan
from gan_jax.types import UserError

KEY = jax.random.key(5)
# Of the 60,000 training images of MNIST, digit by digit (LeCun's set, as everyone counts them).
MNIST = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])


def seen(spec):
    """What networks have to know."""
    return spec.shape, spec.classes


@pytest.fixture(scope="module")
def digits():
    """A value of its own for every image, so that it is known again."""
    images = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, 4, 6, 1))
    return image_set(images, np.arange(200) % 10, "numbered", 10)


@pytest.mark.parametrize(("first", "modes"), [(None, 1_000), (3, 100)])
def test_stacked_fakes_are_counted_by_a_classifier(first, modes):
    """Real digits, one a channel, in the fakes' place: their floor; with one digit alone in a channel a tenth is left."""
    real = data.load("digits")
    measure = evaluators.stacked(real, 4_000)
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(real.images), 4_000) for _ in range(3)]
    if first is not None:
        rows[1] = rng.choice(np.flatnonzero(real.labels == first), 4_000)
    fake = np.concatenate([real.images[which] for which in rows], axis=-1)  # [b h w 3]
    found = measure.measure(lambda n: fake[:n])
    floor = {name: found[name].protocol["floor"] for name in ("modes", "reverse_kl")}
    assert floor["reverse_kl"] == pytest.approx(999 / 8_000, rel=0.25) and floor["modes"] > 960
    if first is None:
        assert abs(found["modes"].value - floor["modes"]) < 15 and found["collapsed"].value == 0
        assert found["reverse_kl"].value == pytest.approx(floor["reverse_kl"], rel=0.15)
    else:
        assert modes - 5 <= found["modes"].value <= modes + 60 and found["collapsed"].value == 1
        assert found["reverse_kl"].value == pytest.approx(math.log(10), abs=0.1)
    assert measure.names[0] == "reverse_kl" and not found["reverse_kl"].higher_is_better


def test_one_stacked_image_again_and_again_is_collapsed():
    real = data.load("digits")
    fake = np.repeat(np.concatenate(real.images[:3], axis=-1)[None], 50, 0)
    found = evaluators.stacked(real, 50).measure(lambda n: fake)
    assert (found["modes"].value, found["collapsed"].value) == (1, 1)
    assert found["reverse_kl"].value == pytest.approx(math.log(1_000))


def places(image):
    """[b 3]: the images of each triple, from the values of its pixels."""
    pixels = (np.asarray(image) + 1) * 127.5
    assert np.ptp(pixels, axis=(1, 2)).max() < 1e-3
    return np.rint(pixels[:, 0, 0]).astype(int)


@pytest.mark.parametrize("count", [0, 40])
def test_channels_are_three_digits_and_the_label_their_number(digits, count):
    source = data.stacked(digits, 16, 3, count=count)
    assert seen(source.spec) == ((4, 6, 3), 1000) and source.rows == 16 and source.size == count
    batch = source[7]
    assert batch["image"].shape == (16, 4, 6, 3) and batch["image"].dtype == jnp.float32
    np.testing.assert_array_equal(batch["label"], places(batch["image"]) % 10 @ [100, 10, 1])
    assert batch["label"].dtype == jnp.int32


def test_pixels_are_those_of_a_plain_source():
    real = data.load("digits")
    image = data.stacked(real, 1_000, 0)[0]["image"]
    expected = real.images.astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(np.unique(image), np.unique(expected), atol=float32(2))
    floats = image_set(expected.astype(np.float32), real.labels, "floats", 10)
    np.testing.assert_allclose(data.stacked(floats, 1_000, 0)[0]["image"], image, atol=float32(4))


def test_fixed_triples_come_once_an_epoch_and_are_the_same_for_every_seed(digits):
    fixed = sorted(map(tuple, triples(200, 40)))
    for seed in (0, 1):
        source = data.stacked(digits, 8, seed, count=40)
        epochs = [np.concatenate([places(source[5 * epoch + i]["image"]) for i in range(5)]) for epoch in range(2)]
        assert all(sorted(map(tuple, epoch)) == fixed for epoch in epochs)
        assert (epochs[0] != epochs[1]).any()
    assert (places(data.stacked(digits, 40, 0, count=40)[0]["image"]) != places(source[0]["image"])[0]).any()


def test_fresh_triples_are_functions_of_seed_and_step(digits):
    one, same, other = (data.stacked(digits, 500, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[3]["image"], same[3]["image"])
    for batch in (one[4], other[3]):
        assert (places(one[3]["image"]) == places(batch["image"])).mean() < 0.02  # 1 / 200 by chance
    drawn = np.concatenate([places(one[step]["image"]) for step in range(40)])  # 60,000 draws of 200, in each channel
    counts = np.stack([np.bincount(channel, minlength=200) for channel in drawn.T])
    assert (((counts - 100) ** 2 / 100).sum(1) < 199 + 5 * np.sqrt(2 * 199)).all()  # chi-squared
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 5 / np.sqrt(20_000)


def test_fetch_is_the_same_every_time(digits):
    source = data.stacked(digits, 8, 0, count=40)
    assert source.resident and source.fetch(source.key, 0) is source.fetch(jax.random.key(9), 5)
    assert source.digest != data.stacked(digits, 8, 0).digest


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (np.zeros((20, 4, 4, 3), np.uint8), np.arange(20) % 10, {}, "has 3 channels and 10 classes"),
        (np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 9, {}, "has 1 channels and 9 classes"),
        (np.zeros((20, 4, 4, 1), np.uint8), None, {}, "has 1 channels and 0 classes"),
        (np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 10, {"count": 7}, "8 rows a step of 7 triples"),
    ],
)
def test_refusals(images, labels, options, message):
    with pytest.raises(UserError, match=message):
        data.stacked(image_set(images, labels, "these"), 8, 0, **options)


def test_sets_on_disk_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 4, 4, 1), np.uint8))
    on_disk = data.load(str(tmp_path / "x.npy"), stream=True)._replace(labels=np.arange(20) % 10, classes=10)
    with pytest.raises(UserError, match="leave --stream out"):
        data.stacked(on_disk, 8, 0)


# ---- counting


@pytest.mark.parametrize(
    ("counts", "of", "modes", "kl"),
    [
        ([7, 7, 7, 7], 4, 4, 0),
        ([0, 9, 0, 0], 4, 1, math.log(4)),
        ([5, 5], 1000, 2, math.log(500)),
        ([6, 3, 0, 1], 8, 3, 0.6 * math.log(0.6 * 8) + 0.3 * math.log(0.3 * 8) + 0.1 * math.log(0.1 * 8)),
    ],
)
def test_categories(counts, of, modes, kl):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    assert categories(labels, of) == {"modes": modes, "reverse_kl": pytest.approx(kl, rel=1e-12, abs=1e-12)}


@pytest.mark.parametrize(
    ("labels", "message"), [([], "no labels"), ([0, 10], "labels from 0 to 10: of 10 .* 0..9"), ([-1, 2], "from -1 to 2")]
)  # fmt: skip
def test_categories_refuses(labels, message):
    with pytest.raises(ValueError, match=message):
        categories(np.array(labels, int), 10)


def exact(share, n):
    """E[KL] of n draws of these shares: ln k + sum over classes of E[c/n ln c/n], c binomial, by SciPy."""
    from scipy.stats import binom

    values, multiplicity = np.unique(np.round(share, 15), return_counts=True)
    c = np.arange(1, n + 1)
    terms = [np.sum(binom.pmf(c, n, p) * c / n * np.log(c / n)) for p in values]
    return float(np.log(len(share)) + np.sum(multiplicity * np.array(terms)))


@pytest.mark.parametrize(
    ("frequencies", "floor"), [(np.full(10, 6000), 0.0193), (MNIST, 0.0237)], ids=["uniform", "mnist"]
)
def test_the_floor_of_real_triples(frequencies, floor):
    """26,000 triples of real digits: every mode is there, and the KL is that of drawing so few."""
    p = frequencies / frequencies.sum()
    share = np.array([math.prod(three) for three in itertools.product(p, repeat=3)])
    expected = exact(share, 26_000)
    np.testing.assert_allclose(expected, floor, atol=2e-4)
    labels = np.repeat(np.arange(10), frequencies)
    tiny_images = image_set(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, "mnist's labels", 10)
    source = data.stacked(tiny_images, 26_000, 0)
    got = [categories(source[step]["label"], 1000) for step in range(4)]
    assert all(one["modes"] == 1000 for one in got)
    np.testing.assert_allclose([one["reverse_kl"] for one in got], expected, atol=4 * 0.0011)


def test_real_digits_by_a_perfect_classifier_of_the_labels():
    labels = load_digits().target
    source = data.stacked(data.load("digits"), 5_000, 0)
    share = np.bincount(labels) / len(labels)
    kept = categories(source[0]["label"], 1000)
    assert kept["modes"] > 980 and kept["reverse_kl"] > 3 * (np.log(10) + np.sum(share * np.log(share)))


# ---- networks


def count(network, shape):
    variables = jax.eval_shape(lambda x: network.init(KEY, x, train=False), jnp.zeros(shape))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("network", "shape", "number"),
    [
        (tiny_dcgan.Generator((28, 28, 3)), (2, 256), 287_875),
        (tiny_dcgan.Discriminator(4), (2, 28, 28, 3), 1_889),
        (tiny_dcgan.Discriminator(2), (2, 28, 28, 3), 585),
        (tiny_dcgan.Discriminator(4), (2, 28, 28, 12), 1_889 + 9 * 9 * 4),  # packs of four
    ],
)
def test_parameters(network, shape, number):
    assert count(network, shape) == number


@pytest.mark.parametrize(("shape", "m"), [((8, 8, 3), 1), ((5, 12, 1), 3)], ids=str)
def test_a_round_of_the_tiny_networks(shape, m):
    g = packed(
        adversarial(tiny_dcgan.Generator(shape), tiny_dcgan.Discriminator(2), losses.non_saturating(), z_dim=6), m
    )
    tx = optax.sgd(0.1)
    batch = {"image": jax.random.uniform(KEY, (12, *shape), minval=-1)}
    state = begin(g, tx, tx, KEY, batch)
    before = jax.tree.map(np.asarray, state)
    state, metrics = game.make_update(g, tx, tx)(state, batch, KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
    images = g.sample(state.gen.params, state.gen.stats, jnp.ones((5, 6)))
    assert images.shape == (5, *shape) and np.abs(images).max() <= 1
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.gen.params, state.gen.params)
    assert all(moved[name]["kernel"] for name in moved if "Norm" not in name)


def test_an_odd_side_is_the_transpose_of_the_convolution_that_halves_it():
    """From 4 to 7, as the authors' code has it: the gradient of a 3x3 convolution of stride 2 from 7 to 4, TensorFlow's
    "SAME", with respect to its input.
    """
    from gan_jax.models.layers import ConvTranspose

    x = jax.random.normal(KEY, (2, 4, 4, 3))
    layer = ConvTranspose(2, (3, 3), (2, 2), use_bias=False)
    variables = layer.init(KEY, x)
    kernel = jnp.flip(variables["params"]["kernel"], (0, 1)).swapaxes(2, 3)  # [3 3 o i]

    def halve(image):
        return jax.lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    _, back = jax.vjp(halve, jnp.zeros((2, 7, 7, 2)))
    np.testing.assert_allclose(
        layer.apply(variables, x)[:, -7:, -7:], back(x)[0], rtol=0, atol=float32(2 * 4 * 3, size=4)
    )  # sums of at most 4 x 3 products
