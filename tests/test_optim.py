"""Weight clipping as a transform, and a rate that falls."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rounding import float32

from gan_jax.optim import clip_weights, constant_then_linear

RNG = np.random.default_rng(0)
PARAMS = {
    "dense": {"kernel": jnp.float32(RNG.normal(0, 0.005, (3, 4))), "bias": jnp.zeros(4)},
    "scale": jnp.float32(0.004),
}


def steps(tx, sizes, params=PARAMS):
    """Parameters after each of some arbitrary gradients of the given sizes, by a jitted step."""

    @jax.jit
    def step(params, opt, grads):
        updates, opt = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt

    rng, opt, path = np.random.default_rng(1), tx.init(params), []
    for size in sizes:
        grads = jax.tree.map(lambda p, size=size: jnp.float32(rng.normal(0, size, p.shape)), params)
        params, opt = step(params, opt, grads)
        path.append(params)
    return path


@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_parameters_stay_in_the_box(limit):
    sizes = [1e-6, 1e-2, 1.0, 1e3, 1e6, 1e-4] * 3
    free = steps(optax.rmsprop(limit / 4), sizes)
    boxed = steps(optax.chain(optax.rmsprop(limit / 4), clip_weights(limit)), sizes)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(free)) > 1.5 * limit  # what the box has to hold
    for params in boxed:
        for leaf, start in zip(jax.tree.leaves(params), jax.tree.leaves(PARAMS), strict=True):
            assert leaf.dtype == start.dtype and leaf.shape == start.shape
            assert np.abs(leaf).max() <= limit * (1 + 1e-6)
    assert any((np.abs(leaf) > 0.999 * limit).any() for leaf in jax.tree.leaves(boxed))  # and it is used


def test_a_step_is_the_papers():
    # w <- clip(w + lr RMSProp(g), -c, c), line 7 of the algorithm: clipping what the step made, not the step.
    params = {"w": jnp.float32([-0.009, 0.0, 0.002, 0.0099, 0.5])}
    updates = {"w": jnp.float32([-0.5, 0.004, -0.5, 0.5, 0.0])}
    tx = clip_weights(0.01)
    out, _ = tx.update(updates, tx.init(params), params)
    expected = [-0.01, 0.004, -0.01, 0.01, 0.01]  # the last comes from 0.5
    np.testing.assert_allclose(optax.apply_updates(params, out)["w"], expected, rtol=0, atol=float32(4, size=0.5))


def test_nothing_happens_inside_the_box():
    sizes = [1.0] * 5
    rounded = float32(4 * len(sizes), size=10)  # of the clip's limit
    for free, boxed in zip(
        steps(optax.sgd(1e-3), sizes), steps(optax.chain(optax.sgd(1e-3), clip_weights(10.0)), sizes), strict=True
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=rounded), free, boxed)


def test_it_has_no_state():
    tx = clip_weights(0.01)
    state = tx.init(PARAMS)
    assert jax.tree.leaves(state) == []
    assert tx.update(PARAMS, state, PARAMS)[1] == state


def test_it_needs_the_parameters():
    tx = optax.chain(optax.rmsprop(1e-3), clip_weights(0.01))
    with pytest.raises(ValueError, match=r"clip_weights needs the parameters: tx\.update\(updates, state, params\)"):
        tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.parametrize("limit", [0, -0.01, float("nan")])
@pytest.mark.usefixtures("unchecked")
def test_a_bad_limit_is_named(limit):
    with pytest.raises(ValueError, match=f"limit must be positive, got {limit}; the paper's is 0.01"):
        clip_weights(limit)


def test_a_rate_that_is_constant_and_then_falls():
    rate = constant_then_linear(0.2, 10)
    np.testing.assert_allclose([rate(i) for i in (0, 4, 5, 6, 9, 10, 99)], [0.2, 0.2, 0.2, 0.16, 0.04, 0, 0], atol=1e-7)
    assert float(constant_then_linear(0.2, 1)(0)) == pytest.approx(0.2)
