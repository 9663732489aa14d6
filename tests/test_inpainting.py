"""What is missing: masks, partial convolutions, fillings that copy what is known, and the measures of what was filled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import float32

from gan_jax.data import masks, source
from gan_jax.data.derived import derived
from gan_jax.data.validate import image_set
from gan_jax.evaluation import filling
from gan_jax.models import inpainting
from gan_jax.models.unet import UNet
from gan_jax.types import UserError

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


# ---- masks, drawn beside the images


def test_masks():
    centre = masks.centre(2, 8, 12)
    assert centre.shape == (2, 8, 12, 1) and centre.sum() == 2 * 4 * 6 and centre[:, 2:6, 3:9].all()
    drawn = np.asarray(masks.free_form(KEY, 400, 32, 48))
    assert drawn.shape == (400, 32, 48, 1) and {*np.unique(drawn)} == {0.0, 1.0}
    shares = drawn.mean((1, 2, 3))
    assert 0.15 < shares.mean() < 0.27 and shares.max() < 0.8 and (shares > 0).all()
    # Everywhere, also at the borders, and no row is another's.
    assert drawn.mean(0).min() > 0.01 and len({row.tobytes() for row in drawn}) == 400


def test_what_is_made_of_a_batch_is_a_function_of_seed_and_step():
    images = image_set(RNG.integers(0, 256, (20, 8, 8, 1), np.uint8), None, "x")

    def of(seed):
        inner = source(images, 4, seed)
        return derived(inner, "masks", lambda batch, key: {"mask": masks.free_form(key, len(batch["image"]), 8, 8)})

    one = of(0)
    np.testing.assert_array_equal(one[3]["mask"], of(0)[3]["mask"])
    np.testing.assert_array_equal(one[3]["image"], source(images, 4, 0)[3]["image"])
    assert (np.asarray(one[3]["mask"]) != np.asarray(one[4]["mask"])).any()
    assert (np.asarray(one[3]["mask"]) != np.asarray(of(1)[3]["mask"])).any()
    assert one.spec.arrays["mask"].shape == (8, 8, 1) and one.spec.shape == (8, 8, 1)
    assert one.digest != source(images, 4, 0).digest
    assert one.examples(np.arange(3))["mask"].shape == (3, 8, 8, 1)


# ---- partial convolutions


@pytest.mark.usefixtures("x64")
def test_a_partial_convolution_by_its_formula():
    layer = inpainting.PartialConv(3, dtype="float64")
    x, known = RNG.normal(size=(2, 6, 7, 2)), (RNG.uniform(size=(2, 6, 7, 1)) < 0.4).astype(float)
    known[0, :4, :4] = 0
    variables = layer.init(KEY, x, known)
    variables["params"]["bias"] = jnp.asarray(RNG.normal(size=3))
    kernel, bias = variables["params"]["Conv_0"]["kernel"], variables["params"]["bias"]
    y, found = layer.apply(variables, x, known)
    around = [np.pad(z, ((0, 0), (1, 1), (1, 1), (0, 0))) for z in (x, known)]
    for b in range(2):
        for i in range(6):
            for j in range(7):
                part, there = (z[b, i : i + 3, j : j + 3] for z in around)
                assert float(found[b, i, j, 0]) == (there.sum() > 0)
                expected = 0 * bias
                if there.sum():
                    expected = np.einsum("ijc,ijco->o", part * there, kernel) * 9 / there.sum() + bias
                np.testing.assert_allclose(y[b, i, j], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_where_all_is_known_it_is_a_convolution_and_more_at_borders():
    layer, x = inpainting.PartialConv(3, dtype="float64"), RNG.normal(size=(1, 6, 6, 2))
    variables = layer.init(KEY, x, np.ones((1, 6, 6, 1)))
    kernel = variables["params"]["Conv_0"]["kernel"]
    plain = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y, found = layer.apply(variables, x, np.ones((1, 6, 6, 1)))
    np.testing.assert_allclose(y[:, 1:-1, 1:-1], plain[:, 1:-1, 1:-1], rtol=1e-10)
    np.testing.assert_allclose(y[:, 0, 1:-1], plain[:, 0, 1:-1] * 9 / 6, rtol=1e-10)
    np.testing.assert_allclose(y[:, 0, 0], plain[:, 0, 0] * 9 / 4, rtol=1e-10)
    none, found = layer.apply(variables, x, np.zeros((1, 6, 6, 1)))
    assert not np.asarray(none).any() and not np.asarray(found).any()


def test_a_hole_shrinks_by_a_pixel():
    layer, known = inpainting.PartialConv(1), np.ones((1, 9, 9, 1), np.float32)
    known[:, 2:7, 2:7] = 0
    variables = layer.init(KEY, known, known)
    for side in (3, 1, 0):
        known = layer.apply(variables, known, known)[1]
        assert int((np.asarray(known) == 0).sum()) == side**2


WAYS = {
    "U-Net": inpainting.Filled(UNet(2, 4, 3)),
    "context encoder": inpainting.Filled(inpainting.ContextEncoder(2, 4, 16)),
    "partial convolutions": inpainting.Filled(inpainting.PartialUNet(2, 4, 3), partial=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_known_pixels_are_copied_and_missing_ones_not_seen(way):
    network, image = WAYS[way], jnp.float32(RNG.uniform(-1, 1, (3, 16, 16, 2)))
    mask = masks.free_form(KEY, 3, 16, 16)
    variables = jax.jit(lambda: network.init(KEY, image, mask, train=False))()
    fill = jax.jit(lambda image, mask: network.apply(variables, image, mask, train=False))
    made, missing = np.asarray(fill(image, mask)), np.broadcast_to(np.asarray(mask) > 0, image.shape)
    np.testing.assert_array_equal(made[~missing], np.asarray(image)[~missing])
    assert (made[missing] != np.asarray(image)[missing]).all() and np.abs(made).max() <= 1
    other = jnp.where(missing, jnp.nan, image)  # whatever stands there
    np.testing.assert_array_equal(fill(other, mask), made)
    alone = fill(image[1:2], mask[1:2])
    np.testing.assert_allclose(alone[0], made[1], rtol=0, atol=float32(3_000))
    slopes = jax.jit(jax.grad(lambda image: jnp.sum(network.apply(variables, image, mask, train=False)[..., 0])))(image)
    assert not np.asarray(slopes)[missing].any()


def test_sizes_that_do_not_fit():
    for network, sides, words in (
        (inpainting.ContextEncoder(), (16, 24), "4 or 7 times a power of 2 pixels, and these are 16x24"),
        (inpainting.PartialUNet(), (32, 40), "multiples of 32, and these are 32x40"),
    ):
        with pytest.raises(UserError, match=words):
            shapes = jnp.zeros((1, *sides, 3)), jnp.zeros((1, *sides, 1))
            given = shapes if isinstance(network, inpainting.PartialUNet) else shapes[:1]
            jax.eval_shape(lambda network=network, given=given: network.init(KEY, *given, train=False))


# ---- measures


def test_a_harmonic_filling_is_exact_where_it_should_be():
    """A plane is harmonic; and every filled pixel is the mean of its neighbours."""
    y, x = np.meshgrid(np.arange(9), np.arange(11), indexing="ij")
    plane = np.stack([0.05 * y - 0.03 * x, 0.1 + 0.02 * x], -1)[None]
    mask = np.zeros((9, 11))
    mask[2:6, 3:9] = 1
    np.testing.assert_allclose(filling.harmonic(plane * (1 - mask[None, ..., None]), mask), plane, atol=1e-12)
    image = RNG.normal(size=(2, 9, 11, 1))
    mask[7:, 10] = 1  # a corner
    out = filling.harmonic(image, mask)
    np.testing.assert_array_equal(out[:, mask == 0], image[:, mask == 0])
    around = np.pad(out, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    means = np.nanmean([around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:]], 0)
    np.testing.assert_allclose(out[:, mask > 0], means[:, mask > 0], atol=1e-12)
    with pytest.raises(ValueError, match="known pixels around"):
        filling.harmonic(image, np.ones((9, 11)))


def test_the_measures_are_of_the_hole_beside_other_fillings():
    images = RNG.integers(0, 256, (12, 8, 8, 1), np.uint8)
    train, test = image_set(images[:8], np.arange(8) % 2, "x"), image_set(images[8:], np.arange(4) % 2, "y")
    mask = masks.centre(1, 8, 8)[0]

    def classify(made):
        return (made.reshape(len(made), -1).astype(int).sum(1) % 2).astype(int)

    evaluate = filling.measures(train, test, mask, "the centre", classify)
    given = []

    def draw(batch):
        given.append(batch)
        return np.where(batch["mask"] > 0, 0.5, batch["image"])

    found = evaluate.measure(draw)
    assert {*found} == {*evaluate.names} and given[0]["mask"].shape == (4, 8, 8, 1)
    level = np.round((0.5 + 1) * 127.5)
    hole = test.images[:, 2:6, 2:6].astype(float)
    errors = ((hole - level) ** 2).mean((1, 2, 3))
    assert found["psnr"].value == pytest.approx((10 * np.log10(255**2 / errors)).mean(), rel=1e-6)
    assert found["l1"].value == pytest.approx(np.abs(hole - level).mean() / 127.5, rel=1e-6)
    assert found["psnr"].higher_is_better and not found["l1"].higher_is_better
    near = [np.argmin(((train.scaled() - x) ** 2 * (1 - mask)).sum((1, 2, 3))) for x in test.scaled()]
    expected = np.abs(train.images[near][:, 2:6, 2:6].astype(float) - hole).mean() / 127.5
    assert found["l1"].protocol["answers"]["nearest"] == pytest.approx(expected, rel=1e-6)
    of_classes = found["class_accuracy"].protocol
    assert {"laplace", "mean", "unfilled", "real"} <= {*of_classes["answers"]} and of_classes["real"] == 4
    assert filling.measures(train, test._replace(labels=None), mask, "the centre", classify).names == ("psnr", "l1")
    with pytest.raises(UserError, match="4 images of each split are needed; there are 3"):
        filling.measures(train, image_set(images[:3], None, "few"), mask, "the centre")
