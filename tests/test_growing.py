"""Progressive growing: published numbers of parameters, levels that follow from one another, and a game that plays, and
pays for, the level of its step alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import RNG, begin

from gan_jax import losses, optim, penalties
from gan_jax.game import make_round
from gan_jax.games import controls, growing
from gan_jax.games.adversarial import adversarial
from gan_jax.models import progressive
from gan_jax.models.layers import MinibatchStd, double, halve
from gan_jax.types import UserError

ROWS = 4


def numbers(module, shape):
    made = jax.eval_shape(
        lambda x: module.init(jax.random.key(0), x, train=False), jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(made["params"]))


# last level, base, most, G, D: the paper prints 23.1 million each at 1,024 pixels; 4,096 and 128 are for CIFAR-10.
PUBLISHED = [
    (8, 8_192, 512, 23_079_115, 23_087_249),
    (3, 8_192, 512, 20_719_628, 20_726_785),
    (3, 4_096, 128, 1_296_908, 1_298_689),
    (3, 1_024, 64, 324_876, 325_761),
    (3, 512, 64, 278_636, 279_521),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=str)
def test_parameter_count(row):
    levels, base, most, gen, disc = row
    side = 4 << levels
    assert numbers(progressive.Generator(levels, 3, base, most), (ROWS, min(base, most))) == gen
    assert numbers(progressive.Discriminator(levels, base, most), (ROWS, side, side, 3)) == disc


def networks(levels=2):
    gen = progressive.Generator(levels, 2, 32, 8, dtype="float64")
    disc = progressive.Discriminator(levels, 32, 8, 2, dtype="float64")
    z = RNG.normal(size=(ROWS, 8))
    gen_vars = gen.init(jax.random.key(0), z, train=False)
    disc_vars = disc.init(jax.random.key(1), jnp.zeros((ROWS, 4 << levels, 4 << levels, 2)), train=False)
    gen_vars, disc_vars = jax.tree.map(lambda p: p + 0.05, (gen_vars, disc_vars))  # biases that are not 0
    return gen, gen_vars, disc, disc_vars, z


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("level", [1, 2])
def test_a_level_begins_as_the_one_before(level):
    """At fade 0 nothing of what is new has an effect or a gradient; at 1 nothing of what is old alone has."""
    gen, gen_vars, disc, disc_vars, z = networks()
    x = RNG.normal(size=(ROWS, 4 << level, 4 << level, 2))

    def made(variables, at, fade):
        return gen.apply(variables, z, train=True, level=at, fade=fade)

    def judged(variables, at, fade, x=x):
        return disc.apply(variables, x, train=True, level=at, fade=fade)

    before = made(gen_vars, level - 1, 1.0)
    np.testing.assert_allclose(made(gen_vars, level, 0.0), double(before), rtol=1e-12)
    np.testing.assert_allclose(judged(disc_vars, level, 0.0), judged(disc_vars, level - 1, 1.0, halve(x)), rtol=1e-10)
    half, whole = (made(gen_vars, level, fade) for fade in (0.5, 1.0))
    np.testing.assert_allclose(half, (double(before) + whole) / 2, rtol=1e-10, atol=1e-12)
    new = {"to_image", "up", "conv", "from_image", "down"}
    for fn, variables in ((made, gen_vars), (judged, disc_vars)):
        for fade, expected in ((0.0, False), (0.5, True)):
            slopes = jax.grad(lambda v, fn=fn, fade=fade: jnp.sum(jnp.sin(fn(v, level, fade))))(variables)["params"]
            moved = {
                name for name, leaves in slopes.items() if any(np.abs(x).max() > 0 for x in jax.tree.leaves(leaves))
            }
            assert any(f"{kind}_{level}" in moved for kind in new) == expected
            assert not any(f"{kind}_{level + 1}" in moved for kind in new)
        slopes = jax.grad(lambda v, fn=fn: jnp.sum(jnp.sin(fn(v, level, 1.0))))(variables)["params"]
        old = {f"to_image_{level - 1}", f"from_image_{level - 1}"} & slopes.keys()
        assert not any(np.abs(x).max() > 0 for name in old for x in jax.tree.leaves(slopes[name]))


def test_the_schedule_of_the_authors():
    """Their level of detail, counted from the full size: 3 until 600 thousand images, 2.5 at 900, 2 from 1,200 to 1,800, ..."""
    plan = growing.schedule(3, 600_000, 600_000, 1_000)
    for thousands, detail in (
        (0, 3),
        (600, 3),
        (900, 2.5),
        (1_200, 2),
        (1_800, 2),
        (2_100, 1.5),
        (3_300, 0.5),
        (3_600, 0),
        (9_000, 0),
    ):
        level, fade = plan(jnp.int32(thousands))
        np.testing.assert_allclose(3 - (level + fade - 1), detail, rtol=1e-5, atol=1e-5)
    assert growing.restarts(3, 600_000, 600_000, 1_000) == (601, 1201, 1801, 2401, 3001, 3601)
    level, fade = plan(jnp.int32(601))
    assert level == 1 and 0 < fade < 0.01


@pytest.mark.parametrize(("shape", "levels"), [((28, 28, 1), 3), ((32, 32, 3), 3), ((64, 64, 3), 4), ((8, 8, 1), 1)])
def test_levels(shape, levels):
    assert growing.levels_for(shape) == levels


@pytest.mark.parametrize("shape", [(28, 32, 1), (27, 27, 1), (4, 4, 1)], ids=str)
def test_images_that_do_not_fit(shape):
    with pytest.raises(UserError, match=f"square images of even sides from 8 on, and these are {shape[0]}x{shape[1]}"):
        growing.levels_for(shape)


# ---- the game

PLAN = (2, 8, 8, ROWS)  # levels, images at each, images of a fade, a batch


def games():
    gen, gen_vars, disc, disc_vars, _ = networks()
    smooth, small = [(10.0, penalties.wgan_gp)], [controls.weighted(0.1, controls.drift())]

    def at(level):
        def game(fade):
            pair = growing.At(gen, level, fade), growing.At(disc, level, fade)
            return adversarial(*pair, losses.wasserstein(), z_dim=8, penalties=smooth, controls=small)

        return game

    whole = growing.growing([at(level) for level in range(3)], growing.schedule(*PLAN), 14)
    return at, whole, gen_vars["params"], disc_vars["params"]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("step", [0, 7])
def test_a_round_is_that_of_its_level(step):
    """Values, gradients of both sides, and what flows through the fakes, of the level's own game on halved images."""
    at, whole, gen_params, disc_params = games()
    batch = {"image": RNG.uniform(-1, 1, (ROWS, 14, 14, 2))}
    tx = optax.sgd(0.0)
    state = begin(whole, tx, tx, jax.random.key(0), batch, "float64")
    state = state.replace(
        step=jnp.int32(step),
        gen=state.gen.replace(params=gen_params),
        disc=state.disc.replace(params=disc_params),
    )
    level, fade = (x.item() for x in growing.schedule(*PLAN)(jnp.int32(step)))
    key, game = jax.random.key(5), at(level)(fade)
    bare = state.replace(gen=state.gen.replace(stats={}))
    image = np.pad(batch["image"], [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-1)

    def pooled(image, times):
        for _ in range(times):
            image = halve(image)
        return image

    real = pooled(image, 2 - level)
    if level:
        real = (1 - fade) * double(halve(real)) + fade * real
    own_batch = {"image": real}

    def of_disc(which, state, batch):
        def loss(params):
            fake = jax.lax.stop_gradient(which.fakes(gen_params, state, batch, key)[0])
            return which.disc_loss(params, state, batch, key, fake)[0]

        return jax.jit(jax.value_and_grad(loss))(disc_params)

    def of_gen(which, state, batch):
        def loss(params):
            return which.gen_loss(params, state, batch, key, which.fakes(params, state, batch, key)[0])[0]

        return jax.jit(jax.value_and_grad(loss))(gen_params)

    for of in (of_disc, of_gen):
        (total, slopes), (expected, other) = of(whole, state, batch), of(game, bare, own_batch)
        np.testing.assert_allclose(total, expected, rtol=1e-10)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), slopes, other)
    fake, stats = whole.fakes(gen_params, state, batch, key)
    assert fake.shape == (ROWS, 16, 16, 2)
    np.testing.assert_allclose(pooled(fake, 2 - level), game.fakes(gen_params, bare, own_batch, key)[0], rtol=1e-10)
    assert stats["buffers"]["level"] == level and np.allclose(stats["buffers"]["fade"], fade)
    z = RNG.normal(size=(3, 8))
    shown = whole.sample(gen_params, stats, z)
    assert shown.shape == (3, 14, 14, 2)
    small = game.sample(gen_params, {}, z)
    corner = 1 // (4 >> level)  # of the border cut off, in pixels of the level
    np.testing.assert_allclose(shown[0, 0, 0], small[0, corner, corner], rtol=1e-5)
    assert not whole.views  # D compares rows
    after = jax.eval_shape(lambda state: make_round(whole, tx, tx)(state, batch, key)[0], state)
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


def arithmetic(jaxpr):
    """The convolutions and matrix products of a program that are done in every round: outside of branches."""
    found = []
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in ("conv_general_dilated", "dot_general"):
            found.append(name)
        if name != "cond":
            for value in equation.params.values():
                for one in value if isinstance(value, (tuple, list)) else (value,):
                    inner = getattr(one, "jaxpr", one)
                    if hasattr(inner, "eqns"):
                        found += arithmetic(inner)
    return found


@pytest.mark.usefixtures("x64")
def test_what_is_not_there_yet_is_not_paid_for():
    """All arithmetic of networks stands in branches, and a branch writes nothing but results: no activations of others."""
    _, whole, _, _ = games()
    batch = {"image": jnp.zeros((ROWS, 14, 14, 2))}
    tx = optax.adam(1e-3)
    state = begin(whole, tx, tx, jax.random.key(0), batch)
    play = make_round(whole, tx, tx)
    program = jax.make_jaxpr(lambda state: play(state, batch, jax.random.key(1))[:2])(state)
    assert arithmetic(program.jaxpr) == []
    text = str(program)
    assert text.count("cond[") >= 4  # fakes, both losses with their gradients, and back through the fakes


def test_an_optimiser_that_begins_anew():
    """As Adam's first step, of one learning rate, after many rounds without a gradient, where it would be many."""
    params, still, push = jnp.zeros(1), jnp.zeros(1), jnp.ones(1)
    for tx, expected in (
        (optax.adam(1.0, b1=0.0, b2=0.99), None),
        (optim.restarted(optax.adam(1.0, b1=0.0, b2=0.99), {50}), 1.0),
    ):
        state = tx.init(params)
        for _ in range(50):
            _, state = tx.update(still, state, params)
        moved, _ = tx.update(push, state, params)
        if expected:
            np.testing.assert_allclose(-moved, expected, rtol=1e-5)
        else:
            assert -moved > 5
    with pytest.raises(ValueError, match="restarted needs the parameters"):
        tx.update(push, state)


def test_standard_deviations_that_others_print():
    values = jnp.float32([0, 0, 0, 0, 1, 2, 3, 4, 100, 200, 300, 400]).reshape(12, 1, 1, 1)
    found = MinibatchStd(4).apply({}, values)[:, 0, 0, 1]
    np.testing.assert_allclose(found[:6], [86.178, 129.191, 163.557, 86.178, 129.191, 163.557], rtol=1e-5)
    np.testing.assert_allclose(MinibatchStd(4).apply({}, jnp.ones((4, 1, 1, 1)))[0, 0, 0, 1], 1e-4, rtol=1e-3)
