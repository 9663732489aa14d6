"""The sizes inside DCGAN, and images whose sides do not fit."""

import jax
import jax.numpy as jnp
import pytest

from gan_jax.models import dcgan
from gan_jax.models.layers import halvings
from gan_jax.types import UserError

Z = 5


@pytest.mark.parametrize(
    ("sides", "times"),
    [
        ((4, 4), 2),
        ((8, 8), 2),
        ((28, 28), 2),
        ((32, 32), 3),
        ((24, 24), 3),
        ((64, 64), 4),
        ((12, 20), 2),
        ((8, 64), 2),
        ((256, 256), 6),
    ],
)
def test_halvings(sides, times):
    assert halvings(*sides, "DCGAN") == times


@pytest.mark.parametrize(
    ("image", "inside"),
    [
        ((28, 28), [14, 7, 4]),
        ((32, 32), [16, 8, 4]),
        ((20, 20), [10, 5, 3]),
        ((24, 24), [12, 6, 3]),
        ((8, 8), [4, 2]),
        ((4, 4), [2, 1]),
    ],
)
def test_the_sizes_inside_dcgan(image, inside):
    assert dcgan.sides(*image) == [image, *((n, n) for n in inside)]
    x = jnp.zeros((2, *image, 1))
    disc, gen = dcgan.Discriminator(4), dcgan.Generator((*image, 1), 4)
    _, seen = jax.eval_shape(
        lambda: disc.init_with_output(jax.random.key(0), x, train=False, capture_intermediates=True)
    )
    made = jax.eval_shape(
        lambda: gen.init_with_output(jax.random.key(0), jnp.zeros((2, Z)), train=False, capture_intermediates=True)
    )[1]
    down = [seen["intermediates"][f"Conv_{i}"]["__call__"][0].shape[1] for i in range(len(inside))]
    up = [made["intermediates"][f"ConvTranspose_{i}"]["__call__"][0].shape[1] for i in range(len(inside))]
    assert down == inside
    assert up == [2 * n for n in reversed(inside)]  # of which 8 is cut to 7


@pytest.mark.parametrize(
    ("sides", "mend"), [((30, 28), 28), ((27, 27), 28), ((2, 2), 4), ((6, 8), 8), ((100, 33), 32), ((0, 4), 4)]
)
def test_sides_that_do_not_fit_are_named(sides, mend):
    message = rf"sides that are multiples of 4, and the images are {sides[0]}x{sides[1]}; .* --size {mend}\b"
    with pytest.raises(UserError, match=message):
        halvings(*sides, "DCGAN")
    halvings(mend, mend, "DCGAN")  # it is one
    with pytest.raises(UserError, match=message):
        dcgan.Generator((*sides, 1)).init(jax.random.key(0), jnp.zeros((2, Z)), train=False)
    with pytest.raises(UserError, match=message):
        dcgan.Discriminator().init(jax.random.key(0), jnp.zeros((2, *sides, 1)), train=False)
