"""A layer beside another that should be the same: values, gradients and gradients of gradients; and how a game begins."""

import jax
import jax.numpy as jnp
import numpy as np
from rounding import float32

from gan_jax import game

RNG = np.random.default_rng(0)


SUMS = float32(160)


def close(got, expected, rtol=SUMS):
    """Equal trees, each leaf to `rtol` of its own largest entry: single entries may be sums that cancel. In float32 these
    are sums of at most 160 products of comparable size.
    """
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for path, leaf in jax.tree.leaves_with_path(expected):
        other = dict(jax.tree.leaves_with_path(got))[path]
        assert other.shape == leaf.shape and other.dtype == leaf.dtype
        np.testing.assert_allclose(
            other, leaf, rtol=rtol, atol=rtol * float(np.abs(leaf).max()) + 1e-30, err_msg=jax.tree_util.keystr(path)
        )


def orders(layer, x):
    """Functions of (params, x): the value, its gradient, the gradient of that one's squared norm, and a third: reverse
    over reverse over reverse.
    """
    weight = jnp.float32(
        np.random.default_rng(1).normal(size=jax.eval_shape(layer.init_with_output, jax.random.key(0), x)[0].shape)
    )

    def value(args):
        return layer.apply(*args)

    first = jax.grad(lambda args: jnp.sum(jnp.sin(value(args)) * weight))
    second = jax.grad(lambda args: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(first(args))))
    third = jax.grad(lambda args: sum(jnp.sum(jnp.cos(leaf)) for leaf in jax.tree.leaves(second(args))))
    return value, first, second, third


def same(ours, theirs, x):
    """Parameters from one key, values and gradients; in float32, for what is chosen by that type: sums of up to 1,024
    products, whose roundings hardly ever have one sign (160 of them are five standard deviations).
    """
    params, expected = (layer.init(jax.random.key(3), x) for layer in (ours, theirs))
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    # A bias of zeros would hide one that is not added.
    args = jax.tree.map(lambda p: p + 0.1, params), x
    got, expected = (jax.jit(lambda args, layer=layer: one_of_each(layer, *args))(args) for layer in (ours, theirs))
    close(got, expected)


def exact(pairs, derive, rtol=1e-11):
    """`derive(layer, params, x)` of each (ours, theirs, x) is the same in float64, of one compiled program."""
    with jax.enable_x64(True):
        given = [(ours, theirs, np.float64(x)) for ours, theirs, x in pairs]
        shapes = [jax.eval_shape(theirs.init, jax.random.key(3), x) for _, theirs, x in given]
        params = jax.tree.map(lambda p: RNG.normal(size=p.shape), shapes)
        both = jax.jit(
            lambda params, inputs: [
                [derive(layer, own, x) for layer in layers]
                for (*layers, _), own, x in zip(given, params, inputs, strict=True)
            ]
        )(params, [x for *_, x in given])
    for got, expected in both:
        close(got, expected, rtol)


def one_of_each(layer, params, x):
    """The value, and for a cotangent of its own the gradients: each of the family's three operations once."""
    value, back = jax.vjp(layer.apply, params, x)
    return value, back(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape))


def image(*space, channels=3, rows=2):
    return jnp.float32(RNG.normal(size=(rows, *space, channels)))


def begin(g, gen_tx, disc_tx, key, batch, precision="float32"):
    """`game.init` as one program: operation by operation it would be a hundred."""
    return jax.jit(lambda key, batch: game.init(g, gen_tx, disc_tx, key, batch, precision))(key, batch)
