"""Games that are no plain ones: what their losses are in closed form, and that a member is the single run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from equivalence import EXACT, GAMES, difference, play
from rounding import float32

from gan_jax import game, losses
from gan_jax.games import cycle as cycles
from gan_jax.games.cycle import Pair, cycle
from gan_jax.games.info import info

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)


# ---- InfoGAN


class _Plain(nn.Module):
    """Its image is its code, and noise that a parameter scales."""

    @nn.compact
    def __call__(self, z, code, continuous, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * jnp.concatenate([jax.nn.one_hot(code, 4), continuous, z], 1)


class _Reader(nn.Module):
    """Reads the code where `sharp`, and else guesses; its logit is `bias`."""

    sharp: float

    @nn.compact
    def __call__(self, x, *, train):
        bias = self.param("bias", nn.initializers.zeros, ())
        return jnp.zeros(len(x)) + bias, self.sharp * x[:, :4], x[:, 4:6] * (self.sharp > 0)


@pytest.mark.parametrize(("sharp", "expected"), [(1e4, np.log(4)), (0.0, -1 / 3)])
def test_information_is_all_of_the_code_or_nothing(sharp, expected):
    """ln 4 where Q reads both; where it guesses the middle, minus half the variance of two uniform codes, 2 (1/3) / 2."""
    g = info(_Plain(), _Reader(sharp), losses.non_saturating(), z_dim=3, codes=4, continuous=2)
    batch = {"image": jnp.zeros((20_000, 9))}
    state = begin(g, optax.sgd(0.0), optax.sgd(0.0), KEY, batch)
    _, metrics = game.make_update(g, optax.sgd(0.0), optax.sgd(0.0))(state, batch, KEY)
    for side in ("disc", "gen"):
        assert float(metrics[f"{side}/information"]) == pytest.approx(expected, abs=0.02)
    assert float(metrics["disc/loss"]) == pytest.approx(2 * np.log(2)) and float(metrics["gen/loss"]) == pytest.approx(
        np.log(2)
    )


def test_what_a_batch_says_of_codes_and_noise_is_taken():
    g = info(_Plain(), _Reader(1.0), losses.hinge(), z_dim=3, codes=4, continuous=2)
    drawn = g.inputs(KEY, {"image": jnp.zeros((6, 9))})
    assert [x.shape for x in drawn] == [(6, 3), (6,), (6, 2)] and drawn[1].dtype == jnp.int32
    code, z = jnp.arange(6) % 4, jnp.ones((6, 3))
    given = g.inputs(KEY, {"code": code, "z": z})
    assert given[0] is z and given[1] is code
    np.testing.assert_array_equal(given[2], drawn[2])


# ---- CycleGAN


class _Add(nn.Module):
    """x + a parameter, which starts at `by`."""

    by: float

    @nn.compact
    def __call__(self, x, *, train):
        return x + self.param("by", nn.initializers.constant(self.by), ())


class _Mean(nn.Module):
    """Patches of one pixel: its own value, times a parameter."""

    @nn.compact
    def __call__(self, x, *, train):
        return self.param("scale", nn.initializers.ones, ()) * x[..., 0]


def test_cycle_in_closed_form():
    """a = 0, b = 1; to_b adds .5, to_a subtracts .25: there and back is off by .25 each way; D's logit is the pixel."""
    g = cycle(Pair(_Add(0.5), _Add(-0.25)), Pair(_Mean(), _Mean()), losses.least_squares(), identity=2.0, pool=0)
    batch = {"a": jnp.zeros((4, 2, 2, 1)), "b": jnp.ones((4, 2, 2, 1))}
    tx = optax.sgd(0.1)
    state = begin(g, tx, tx, KEY, batch)
    assert state.aux == {}
    fake, _ = g.fakes(state.gen.params, state, batch, KEY)
    total, (_, _, metrics) = g.disc_loss(state.disc.params, state, batch, KEY, fake)
    # a: real 0, fake .75; b: real 1, fake .5; half of the sum of 1/2 (real - 1)^2 + 1/2 fake^2
    expected = ((1 + 0.75**2) / 2 + (0 + 0.5**2) / 2) / 2
    assert float(total) == float(metrics["disc/loss"]) == pytest.approx(expected)
    total, (_, _, metrics) = g.gen_loss(state.gen.params, state, batch, KEY, fake)
    own = ((0.75 - 1) ** 2 + (0.5 - 1) ** 2) / 2
    assert float(metrics["gen/loss"]) == pytest.approx(own)
    assert float(metrics["gen/cycle"]) == pytest.approx(0.25 + 0.25)
    assert float(metrics["gen/identity"]) == pytest.approx(0.5 + 0.25)
    assert float(total) == pytest.approx(own + 10 * 0.5 + 2 * 0.75)
    assert float(g.sample(state.ema.params, {}, batch["a"]).mean()) == 0.5
    assert float(g.views["to_a"](state, batch["b"]).mean()) == 0.75


def test_the_gradient_of_the_way_there_goes_through_the_fakes():
    """Of G's whole loss, made of two passes, it is that of one function of the parameters."""
    g = cycle(Pair(_Add(0.5), _Add(-0.25)), Pair(_Mean(), _Mean()), losses.least_squares(), pool=0)
    batch = {"a": jnp.zeros((4, 2, 2, 1)), "b": jnp.ones((4, 2, 2, 1))}
    state = begin(g, optax.sgd(1.0), optax.sgd(0.0), KEY, batch)

    def whole(params):
        fake, _ = g.fakes(params, state, batch, KEY)
        return g.gen_loss(params, state, batch, KEY, fake)[0]

    slopes = jax.grad(whole)(state.gen.params)
    before = jax.tree.map(np.asarray, state.gen.params)
    after, _ = game.make_update(g, optax.sgd(1.0), optax.sgd(0.0))(state, batch, KEY)
    jax.tree.map(
        lambda x, y, d: np.testing.assert_allclose(x - y, d, rtol=0, atol=float32(8, size=2)),
        before,
        after.gen.params,
        slopes,
    )


def test_the_pool():
    """Filled by what comes first; then half of what is shown is new, and what is old was once a fake."""
    size, rows = 8, 4
    aux = {"pool": {"a": jnp.zeros((size, 1)), "b": jnp.zeros((size, 1))}, "filled": jnp.int32(0)}
    pooled, new = jax.jit(cycles._pooled), 0
    for step in range(200):
        made = jnp.arange(rows, dtype=jnp.float32)[:, None] + 1 + rows * step
        shown, aux = pooled(aux, {"a": made, "b": -made}, jax.random.fold_in(KEY, step))
        np.testing.assert_array_equal(shown["a"], -shown["b"])  # the two domains are swapped together
        if step < size // rows:
            np.testing.assert_array_equal(shown["a"], made)
        else:
            new += int((shown["a"] == made).sum())
            old = np.asarray(shown["a"][shown["a"] != made])
            assert ((old >= 1) & (old < made.max()) & (old % 1 == 0)).all()
    kept = np.asarray(aux["pool"]["a"]).ravel()
    assert int(aux["filled"]) == size and len(np.unique(kept)) == size
    assert 0.42 < new / (198 * rows) < 0.58


# ---- what every game keeps


@pytest.mark.parametrize("name", ["InfoGAN, batch norm", "CycleGAN, pool"])
def test_a_member_is_the_single_run(name):
    many, _, _ = play(name, 1, rounds=3, seeds=2)
    second, _, _ = play(name, 1, rounds=3, seed=1)
    assert difference(second, jax.tree.map(lambda x: x[1], many)) < EXACT


def test_the_table_of_games_has_the_new_ones():
    assert {"InfoGAN, batch norm", "CycleGAN, pool"} <= set(GAMES)
