"""Layers with an equalised learning rate: their variances, that of pixel norm, and how far a step of Adam takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import RNG

from gan_jax.models import equalised
from gan_jax.models.layers import leaky_relu

LAYERS = {
    "dense": (equalised.Dense(4_000, np.sqrt(2)), (50, 300)),
    "slow dense": (equalised.Dense(4_000, np.sqrt(2), 0.01), (50, 300)),
    "3x3": (equalised.Conv(500, gain=np.sqrt(2)), (4, 12, 12, 40)),
    "1x1": (equalised.Conv(500, 1, gain=np.sqrt(2)), (4, 12, 12, 40)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_variances(name):
    """With gain sqrt 2 twice that of the input; after leaky ReLU the mean square is (1 + 0.2^2) = 1.04 of it."""
    layer, shape = LAYERS[name]
    x = jnp.float32(RNG.normal(size=shape))
    y, variables = layer.init_with_output(jax.random.key(0), x)
    y = np.asarray(y if y.ndim == 2 else y[:, 1:-1, 1:-1])  # zeros stand beside the border
    kernel = variables["params"]["kernel"]
    np.testing.assert_allclose(np.std(kernel), 100 if name == "slow dense" else 1, rtol=0.02)
    np.testing.assert_allclose(np.var(y), 2, rtol=0.05)
    np.testing.assert_allclose(np.mean(leaky_relu(y) ** 2), 1.04, rtol=0.05)


def test_it_is_a_layer_with_a_scaled_kernel():
    """Against matrices written out, with a bias that is not 0 and a stride."""
    x = jnp.float32(RNG.normal(size=(2, 6, 6, 3)))
    for layer, x_ in ((equalised.Dense(5, 0.7, 0.1, 2.0), x.reshape(2, -1)), (equalised.Conv(5, 3, 2, 0.7), x)):
        variables = jax.tree.map(lambda p: p + 0.5, layer.init(jax.random.key(0), x_))
        kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
        if x_.ndim == 2:
            expected = x_ @ kernel * 0.7 * 0.1 / np.sqrt(108) + 0.1 * bias[None]
            np.testing.assert_allclose(bias, 2.0 / 0.1 + 0.5, rtol=1e-6)
        else:
            expected = jax.lax.conv_general_dilated(
                x_, kernel * 0.7 / np.sqrt(27), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ) + bias.reshape(1, 1, 1, -1)
        np.testing.assert_allclose(layer.apply(variables, x_), expected, rtol=1e-4, atol=1e-5)
    assert "bias" not in equalised.Dense(5, bias=None).init(jax.random.key(0), x.reshape(2, -1))["params"]
    assert "bias" not in equalised.Conv(5, use_bias=False).init(jax.random.key(0), x)["params"]


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_step_of_adam_is_as_long_in_every_layer(rate):
    """lr rate / sqrt(i), of the numbers that are used."""
    layer, tx, x = equalised.Dense(3, 1.0, rate), optax.adam(0.002, eps=1e-15), jnp.float32(RNG.normal(size=(4, 512)))
    params = layer.init(jax.random.key(0), x)["params"]
    grads = jax.grad(lambda params: jnp.sum(jnp.sin(layer.apply({"params": params}, x))))(params)
    updates, _ = tx.update(grads, tx.init(params), params)
    moved = np.abs(updates["kernel"]) * rate / np.sqrt(512)
    np.testing.assert_allclose(moved, 0.002 * rate / np.sqrt(512), rtol=1e-3)


def test_pixel_norm():
    x = jnp.float32(RNG.normal(size=(3, 4, 4, 64)))
    np.testing.assert_allclose(jnp.mean(equalised.normalised(x) ** 2, -1), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(equalised.normalised(x[:, 0, 0]), axis=-1), 8, rtol=1e-5)
    np.testing.assert_allclose(equalised.normalised(jnp.zeros((1, 2))), 0)
    assert equalised.normalised(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
