"""The residual networks of points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import RNG, ROWS, start

from gan_jax.models import residual_mlp
from gan_jax.models.layers import leaky_relu


@pytest.mark.parametrize(
    "network",
    [residual_mlp.Generator((2,), 16, 5, dtype="float64"), residual_mlp.Discriminator(16, 5, dtype="float64")],
    ids=["gen", "disc"],
)
def test_residual_networks_start_as_shallow_ones(network, x64):
    """The second layer of each block starts at 0, and learns."""
    x = np.float64(RNG.normal(size=(ROWS, 3)))
    params = jax.tree.map(np.float64, start(network, x)["params"])
    first, last = params["Dense_0"], params["Dense_11"]
    hidden = np.asarray(leaky_relu(x @ first["kernel"]))
    expected = hidden @ np.asarray(last["kernel"])
    got = network.apply({"params": params}, x, train=True)
    np.testing.assert_allclose(got, expected if expected.shape[1] > 1 else expected[:, 0], rtol=1e-11)
    slopes = jax.grad(lambda params: jnp.sum(jnp.sin(network.apply({"params": params}, x, train=True))))(params)
    assert all(np.abs(slopes[f"Dense_{2 * i + 2}"]["kernel"]).max() > 1e-5 for i in range(5))
