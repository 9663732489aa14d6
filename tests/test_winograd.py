"""Convolutions in fewer products, against sums over taps in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import close, image, same

from gan_jax.models.conv import convolution, winograd
from gan_jax.models.conv.geometry import Geometry
from gan_jax.models.layers import Conv, ConvTranspose

THREE, FOUR = ((3, 3), (1, 1)), ((4, 4), (2, 2))
CASES = {
    "3x3": Geometry((6, 6), *THREE, (1, 1), (1, 1), (6, 6)),
    "3x3, one tile": Geometry((2, 2), *THREE, (1, 1), (1, 1), (2, 2)),
    "3x3, not padded": Geometry((6, 8), *THREE, (1, 1), (0, 0), (4, 6)),
    "3x3, padded before only": Geometry((6, 4), *THREE, (1, 1), (2, 2), (6, 4)),
    "4x4": Geometry((8, 8), *FOUR, (1, 1), (1, 1), (4, 4)),
    "4x4, one tile": Geometry((4, 4), *FOUR, (1, 1), (1, 1), (2, 2)),
    "4x4, wide": Geometry((4, 12), *FOUR, (1, 1), (1, 1), (2, 6)),
    "4x4, not padded, the last input not reached": Geometry((7, 11), *FOUR, (1, 1), (0, 0), (2, 4)),
    "4x4, padded by two": Geometry((8, 4), *FOUR, (1, 1), (2, 2), (4, 2)),
}
RNG = np.random.default_rng(0)


def taps(g):
    """Of every tap: its place, and which input lies under it for each output, of those that there are."""
    for place in np.ndindex(*g.kernel):
        under = [np.arange(m) * s + k - low for m, s, k, low in zip(g.outputs, g.strides, place, g.low, strict=True)]
        inside = [np.flatnonzero((at >= 0) & (at < n)) for at, n in zip(under, g.inputs, strict=True)]
        yield place, np.ix_(*inside), np.ix_(*(at[where] for at, where in zip(under, inside, strict=True)))


@pytest.mark.parametrize("g", CASES.values(), ids=CASES)
def test_the_three_are_sums_over_taps(g):
    x, y = RNG.normal(size=(3, *g.inputs, 5)), RNG.normal(size=(3, *g.outputs, 7))
    w = RNG.normal(size=(*g.kernel, 5, 7))
    forward, to_input, to_kernel = np.zeros_like(y), np.zeros_like(x), np.zeros_like(w)
    for place, out, under in taps(g):
        pick, put = (slice(None), *under), (slice(None), *out)
        forward[put] += x[pick] @ w[place]
        to_input[pick] += y[put] @ w[place].T
        to_kernel[place] = np.einsum("bhwi,bhwo->io", x[pick], y[put])
    assert winograd.applies(g)

    def three(x, y, w):
        return winograd.forward(x, w, g), winograd.to_input(y, w, g), winograd.to_kernel(x, y, g)

    with jax.enable_x64(True):
        found = jax.device_get(jax.jit(three)(x, y, w))
    for ours, expected in zip(found, (forward, to_input, to_kernel), strict=True):
        assert ours.shape == expected.shape and ours.dtype == np.float64
        assert np.abs(ours - expected).max() < 1e-12 * np.abs(expected).max()


def test_the_transforms_are_minimal_filters():
    """In integers, so exactly: A [(G w) * (B x)] is the sum over taps for every x and w."""
    for r in (2, 3):
        found = np.einsum("mk,kt,kn->mtn", winograd.A[r], 2 * winograd.G[r], winograd.B[r]) / 2
        assert np.array_equal(found, [[[n == m + t for n in range(r + 1)] for t in range(r)] for m in range(2)])


@pytest.mark.parametrize(
    ("ours", "theirs", "kernel", "strides"),
    [(Conv, nn.Conv, *THREE), (Conv, nn.Conv, *FOUR), (ConvTranspose, nn.ConvTranspose, *FOUR)],
)
def test_layers_of_many_channels_are_flaxs(monkeypatch, ours, theirs, kernel, strides):
    used = []
    for name in ("forward", "to_input", "to_kernel"):
        real = getattr(winograd, name)
        monkeypatch.setattr(winograd, name, lambda *args, name=name, real=real: used.append(name) or real(*args))
    same(ours(64, kernel, strides), theirs(64, kernel, strides), image(8, 8, channels=64) / 8)
    assert {*used} == {"forward", "to_input", "to_kernel"}


@pytest.mark.parametrize(
    ("channels", "features", "space", "dtype"),
    [
        (64, 63, (4, 4), "float32"),
        (63, 64, (4, 4), "float32"),
        (64, 64, (4, 5), "float32"),
        (64, 64, (4, 4), "bfloat16"),
    ],
)
def test_where_it_is_slower_or_too_rough_it_is_not_used(monkeypatch, channels, features, space, dtype):
    for name in ("forward", "to_input", "to_kernel"):
        monkeypatch.setattr(winograd, name, None)
    layer, x = Conv(features, (3, 3), dtype=dtype), image(*space, channels=channels)
    params = layer.init(jax.random.key(0), x)
    jax.grad(lambda params: jnp.sum(jnp.float32(layer.apply(params, x))))(params)


@pytest.mark.parametrize("held", [1, 2**16, 2**40])
def test_over_parts_of_the_batch_the_gradient_is_the_same(monkeypatch, held):
    g, x, y = CASES["3x3"], image(6, 6, channels=64, rows=6), image(6, 6, channels=64, rows=6)
    monkeypatch.setattr(convolution, "HELD", held)
    close(jax.jit(lambda x, y: convolution.conv_to_kernel(x, y, g))(x, y), winograd.to_kernel(x, y, g))


def test_what_the_gradient_holds_is_counted():
    g, made = CASES["4x4"], []
    x, y = jnp.zeros((3, *g.inputs, 5)), jnp.zeros((3, *g.outputs, 7))
    made += jax.eval_shape(lambda x: winograd._inputs(x, g), x) + jax.eval_shape(lambda y: winograd._outputs(y, g), y)
    assert winograd.held(3, 5, 7, g) == sum(4 * part.size for part in made)


def test_in_a_loop_and_of_members():
    """Three members' weights, and in `scan`, where XLA knows less of what is around."""
    x = image(4, 4, channels=64, rows=6).reshape(3, 2, 4, 4, 64) / 8
    ours, theirs = Conv(64, (3, 3)), nn.Conv(64, (3, 3))
    params = jax.vmap(ours.init)(jax.random.split(jax.random.key(0), 3), x)

    def slope(layer):
        return jax.grad(lambda params, x: jnp.sum(jnp.sin(layer.apply(params, x))), argnums=(0, 1))

    each = [slope(theirs)(jax.tree.map(lambda p, i=i: p[i], params), x[i]) for i in range(3)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    close(jax.jit(jax.vmap(slope(ours)))(params, x), expected)
    close(jax.jit(lambda both: jax.lax.map(lambda one: slope(ours)(*one), both))((params, x)), expected)
