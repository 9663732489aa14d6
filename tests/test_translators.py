"""Networks from images to images: published numbers of parameters, receptive fields, what each row depends on, and how
enlargements begin.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import float32

from gan_jax.models import superres
from gan_jax.models.patchgan import PatchGAN, receptive_field
from gan_jax.models.resnet_translator import ResnetTranslator
from gan_jax.models.unet import UNet, dropped
from gan_jax.types import UserError

RNG = np.random.default_rng(0)


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


# Network, its input, its parameters, and its output: authors' code, counted layer by layer.
PUBLISHED = {
    "U-Net 256": (UNet(3), (2, 256, 256, 3), 54_413_955, (2, 256, 256, 3)),
    "U-Net 128": (UNet(3, downs=7), (2, 128, 128, 3), 41_828_995, (2, 128, 128, 3)),
    "U-Net 64": (UNet(3, downs=6), (2, 64, 128, 3), 29_244_035, (2, 64, 128, 3)),
    "U-Net 64, width 32": (UNet(3, 32, 6), (2, 64, 64, 3), 7_314_755, (2, 64, 64, 3)),
    "pixels": (PatchGAN(0, affine=True), (2, 16, 16, 6), 9_024, (2, 16, 16)),
    "patches of 16": (PatchGAN(1, affine=True), (2, 256, 256, 6), 139_585, (2, 126, 126)),
    "patches of 34": (PatchGAN(2, affine=True), (2, 64, 64, 6), 666_433, (2, 14, 14)),
    "patches of 70": (PatchGAN(3, affine=True), (2, 256, 256, 6), 2_768_705, (2, 30, 30)),
    "patches of 142": (PatchGAN(4, affine=True), (2, 256, 256, 6), 6_964_033, (2, 14, 14)),
    "patches of 70, CycleGAN": (PatchGAN(3), (2, 256, 256, 3), 2_764_737, (2, 30, 30)),
    "ResNet, 9 blocks": (ResnetTranslator(), (2, 256, 256, 3), 11_378_179, (2, 256, 256, 3)),
    "ResNet, 6 blocks": (ResnetTranslator(blocks=6), (2, 128, 132, 3), 7_837_699, (2, 128, 132, 3)),
    "ResNet, 9 blocks, smooth": (ResnetTranslator(smooth=True), (2, 64, 64, 3), 11_378_179, (2, 64, 64, 3)),
    "MSRResNet": (superres.Residual(), (2, 24, 20, 3), 1_517_571, (2, 96, 80, 3)),
    "MSRResNet, 6 blocks of 32": (superres.Residual(4, 32, 6), (2, 24, 24, 3), 195_971, (2, 96, 96, 3)),
    "MSRResNet, 6 blocks of 32, x2": (superres.Residual(2, 32, 6), (2, 24, 24, 3), 158_979, (2, 48, 48, 3)),
    "compact": (superres.Compact(), (2, 24, 20, 3), 621_424, (2, 96, 80, 3)),
    "compact, 32 blocks": (superres.Compact(blocks=32), (2, 24, 24, 3), 1_213_296, (2, 96, 96, 3)),
    "compact, 8 of 32": (superres.Compact(4, 32, 8), (2, 24, 24, 3), 89_040, (2, 96, 96, 3)),
    "compact, 8 of 32, x2": (superres.Compact(2, 32, 8), (2, 24, 24, 3), 78_636, (2, 48, 48, 3)),
    "RRDB": (superres.Dense(), (2, 24, 20, 3), 16_697_987, (2, 96, 80, 3)),
    "RRDB, 6 blocks": (superres.Dense(blocks=6), (2, 24, 24, 3), 4_467_779, (2, 96, 96, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count(name):
    network, given, count, made = PUBLISHED[name]
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), shaped(*given))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert jax.eval_shape(lambda v, x: network.apply(v, x, train=True), variables, shaped(*given)).shape == made


def reach(network, side, middle):
    """The first and last row and column of the pixels on which a logit depends, without norms, which see everything."""
    x = jnp.float32(RNG.uniform(-1, 1, (1, side, side, 1)))
    variables = network.init(jax.random.key(0), x, train=False)
    slope = jax.jit(jax.grad(lambda x: network.apply(variables, x, train=False)[0, middle, middle]))(x)
    rows, columns = np.nonzero(np.asarray(slope)[0, ..., 0])
    return (rows.min(), rows.max()), (columns.min(), columns.max())


@pytest.mark.parametrize("layers, side", [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286), (6, 574)])
def test_receptive_field(layers, side, monkeypatch):
    assert receptive_field(layers) == side
    if layers < 4:
        monkeypatch.setattr("gan_jax.models.patchgan.norm", lambda x, dtype, affine=True: x)
        (top, bottom), (left, right) = reach(PatchGAN(layers, 4), max(4, side + 26), 2**layers // 2 + 2)
        assert bottom - top + 1 == right - left + 1 == side


NETWORKS = {
    "U-Net": UNet(2, 4, 3),
    "patches": PatchGAN(1, 4, affine=True),
    "ResNet": ResnetTranslator(4, 2),
    "ResNet, smooth": ResnetTranslator(4, 2, smooth=True),
    "MSRResNet": superres.Residual(2, 4, 1),
    "compact": superres.Compact(2, 4, 1),
    "RRDB": superres.Dense(2, 4, 2, 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_independent_and_all_is_learnt(name):
    network, x = NETWORKS[name], jnp.float32(RNG.uniform(-1, 1, (3, 16, 24, 2)))
    variables = jax.jit(lambda: network.init(jax.random.key(0), x, train=False))()
    # The last layer of enlargements begins at 0, and would let nothing through.
    variables = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.float32(RNG.normal(size=leaf.shape)), variables)
    weight = jnp.float32(RNG.normal(size=jax.eval_shape(lambda: network.apply(variables, x, train=True)).shape))

    @jax.jit
    def both(params):
        out = network.apply({"params": params}, x, train=True)
        return jnp.sum(weight * out), out

    slopes, out = jax.jit(jax.grad(both, has_aux=True))(variables["params"])
    for path, slope in jax.tree.leaves_with_path(slopes):
        # Before an instance norm without parameters a bias is taken away again.
        before_norm = "ResNet" in name and path[-1].key == "bias"
        assert before_norm or float(jnp.abs(slope).max()) > 1e-6, path
    alone = network.apply(variables, x[1:2], train=False)
    np.testing.assert_allclose(alone[0], out[1], rtol=0, atol=float32(3_000, max(1, float(jnp.abs(out).max()))))


@pytest.mark.parametrize("network, method", [
    (superres.Residual(4, 8, 1), "bilinear"), (superres.Dense(2, 8, 4, 1), "bilinear"), (superres.Compact(3, 8, 1), "nearest"),
])  # fmt: skip
def test_an_enlargement_begins_as_its_base(network, method):
    x = jnp.float32(RNG.uniform(-1, 1, (2, 6, 5, 3)))
    variables = network.init(jax.random.key(0), x, train=False)
    s = network.scale
    expected = jax.image.resize(x, (2, 6 * s, 5 * s, 3), method)
    np.testing.assert_allclose(network.apply(variables, x, train=False), expected, rtol=0, atol=float32(16))


def test_a_shuffle_puts_channels_beside_each_other():
    x = RNG.normal(size=(2, 3, 4, 4 * 5)).astype(np.float32)
    out = superres.shuffled(jnp.asarray(x), 2)
    for i in range(2):
        for j in range(2):
            np.testing.assert_array_equal(out[:, i::2, j::2], x[..., (2 * i + j) * 5 : (2 * i + j + 1) * 5])


def test_dropout_is_a_function_of_the_rows_number():
    x, numbers = jnp.ones((3, 8, 8, 16)), jnp.array([7, 8, 7], jnp.uint32)
    out = np.asarray(dropped(x, numbers, 3))
    np.testing.assert_array_equal(out[0], out[2])
    assert (out[0] != out[1]).any() and (out != np.asarray(dropped(x, numbers, 4))).any()
    assert {*np.unique(out)} == {0.0, 2.0} and abs(out.mean() - 1) < 5 / np.sqrt(out[:2].size)
    network = UNet(1, 4, 6)
    image = jnp.float32(RNG.uniform(-1, 1, (2, 64, 64, 1)))
    variables = network.init(jax.random.key(0), image, train=False)
    draw = jax.jit(lambda noise: network.apply(variables, image, noise, train=False))
    first, second = draw(jnp.array([1, 2], jnp.uint32)), draw(jnp.array([1, 3], jnp.uint32))
    np.testing.assert_array_equal(first[0], second[0])
    assert float(jnp.abs(first[1] - second[1]).max()) > 1e-4


@pytest.mark.parametrize("network, sides, words", [
    (UNet(1, 4, 3), (12, 16), "multiples of 8, and these are 12x16"),
    (PatchGAN(3, 4), (20, 40), "3 layers need images of 24 pixels a side, and these are 20x40"),
    (ResnetTranslator(4, 1), (18, 32), "multiples of 4, from 16 on, and these are 18x32"),
    (superres.Residual(5, 4, 1), (8, 8), "scale 5: images are enlarged 1, 2, 3, 4, 8 times"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(network, sides, words):
    with pytest.raises(UserError, match=words):
        jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, *sides, 1)), train=False))
