"""G's look ahead: closed forms of the bilinear and the Dirac game, and finite differences in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from equivalence import EXACT
from rounding import float32

from gan_jax import game, losses
from gan_jax.game import Game
from gan_jax.games.adversarial import adversarial
from gan_jax.games.unrolled import unrolled
from gan_jax.models import mlp

KEY = jax.random.key(7)
NOTHING = {"image": jnp.zeros((2, 1))}
POINTS = {"image": jax.random.normal(jax.random.key(1), (8, 2))}
ADAM = optax.adam(1e-2, b1=0.5, eps_root=1e-12)


def bilinear(sigma):
    """min over x, max over y of sigma x y."""

    def init(key, batch):
        return {"params": {"x": jnp.float32(0.6)}}, {"params": {"y": jnp.float32(0.8)}}, {}

    def disc_loss(params, state, batch, key):
        return -sigma * state.gen.params["x"] * params["y"], ({}, state.aux, {})

    def gen_loss(params, state, batch, key):
        return sigma * params["x"] * state.disc.params["y"], ({}, state.aux, {})

    return Game(init, disc_loss, gen_loss, lambda params, stats, z, label=None: params["x"])


def plain(loss=None, dtype="float32"):
    gen, disc = mlp.Generator((2,), (5,), jnp.tanh, None, dtype=dtype), mlp.Discriminator((6,), jnp.tanh, dtype=dtype)
    return adversarial(gen, disc, loss or losses.minimax(), z_dim=3)


def play(g, gen_tx, disc_tx, batch, steps, precision="float32", **options):
    state = begin(g, gen_tx, disc_tx, KEY, batch, precision)
    update = game.make_update(g, gen_tx, disc_tx, **options)
    for _ in range(steps):
        state, _ = update(state, batch, KEY)
    return state


def test_no_step_ahead_is_the_plain_game():
    g = plain()
    assert unrolled(g, optax.sgd(0.1), 0) is g


@pytest.mark.parametrize("simultaneous", [True, False])
@pytest.mark.parametrize("ahead", [0, 1, 3, 10])
@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_bilinear(sigma, ahead, simultaneous):
    """With D's steps of size e, y_K = y + K e s x, and G's loss s x y_K has the slope s y + 2 K e s^2 x: half of the
    second term goes through D's steps. A round of simultaneous play is therefore the matrix below.
    """
    rate, h, rounds = 0.1, 0.2, 12
    tx = optax.sgd(rate)
    state = play(unrolled(bilinear(sigma), tx, ahead), optax.sgd(h), tx, NOTHING, rounds, simultaneous=simultaneous)
    disc = np.array([[1, 0], [rate * sigma, 1]])
    gen = np.array([[1 - 2 * h * ahead * rate * sigma**2, -h * sigma], [0, 1]])
    matrix = gen + disc - np.eye(2) if simultaneous else gen @ disc
    expected = np.linalg.matrix_power(matrix, rounds) @ [0.6, 0.8]
    np.testing.assert_allclose(
        [state.gen.params["x"], state.disc.params["y"]],
        expected,
        rtol=0,
        atol=float32(10 * rounds * (ahead + 1), size=2),
    )
    # One step ahead is enough for simultaneous play to converge, which it does not without.
    if simultaneous and ahead < 10:
        assert (np.abs(np.linalg.eigvals(matrix)).max() < 1) == (ahead > 0)


@pytest.mark.parametrize(
    ("tx", "ahead", "warm"),
    [(optax.sgd(0.3), 1, 0), (optax.sgd(0.1, momentum=0.9), 4, 3), (ADAM, 1, 3), (ADAM, 4, 0)],
    ids=["sgd", "momentum", "adam", "adam, fresh"],
)
def test_the_gradient_goes_through_the_steps(tx, ahead, warm):
    """Against central differences of the loss after K steps that optax makes of its own, in float64, from D's optimiser
    after `warm` rounds.
    """
    with jax.enable_x64(True):
        base = plain(dtype="float64")
        g = unrolled(base, tx, ahead)
        batch = {"image": jnp.float64(POINTS["image"])}
        state = play(base, optax.sgd(0.1), tx, batch, warm, "float64")

        def loss(params):
            fake, _ = base.fakes(params, state, batch, KEY)
            return g.gen_loss(params, state, batch, KEY, fake)[0]

        def by_hand(params):
            fake, _ = base.fakes(params, state, batch, KEY)
            disc, opt = state.disc.params, state.disc.opt
            for _ in range(ahead):
                now = state.replace(disc=state.disc.replace(params=disc))
                slope = jax.grad(lambda disc, now=now: base.disc_loss(disc, now, batch, KEY, fake)[0])(disc)
                step, opt = tx.update(slope, opt, disc)
                disc = optax.apply_updates(disc, step)
            now = state.replace(disc=state.disc.replace(params=disc))
            return base.gen_loss(params, now, batch, KEY, fake)[0]

        loss, by_hand = jax.jit(loss), jax.jit(by_hand)
        flat, tree = jax.flatten_util.ravel_pytree(state.gen.params)
        np.testing.assert_allclose(loss(state.gen.params), by_hand(state.gen.params), rtol=EXACT)
        along = np.random.default_rng(0).normal(size=flat.shape)
        slope = jnp.vdot(jax.flatten_util.ravel_pytree(jax.jit(jax.grad(loss))(state.gen.params))[0], along)
        size = 1e-4  # the error is its square times a third derivative, some 1e-8, and rounding, 1e-16 over it
        ends = [float(by_hand(tree(flat + sign * size * along))) for sign in (1, -1)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * size), rtol=1e-5)
        still = jax.grad(
            lambda params: base.gen_loss(params, state, batch, KEY, base.fakes(params, state, batch, KEY)[0])[0]
        )
        other = jnp.vdot(jax.flatten_util.ravel_pytree(still(state.gen.params))[0], along)
        assert abs(float(slope - other)) > 2e-3 * abs(float(other))  # the look ahead is no rounding


@pytest.mark.parametrize("ahead", [1, 5])
def test_the_discriminators_own_step_is_the_plain_one(ahead):
    """The same operations, though XLA may order them otherwise beside others; parameters are about 1, and Adam moves them by
    1e-2 times a quotient that differs by the roundings of the gradient.
    """
    still = optax.set_to_zero()
    one, other = (play(g, still, ADAM, POINTS, 3).disc for g in (plain(), unrolled(plain(), ADAM, ahead)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=float32(16, size=2)), one, other)


def test_a_round_compiles_once_and_is_finite():
    g = unrolled(plain(losses.non_saturating()), ADAM, 3)
    state = begin(g, ADAM, ADAM, KEY, POINTS)
    update = game.make_update(g, ADAM, ADAM, simultaneous=True)
    for _ in range(3):
        state, metrics = update(state, POINTS, KEY)
    assert update._cache_size() == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: unrolled(plain(), ADAM, -1), "at least 0; got -1"),
        (lambda: play(unrolled(plain(), optax.sgd(0.1), 2), ADAM, ADAM, POINTS, 1), "the state of disc_tx is another"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
