"""The filter [1, 3, 3, 1]: against its definition by XLA's convolutions, with printed values, and as a closed family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import RNG
from jax import lax

from gan_jax.models.conv import fir

TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def defined(x, *, up=1, down=1, low=0, high=0, gain=1.0):
    """Zeros between the pixels, zeros around, the filter, every `down`-th of the results: StyleGAN2's `upfirdn`."""
    kernel = jnp.asarray(gain * TAPS, x.dtype)[:, :, None, None] * jnp.ones((1, 1, 1, x.shape[-1]), x.dtype)
    high += up - 1  # a zero after the last pixel too
    return lax.conv_general_dilated(
        x, kernel, (down, down), [(low, high)] * 2, (up, up), None, ("NHWC", "HWIO", "NHWC"), x.shape[-1]
    )


WAYS = {
    "up": (fir.upsample, {"up": 2, "low": 2, "high": 1, "gain": 4.0}),
    "down": (fir.downsample, {"down": 2, "low": 1, "high": 1}),
    "narrow": (lambda x: fir.blur(x, 1), {"low": 1, "high": 1}),
    "wide": (lambda x: fir.blur(x, 2), {"low": 2, "high": 2}),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 2, 8, 1)], ids=str)
def test_it_is_what_is_defined_to_the_third_order(name, shape):
    ours, options = WAYS[name]
    x = RNG.normal(size=shape)

    def orders(fn):
        first = jax.grad(lambda x: jnp.sum(jnp.sin(fn(x))))
        second = jax.grad(lambda x: jnp.sum(first(x) ** 2))
        third = jax.grad(lambda x: jnp.sum(jnp.cos(second(x))))
        return jax.jit(lambda x: (fn(x), first(x), second(x), third(x)))(x)

    for mine, other in zip(orders(ours), orders(lambda x: defined(x, **options)), strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
    members = jnp.stack([x, 2 * x])
    np.testing.assert_allclose(jax.vmap(ours)(members)[1], 2 * ours(x), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_one_is_the_transpose_of_the_other():
    x, y = RNG.normal(size=(2, 5, 7, 3)), RNG.normal(size=(2, 10, 14, 3))
    np.testing.assert_allclose(np.sum(fir.upsample(x) * y), 4 * np.sum(x * fir.downsample(y)), rtol=1e-12)
    y = RNG.normal(size=(2, 4, 6, 3))
    np.testing.assert_allclose(np.sum(fir.blur(x, 1) * y), np.sum(x * fir.blur(y, 2)), rtol=1e-12)


def test_values_that_others_print():
    def line(values):  # an image of equal columns: along the rows the filter's sum is 1 inside
        return jnp.tile(jnp.float32(values)[None, :, None, None], (1, 1, 8, 1))

    impulse = fir.upsample(line([0, 0, 1, 0]))[0, :, 6, 0]
    np.testing.assert_allclose(impulse, np.float32([0, 0, 0, 1, 3, 3, 1, 0]) / 4)
    ones = fir.upsample(jnp.ones((1, 4, 4, 1)))[0, :, :, 0]
    np.testing.assert_allclose(ones[3], [0.75, 1, 1, 1, 1, 1, 1, 0.75])
    assert float(ones[0, 0]) == 0.5625
    np.testing.assert_allclose(fir.downsample(line([1] * 8))[0, :, 2, 0], [0.875, 1, 1, 0.875])
    np.testing.assert_allclose(fir.downsample(line(range(8)))[0, :, 2, 0], [0.625, 2.5, 4.5, 5.5])
    assert (TAPS.sum(), (TAPS**2).sum()) == (1, 0.09765625)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"the images are \(5, 4\): they must be even"):
        fir.downsample(jnp.zeros((1, 5, 4, 1)))
    with pytest.raises(ValueError, match="one zero around images, or two; got 3"):
        fir.blur(jnp.zeros((1, 4, 4, 1)), 3)
