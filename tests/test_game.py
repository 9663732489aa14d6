"""The contract: what one round does to a state, against closed forms of small games and against itself on more devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from equivalence import EXACT, difference
from rounding import float32

from gan_jax import game, losses, penalties
from gan_jax.game import Game
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan, mlp
from gan_jax.system import mesh
from gan_jax.types import UserError

KEY = jax.random.key(7)
IMAGES = {"image": jax.random.uniform(jax.random.key(1), (16, 8, 8, 1), minval=-1)}
LABELLED = IMAGES | {"label": jnp.arange(16) % 3}


def bilinear(sigma=1.0):
    """min over x, max over y of sigma x y."""

    def init(key, batch):
        return {"params": {"x": jnp.float32(0.6)}}, {"params": {"y": jnp.float32(0.8)}}, {}

    def disc_loss(params, state, batch, key):
        return -sigma * state.gen.params["x"] * params["y"], ({}, state.aux, {})

    def gen_loss(params, state, batch, key):
        return sigma * params["x"] * state.disc.params["y"], ({}, state.aux, {})

    return Game(init, disc_loss, gen_loss, lambda params, stats, z, label=None: params["x"])


def play(g, tx, batch, steps=1, gen_tx=None, precision="float32", **options):
    state = begin(g, gen_tx or tx, tx, KEY, batch, precision)
    update = game.make_update(g, gen_tx or tx, tx, **options)
    for _ in range(steps):
        state, metrics = update(state, batch, KEY)
    return state, metrics


PLAIN = adversarial(
    mlp.Generator((8, 8, 1), (16,)), mlp.Discriminator((16,), dropout=0.2), losses.non_saturating(), z_dim=4
)
CONVOLUTIONS = adversarial(dcgan.Generator((8, 8, 1), 4), dcgan.Discriminator(4), losses.hinge(), z_dim=4)
PENALISED = adversarial(
    dcgan.Generator((8, 8, 1), 4), dcgan.Discriminator(4, batch_norm=False), losses.wasserstein(), z_dim=4,
    penalties=[(1.0, p) for p in (penalties.r1, penalties.r2, penalties.wgan_gp, penalties.wgan_lp, penalties.dragan, penalties.zero_centred)],
)  # fmt: skip
CONDITIONAL = adversarial(
    dcgan.Generator((8, 8, 1), 4, classes=3),
    dcgan.Discriminator(4, classes=3),
    losses.relativistic_paired(),
    z_dim=4,
    classes=3,
)
GAMES = {
    "plain": (PLAIN, IMAGES),
    "convolutions": (CONVOLUTIONS, IMAGES),
    "penalised": (PENALISED, IMAGES),
    "conditional": (CONDITIONAL, LABELLED),
}
games = pytest.mark.parametrize("name", GAMES)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("simultaneous", [True, False])
def test_bilinear_game_moves_as_the_closed_form_says(sigma, simultaneous):
    """Simultaneous descent multiplies x^2 + y^2 by 1 + s^2 a step; alternating keeps x^2 + y^2 + s x y (its radius is
    1).
    """
    batch = {"image": jnp.zeros((2, 1))}
    x, y = 0.6, 0.8
    for steps in (1, 5, 20):
        state, _ = play(bilinear(sigma), optax.sgd(1.0), batch, steps, simultaneous=simultaneous)
        now = float(state.gen.params["x"]), float(state.disc.params["y"])
        if simultaneous:
            np.testing.assert_allclose(now[0] ** 2 + now[1] ** 2, (1 + sigma**2) ** steps, rtol=float32(10 * steps))
        else:  # D first, then G against the new D: y += s x, x -= s y
            np.testing.assert_allclose(
                now[0] ** 2 + now[1] ** 2 + sigma * now[0] * now[1],
                x**2 + y**2 + sigma * x * y,
                rtol=0,
                atol=float32(10 * steps, size=4),
            )


def test_bilinear_with_more_d_steps():
    """n_disc steps of D against one x: y += n s x."""
    state, _ = play(bilinear(0.5), optax.sgd(1.0), {"image": jnp.zeros((6, 1))}, n_disc=3)
    y = 0.8 + 3 * 0.5 * 0.6
    np.testing.assert_allclose(
        [state.disc.params["y"], state.gen.params["x"]], [y, 0.6 - 0.5 * y], rtol=0, atol=float32(12, size=2)
    )
    state, _ = play(bilinear(0.5), optax.sgd(1.0), {"image": jnp.zeros((6, 1))}, n_disc=3, simultaneous=True)
    np.testing.assert_allclose(
        state.gen.params["x"], 0.6 - 0.5 * (0.8 + 2 * 0.5 * 0.6), rtol=0, atol=float32(12)
    )  # the D before its last step


@pytest.mark.parametrize(
    "options", [{}, {"simultaneous": True}, {"n_disc": 2}, {"n_disc": 2, "simultaneous": True}], ids=str
)
def test_fakes_made_once_are_those_made_by_each(options):
    """One pass of G for both players against each loss making its own of the same latents, which are in the batch."""
    gen, disc = dcgan.Generator((8, 8, 1), 4, dtype="float64"), dcgan.Discriminator(4, dtype="float64")
    batch = {"image": np.asarray(IMAGES["image"], np.float64), "z": np.random.default_rng(0).normal(size=(16, 4))}

    def init(key, batch):
        return gen.init(key, batch["z"], train=False), disc.init(key, batch["image"], train=False), {}

    def fakes(params, state, batch, key):
        return gen.apply({"params": params, **state.gen.stats}, batch["z"], train=True, mutable=["batch_stats"])

    def judge(params, state, x):
        return disc.apply({"params": params, **state.disc.stats}, x, train=True, mutable=["batch_stats"])

    def disc_loss(params, state, batch, key, fake=None):
        fake = fakes(state.gen.params, state, batch, key)[0] if fake is None else fake
        real, _ = judge(params, state, batch["image"])
        fake, stats = judge(params, state, fake)
        return jnp.mean(fake - real) + jnp.mean(real**2), (stats, state.aux, {})

    def gen_loss(params, state, batch, key, fake=None):
        stats = state.gen.stats
        if fake is None:
            fake, stats = fakes(params, state, batch, key)
        weights = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))  # of G's own parameters, beside its fakes
        return -jnp.mean(jnp.sin(judge(state.disc.params, state, fake)[0])) + 1e-2 * weights, (stats, state.aux, {})

    each = Game(init, disc_loss, gen_loss, lambda *args: None)
    with jax.enable_x64(True):
        once, twice = (
            play(g, optax.sgd(0.1), batch, 3, precision="float64", **options)[0]
            for g in (each._replace(fakes=fakes), each)
        )
    assert difference(once, twice) < EXACT


def test_the_generator_runs_once_a_round():
    """It ends in the only tanh."""
    gen, disc = mlp.Generator((8, 8, 1), (16,)), mlp.Discriminator((16,))
    g = adversarial(gen, disc, losses.non_saturating(), z_dim=5)
    state = begin(g, optax.sgd(1.0), optax.sgd(1.0), KEY, IMAGES)
    text = str(jax.make_jaxpr(game.make_update(g, optax.sgd(1.0), optax.sgd(1.0)))(state, IMAGES, KEY))
    assert text.count("tanh") == 1


def test_rows_are_interleaved_between_d_steps():
    def disc_loss(params, state, batch, key):
        return params["y"] * 0.0, (
            {},
            {"seen": state.aux["seen"] * 100 + jnp.sum(batch["image"])},
            {"disc/rows": jnp.sum(batch["image"])},
        )

    def gen_loss(params, state, batch, key):
        return params["x"] * 0.0, ({}, state.aux, {"gen/rows": jnp.sum(batch["image"])})

    g = bilinear()._replace(
        init=lambda key, batch: (*bilinear().init(key, batch)[:2], {"seen": jnp.float32(0)}),
        disc_loss=disc_loss,
        gen_loss=gen_loss,
    )
    state, metrics = play(g, optax.sgd(1.0), {"image": jnp.arange(6.0)[:, None]}, n_disc=3)
    # rows 0 3, then 1 4, then 2 5; G sees the last ones
    assert (float(state.aux["seen"]), float(metrics["disc/rows"]), float(metrics["gen/rows"])) == (30507.0, 7.0, 7.0)


@pytest.mark.parametrize("rows, n_disc", [(7, 2), (4, 3)])
def test_rows_that_do_not_divide(rows, n_disc):
    with pytest.raises(ValueError, match=f"multiple of {n_disc}; got .{rows}. rows"):
        play(bilinear(), optax.sgd(1.0), {"image": jnp.zeros((rows, 1))}, n_disc=n_disc)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        game.make_update(bilinear(), optax.sgd(1.0), optax.sgd(1.0), n_disc=0)


@games
def test_each_step_moves_its_own_side_only(name):
    """And a round keeps the state's types, counts steps and compiles once."""
    g, batch = GAMES[name]
    # In the first round D has a rate and G has none, in the second it is the other way round.
    disc_tx, gen_tx = (optax.sgd(lambda count, own=own: jnp.where(count == own, 0.1, 0.0)) for own in (0, 1))
    update = game.make_update(g, gen_tx, disc_tx, n_disc=2 if name == "convolutions" else 1, ema_decay=0.9)
    state = begin(g, gen_tx, disc_tx, KEY, batch)
    kind = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for side, other in (("disc", "gen"), ("gen", "disc")):
        before = jax.tree.map(np.array, state)
        state, metrics = update(state, batch, KEY)
        jax.tree.map(np.testing.assert_array_equal, getattr(before, other).params, getattr(state, other).params)
        moved = jax.tree.map(
            lambda a, b: bool((a != np.asarray(b)).any()), getattr(before, side).params, getattr(state, side).params
        )
        stays = [path for path, any_ in jax.tree_util.tree_leaves_with_path(moved) if not any_]
        # D's last bias cancels between real and fake in every loss of differences, and in a hinge that has no logit
        # beyond its margins.
        assert all(side == "disc" and "bias" in str(path) for path in stays) and len(stays) <= 1, stays
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == kind
    assert int(state.step) == 2 and update._cache_size() == 1
    assert {"disc/loss", "gen/loss", "disc/real", "disc/fake"} <= set(metrics)
    assert all(np.isfinite(value) and value.shape == () for value in metrics.values())


def test_steps_differ_by_the_step_alone():
    tx = optax.sgd(0.0)
    update = game.make_update(PLAIN, tx, tx)

    def losses_from(step):
        state = begin(PLAIN, tx, tx, KEY, IMAGES)
        _, metrics = update(state.replace(step=jnp.int32(step)), IMAGES, KEY)
        return float(metrics["disc/loss"]), float(metrics["gen/loss"])

    assert losses_from(3) == losses_from(3)
    assert losses_from(3) != losses_from(4)


@pytest.mark.parametrize("name", ["convolutions"])
@pytest.mark.parametrize("decay", [0.0, 0.9, game.half_life(16 * 3, 16, ramp_up=None)])
def test_the_average_follows_the_new_parameters_and_statistics(name, decay):
    g, batch = GAMES[name]
    tx = optax.sgd(0.1)
    first = jax.tree.map(np.asarray, begin(g, tx, tx, KEY, batch))
    state, _ = play(g, tx, batch, ema_decay=decay)
    d = 0.5 ** (1 / 3) if callable(decay) else decay
    for part in ("params", "stats"):
        expected = jax.tree.map(
            lambda old, new: d * old + (1 - d) * np.asarray(new), getattr(first.ema, part), getattr(state.gen, part)
        )
        jax.tree.map(
            lambda e, a: np.testing.assert_allclose(a, e, rtol=0, atol=float32(8)),  # entries up to 1
            expected,
            getattr(state.ema, part),
        )
    assert jax.tree.leaves(state.ema.stats)


@pytest.mark.parametrize(
    "images, batch, ramp_up, step, expected",
    [
        (1000, 100, None, 0, 0.5**0.1),
        (1000, 100, None, 10**6, 0.5**0.1),
        (1000, 100, 0.05, 0, 0.0),  # nothing seen: no memory
        (1000, 100, 0.05, 1, 0.5**20),  # a half-life of 5 images
        (1000, 100, 0.05, 100, 0.5**0.2),  # of 500
        (1000, 100, 0.05, 10**5, 0.5**0.1),
    ],
)
def test_half_life(images, batch, ramp_up, step, expected):
    np.testing.assert_allclose(
        game.half_life(images, batch, ramp_up)(jnp.int32(step)), expected, rtol=float32(16 * 20)
    )  # 0.5^20 at most


def test_half_life_halves():
    decay = game.half_life(640, 64, ramp_up=None)
    np.testing.assert_allclose(np.prod([float(decay(jnp.int32(i))) for i in range(10)]), 0.5, rtol=float32(10 * 8))
    with pytest.raises(ValueError, match="half-life of -1"):
        game.half_life(-1, 64)


@pytest.mark.parametrize(
    "devices, rows, text",
    [
        (9, 9, "--devices 9, but there are 8"),
        (8, 12, "--batch-size 12 .* 8 devices; try 16, or --devices 1"),
        (3, 64, "try 66"),
    ],
)
def test_a_mesh_that_cannot_be(devices, rows, text):
    with pytest.raises(UserError, match=text):
        mesh.make(devices, rows)


def test_mesh_sizes():
    assert mesh.make(0, 64).size == 8
    assert mesh.make(2, 64).size == 2
    x = jnp.arange(4.0)
    assert mesh.split_rows({"x": x})["x"] is x  # no mesh, nothing done


def test_conditional_game_needs_labels_and_uses_them():
    with pytest.raises(ValueError, match="classes=3, but the batch has no labels, only .'image'."):
        play(CONDITIONAL, optax.sgd(0.1), IMAGES)
    state, _ = play(CONDITIONAL, optax.sgd(0.1), LABELLED)
    z = jnp.zeros((3, 4))
    rows = CONDITIONAL.sample(state.gen.params, state.gen.stats, z, jnp.arange(3))
    assert np.abs(np.diff(rows, axis=0)).max() > 0  # one z, three classes


def test_samples_are_made_in_evaluation_mode():
    state, _ = play(CONVOLUTIONS, optax.sgd(0.1), IMAGES)
    z = jax.random.normal(KEY, (4, 4))
    alone = np.concatenate([CONVOLUTIONS.sample(state.gen.params, state.gen.stats, z[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(
        alone, CONVOLUTIONS.sample(state.gen.params, state.gen.stats, z), atol=float32(100)
    )  # sums of up to 64


def test_a_penaltys_weight_may_be_a_function_of_the_step():
    """A schedule that stands at 0.3 at step 7 is 0.3 there, and its value is no part of the loss that is told."""

    def disc_loss(weight):
        g = adversarial(
            mlp.Generator((8, 8, 1), (16,)), mlp.Discriminator((16,)), losses.hinge(), z_dim=4, penalties=[(weight, penalties.r1)]
        )  # fmt: skip
        state = begin(g, optax.sgd(0.1), optax.sgd(0.1), KEY, IMAGES).replace(step=jnp.int32(7))
        fake, _ = g.fakes(state.gen.params, state, IMAGES, KEY)
        total, (_, _, metrics) = g.disc_loss(state.disc.params, state, IMAGES, KEY, fake)
        return float(total), float(metrics["disc/loss"])

    falling = optax.linear_schedule(1.0, 0.0, 10)
    assert (
        disc_loss(falling) == pytest.approx(disc_loss(0.3), rel=float32(16))
        and disc_loss(falling)[0] > disc_loss(0.0)[0]
    )


class _Shift(nn.Module):
    @nn.compact
    def __call__(self, z, label=None, *, train):
        return jnp.zeros_like(z) + self.param("theta", lambda key: jnp.float32(0.02))


class _Slope(nn.Module):
    @nn.compact
    def __call__(self, x, label=None, *, train):
        return self.param("psi", lambda key: jnp.float32(0.01)) * x[:, 0]


class _Normed(nn.Module):
    @nn.compact
    def __call__(self, x, label=None, *, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return self.param("psi", lambda key: jnp.float32(0.01)) * x[:, 0]


@pytest.mark.parametrize("n_disc", [1, 2])
def test_the_discriminators_statistics_are_of_real_and_of_fake_images(n_disc):
    """Of each of its steps first the real batch's, then the fakes'; G's step leaves them as they are."""
    g = adversarial(_Shift(), _Normed(), losses.hinge(), z_dim=1)
    real = jnp.arange(4.0 * n_disc)[:, None]
    state, _ = play(g, optax.sgd(0.0), {"image": real}, n_disc=n_disc)
    mean, var = 0.0, 1.0
    for i in range(n_disc):
        rows = np.asarray(real)[i::n_disc]
        for one_mean, one_var in ((rows.mean(), rows.var()), (0.02, 0.0)):
            mean, var = 0.9 * mean + 0.1 * one_mean, 0.9 * var + 0.1 * one_var
    found = state.disc.stats["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], [mean], rtol=0, atol=float32(20, size=8))
    np.testing.assert_allclose(found["var"], [var], rtol=0, atol=float32(40, size=50))


@pytest.mark.parametrize("gamma", [0.0, 0.4, 1.0, 2.0])
@pytest.mark.parametrize("simultaneous", [True, False])
def test_dirac_gan(gamma, simultaneous):
    """Data at 0, G at theta, D(x) = psi x. Near rest a round multiplies (theta, psi) by a matrix of h, f'(0) = 1/2 and
    gamma: Mescheder et al. 2018, arXiv:1801.04406, sections 2 and 4. What the matrix leaves out is theta psi / 4 <= 2e-4
    beside 1/2 in each of a hundred steps of h theta <= 2e-3.
    """
    h, steps = 0.1, 100
    dirac = adversarial(_Shift(), _Slope(), losses.non_saturating(), z_dim=1, penalties=[(gamma / 2, penalties.r1)])
    state, _ = play(dirac, optax.sgd(h), {"image": jnp.zeros((2, 1))}, steps, simultaneous=simultaneous)
    disc = np.array([[1, 0], [-h / 2, 1 - h * gamma]])
    gen = np.array([[1, h / 2], [0, 1]])
    matrix = disc + gen - np.eye(2) if simultaneous else gen @ disc
    expected = np.linalg.matrix_power(matrix, steps) @ [0.02, 0.01]
    np.testing.assert_allclose(
        [state.gen.params["theta"], state.disc.params["psi"]], expected, rtol=0, atol=100 * 2e-4 * 2e-3
    )
    assert (np.abs(np.linalg.eigvals(matrix)).max() < 1 - 1e-9) == (gamma > 0)
