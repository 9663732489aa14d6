"""Packs: what is joined with what, against the plain game on data that is joined beforehand."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from equivalence import EXACT, difference
from rounding import float32

from experiments import pacgan_mixtures
from gan_jax import data, game, losses, penalties
from gan_jax.game import Game
from gan_jax.games.adversarial import adversarial
from gan_jax.games.packed import pack, packed
from gan_jax.models import dcgan, maxout_mlp, mlp
from gan_jax.system import mesh
from gan_jax.system.numerics import arithmetic
from gan_jax.training.program import Program

KEY = jax.random.key(3)
POINTS = {"image": jax.random.normal(jax.random.key(1), (12, 2))}
IMAGES = {"image": jax.random.uniform(jax.random.key(1), (12, 8, 8, 1), minval=-1)}
LOSSES = [
    losses.minimax(), losses.non_saturating(), losses.least_squares(), losses.hinge(), losses.wasserstein(),
    losses.relativistic_paired(), losses.relativistic_average(), losses.boundary_seeking(),
]  # fmt: skip
PENALTIES = [penalties.r1, penalties.r2, penalties.wgan_gp, penalties.wgan_lp, penalties.dragan, penalties.zero_centred]


def plain(shape=(2,), loss=None, dtype="float32", **options):
    gen, disc = mlp.Generator(shape, (8,), last=None, dtype=dtype), mlp.Discriminator((8,), dtype=dtype)
    return adversarial(gen, disc, loss or losses.non_saturating(), z_dim=3, **options)


def play(g, batch, steps=2, precision="float32", **options):
    tx = optax.sgd(0.1)
    state = begin(g, tx, tx, KEY, batch, precision)
    update = game.make_update(g, tx, tx, **options)
    for _ in range(steps):
        state, metrics = update(state, batch, KEY)
    return state, metrics


@pytest.mark.parametrize("shape", [(2,), (3, 2, 4)], ids=str)
@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_a_pack_is_of_neighbouring_rows_along_the_last_axis(shape, m):
    x = np.random.default_rng(0).normal(size=(12, *shape)).astype(np.float32)
    joined = pack(x, m)
    assert joined.shape == (12 // m, *shape[:-1], m * shape[-1])
    for i in range(12 // m):
        np.testing.assert_array_equal(joined[i], np.concatenate(list(x[m * i : m * (i + 1)]), -1))


def test_packs_of_one_are_the_plain_game():
    g = plain()
    assert packed(g, 1) is g


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("loss", LOSSES, ids=range(len(LOSSES)))
def test_losses_are_the_plain_ones_of_packs(m, loss, x64):
    """D's step and G's against the same loss of D's logits of rows joined here, one by one."""
    g = packed(plain(loss=loss, dtype="float64"), m)
    state = begin(g, optax.sgd(0.1), optax.sgd(0.1), KEY, POINTS, "float64")
    fake, _ = g.fakes(state.gen.params, state, POINTS, KEY)
    assert fake.shape == (12, 2)

    def logits(rows):
        x = np.stack([np.concatenate(rows[m * i : m * (i + 1)]) for i in range(12 // m)])
        hidden = np.maximum(x @ np.float64(state.disc.params["Dense_0"]["kernel"]), 0)  # the biases are 0 as yet
        return (hidden @ np.float64(state.disc.params["Dense_1"]["kernel"]))[:, 0]

    real_logits, fake_logits = logits(np.float64(POINTS["image"])), logits(np.float64(fake))
    assert real_logits.shape == (12 // m,)
    for side, call in (("disc", g.disc_loss), ("gen", g.gen_loss)):
        total, _ = call(getattr(state, side).params, state, POINTS, KEY, fake)
        np.testing.assert_allclose(total, getattr(loss, side)(real=real_logits, fake=fake_logits), rtol=EXACT)


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty.__name__)
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_penalties_are_of_whole_packs(penalty, weight):
    """A linear D has one gradient everywhere, w of 4 numbers for packs of two points: every penalty is a function of |w|."""

    class Slope(nn.Module):
        @nn.compact
        def __call__(self, x, label=None, *, train):
            return x @ self.param("w", lambda key: jnp.arange(1.0, x.shape[-1] + 1) / 5)

    g = packed(
        adversarial(
            mlp.Generator((2,), (8,), last=None),
            Slope(),
            losses.wasserstein(),
            z_dim=3,
            penalties=[(weight, penalty)],
        ),
        2,
    )
    state = begin(g, optax.sgd(0.1), optax.sgd(0.1), KEY, POINTS)
    fake, _ = g.fakes(state.gen.params, state, POINTS, KEY)
    norm = math.sqrt(1 + 4 + 9 + 16) / 5  # 1.095: of one point of the pack alone it would be less
    value = norm**2 if penalty in (penalties.r1, penalties.r2, penalties.zero_centred) else (norm - 1) ** 2
    slope, (_, _, metrics) = jax.grad(g.disc_loss, has_aux=True)(state.disc.params, state, POINTS, KEY, fake)
    np.testing.assert_allclose(metrics[f"disc/{penalty.__name__}"], value, rtol=0, atol=float32(20, size=2))
    assert np.isfinite(slope["w"]).all()


def test_the_generator_learns_through_every_place_of_a_pack():
    g = packed(plain(), 3)
    state = begin(g, optax.sgd(0.1), optax.sgd(0.1), KEY, POINTS)
    fake, _ = g.fakes(state.gen.params, state, POINTS, KEY)
    slope = jax.grad(lambda fake: g.gen_loss(state.gen.params, state, POINTS, KEY, fake)[0])(fake)
    assert (np.abs(slope).max(1) > 0).all()


@pytest.mark.parametrize("options", [{}, {"simultaneous": True}, {"n_disc": 2}], ids=str)
@pytest.mark.parametrize("game_options", [{}, {"one_pass": True}, {"accumulate": 2}], ids=str)
def test_a_round(options, game_options, x64):
    wide = {"dtype": "float64"}
    g = packed(plain((8, 8, 1), **game_options, **wide), 3)
    state, metrics = play(g, IMAGES, precision="float64", **options)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
    assert state.disc.params["Dense_0"]["kernel"].shape == (8 * 8 * 3, 8)
    assert g.sample(state.gen.params, {}, jnp.ones((5, 3))).shape == (5, 8, 8, 1)
    if game_options:  # another way of the same
        other, _ = play(packed(plain((8, 8, 1), **wide), 3), IMAGES, precision="float64", **options)
        assert difference(state, other) < EXACT


def test_packs_of_images_with_batch_norm():
    gen, disc = dcgan.Generator((8, 8, 1), 4), dcgan.Discriminator(4)
    state, metrics = play(packed(adversarial(gen, disc, losses.hinge(), z_dim=4), 4), IMAGES)
    assert np.isfinite(metrics["disc/loss"]) and state.disc.params["Conv_0"]["kernel"].shape == (4, 4, 4, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: packed(plain(), 0), "at least 1; got 0"),
        (lambda: play(packed(plain(), 5), POINTS), "packs of 5 need batches whose rows are a multiple of it; got 12 rows"),
        (lambda: play(packed(plain(classes=3), 2), POINTS | {"label": jnp.zeros(12, int)}), "the batch has no labels"),
        (lambda: packed(Game(*plain()[:4]), 2), "each loss makes its own"),
    ],
)  # fmt: skip
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_run_plays_what_its_recipe_says():
    """PacGAN's experiment: packs of two as rows of the batch, and both players at once."""
    config = pacgan_mixtures.Config(width=8, batch_size=6, packing=2, devices=1, precision="float64")
    source = data.source(data.points(data.ring_centres(), 0.01, 100), 12, 0)
    grid = mesh.make(1, 6)
    with jax.set_mesh(grid), arithmetic(config.precision, config.matmul_precision):
        rounds = Program(config, pacgan_mixtures.build, source, grid)
        state, *_ = rounds.play(rounds.fresh(), rounds.no_fault(), 0, 3)
        recipe, key = rounds.recipe(), jax.random.key(0)
        ends = []
        for simultaneous in (True, False):
            end = rounds.fresh()
            update = game.make_update(recipe.game, recipe.gen_tx, recipe.disc_tx, simultaneous=simultaneous)
            for step in range(3):
                end, _ = update(end, game.in_float64(source[step]), jax.random.fold_in(key, 1))
            ends.append(end)

    def distance(other):
        pairs = zip(jax.tree.leaves(state.gen.params), jax.tree.leaves(other.gen.params), strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    assert distance(ends[0]) < EXACT < 1e-5 < distance(ends[1])


# ---- the networks of the paper's experiment


def count(network, shape):
    variables = jax.eval_shape(lambda x: network.init(KEY, x, train=False), jnp.zeros(shape))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_parameters_of_the_discriminator(m):
    """Printed by the authors' code for one point; each further one adds its two coordinates to 1,000 affine functions."""
    assert count(maxout_mlp.Discriminator(), (5, 2 * m)) == 405_201 + 2_000 * (m - 1)


def test_parameters_of_the_generator():
    assert count(maxout_mlp.Generator((2,)), (5, 2)) == 484_802


def test_maxout_is_the_largest_of_its_pieces():
    layer, x = maxout_mlp.Maxout(7, 5), jax.random.normal(KEY, (6, 3))
    params = layer.init(KEY, x)["params"]["Dense_0"]
    params["bias"] = jax.random.normal(KEY, (35,))
    got = layer.apply({"params": {"Dense_0": params}}, x)
    kernel, bias = np.reshape(params["kernel"], (3, 7, 5)), np.reshape(params["bias"], (7, 5))
    affine = np.einsum("bi,ifp->bfp", np.asarray(x), kernel) + np.asarray(bias)
    np.testing.assert_allclose(got, affine.max(-1), rtol=0, atol=float32(8, size=8))


def test_the_networks_start_as_the_paper_says():
    """Weights N(0, 0.02^2), biases 0; no bias before batch norm."""
    trees = [
        network.init(KEY, jnp.zeros((4, 2)), train=False)["params"]
        for network in (maxout_mlp.Generator((2,)), maxout_mlp.Discriminator())
    ]
    assert [name for name in trees[0] if "bias" in trees[0][name] and "Dense" in name] == ["Dense_4"]
    for path, leaf in (item for tree in trees for item in jax.tree.leaves_with_path(tree)):
        name = jax.tree_util.keystr(path)
        if leaf.ndim > 1:
            np.testing.assert_allclose(np.std(leaf), 0.02, rtol=6 / np.sqrt(2 * leaf.size))
        else:
            np.testing.assert_array_equal(leaf, 1 if "scale" in name else 0)


def test_the_generators_averages_and_its_output():
    gen, z = maxout_mlp.Generator((2,), 16), jax.random.normal(KEY, (64, 2))
    variables = gen.init(KEY, z, train=False)
    _, stats = gen.apply(variables, z, train=True, mutable=["batch_stats"])
    hidden = np.float64(z) @ np.float64(variables["params"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(
        stats["batch_stats"]["BatchNorm_0"]["mean"],
        0.05 * hidden.mean(0),
        rtol=0,
        atol=float32(64 + 8, size=0.05 * np.abs(hidden).max()),
    )
    large = variables | {"params": jax.tree.map(lambda leaf: leaf * 50, variables["params"])}
    assert np.abs(gen.apply(large, z, train=False)).max() > 1  # linear at the end: any point of the plane


def test_fakes_that_are_a_tree_are_not_joined():
    played = plain()
    made = played.fakes
    tree = played._replace(fakes=lambda *args: (lambda fake, stats: ({"image": fake}, stats))(*made(*args)))
    with pytest.raises(ValueError, match="packing joins arrays; this game's fakes are a tree"):
        play(packed(tree, 2), POINTS)
