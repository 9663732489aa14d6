"""StyleGAN2: published numbers of parameters, its operations in closed form, and its game."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import RNG, begin
from jax import lax
from rounding import float32

from gan_jax import losses, penalties
from gan_jax.games.style import style
from gan_jax.models import stylegan2
from gan_jax.models.layers import leaky_relu

ROWS, CLASSES = 4, 3


def numbers(module, *given):
    made = jax.eval_shape(lambda *given: module.init(jax.random.key(0), *given, train=False), *given)
    return sum(leaf.size for leaf in jax.tree.leaves(made["params"]))


# side, base, most, features of w, layers of the mapping, classes, residual D, layers of its mapping; G and D. CIFAR-10:
# StudioGAN's logs, whose D has a mapping of eight layers, as that of the authors' PyTorch code; the 2019 paper prints
# 30.4 and 29.0 million at 1,024 pixels.
PUBLISHED = {
    "CIFAR-10 with classes": (32, 32_768, 512, 512, 2, 10, False, 8, 20_215_315, 23_089_664),
    "CIFAR-10 with classes, no mapping in D": (32, 32_768, 512, 512, 2, 10, False, 0, 20_215_315, 20_988_416),
    "CIFAR-10": (32, 32_768, 512, 512, 2, 0, False, 8, 19_947_539, 20_720_641),
    "CIFAR-10, residual": (32, 32_768, 512, 512, 2, 0, True, 8, 19_947_539, 21_507_073),
    "config F, 1,024 pixels": (1_024, 32_768, 512, 512, 8, 0, True, 8, 30_370_060, 29_012_513),
    "256 pixels": (256, 16_384, 512, 512, 8, 0, True, 8, 24_767_458, 24_001_089),
    "small": (32, 1_024, 32, 128, 2, 0, True, 8, 144_083, 84_673),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count(name):
    side, base, most, features, layers, classes, residual, mapped, of_gen, of_disc = PUBLISHED[name]
    shape = jax.ShapeDtypeStruct
    label = (shape((ROWS,), jnp.int32),) if classes else ()
    gen = stylegan2.Generator((side, side, 3), base, most, features, layers, classes)
    disc = stylegan2.Discriminator(base, most, residual, 4, classes, mapped)
    assert numbers(gen, shape((ROWS, features), jnp.float32), *label) == of_gen
    assert numbers(disc, shape((ROWS, side, side, 3), jnp.float32), *label) == of_disc


# ---- operations


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kernel", "up"), [(3, False), (3, True), (1, False)])
def test_a_modulated_convolution_is_one_of_each_rows_own_kernel(kernel, up):
    layer = stylegan2.Modulated(5, kernel, up, dtype="float64")
    x, w = RNG.normal(size=(ROWS, 4, 6, 3)), RNG.normal(size=(ROWS, 7))
    variables = jax.tree.map(lambda p: p + 0.1, layer.init(jax.random.key(0), x, w))
    found, params = layer.apply(variables, x, w), variables["params"]
    styles = w @ params["style"]["kernel"] / np.sqrt(7) + params["style"]["bias"][None]
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    for row in range(ROWS):
        own = params["kernel"] * styles[row].reshape(1, 1, -1, 1)
        own = own / jnp.sqrt(jnp.sum(own**2, (0, 1, 2), keepdims=True) + 1e-8)
        np.testing.assert_allclose(jnp.sum(own**2, (0, 1, 2)), 1, rtol=1e-6)
        numbers = ("NHWC", "HWIO", "NHWC")
        if up:  # zeros between the pixels, the kernel, the filter: together one kernel of 6x6
            expected = lax.conv_general_dilated(x[row][None], own, (1, 1), [(2, 2)] * 2, (2, 2), None, numbers)
            filters = jnp.asarray(taps)[:, :, None, None] * jnp.ones((1, 1, 1, 5))
            expected = lax.conv_general_dilated(expected, filters, (1, 1), [(1, 1)] * 2, None, None, numbers, 5)
        else:
            expected = lax.conv_general_dilated(x[row][None], own, (1, 1), "SAME", dimension_numbers=numbers)
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_a_norm_is_taken_of_each_filter():
    """So a style of any size gives the same; without demodulation it does not."""
    x, w = RNG.normal(size=(ROWS, 4, 4, 3)), RNG.normal(size=(ROWS, 7))

    def made(scale, demodulate):
        layer = stylegan2.Modulated(5, demodulate=demodulate, dtype="float64")
        variables = layer.init(jax.random.key(0), x, w)
        style = jax.tree.map(lambda p: scale * p, variables["params"]["style"])
        return layer.apply({"params": {**variables["params"], "style": style}}, x, w)

    np.testing.assert_allclose(made(3.0, True), made(1.0, True), rtol=1e-7)
    np.testing.assert_allclose(made(3.0, False), 3 * made(1.0, False), rtol=1e-9)


def test_activations_and_sizes():
    x = jnp.float32(np.random.default_rng(0).normal(size=400_000))
    y = stylegan2.activated(x)
    np.testing.assert_allclose([jnp.mean(y**2), jnp.mean(y), jnp.var(y)], [1.04, 0.4514, 0.8363], rtol=0.01)
    np.testing.assert_allclose(y, np.sqrt(2) * leaky_relu(x), rtol=1e-6)
    assert stylegan2.styles((32, 32, 3)) == 8 and stylegan2.styles((1_024, 1_024, 3)) == 18
    assert stylegan2.noises((32, 32, 3)) == 16 + 2 * (64 + 256 + 1_024)
    assert stylegan2.sides((28, 28, 1)) == [(7, 7), (14, 14), (28, 28)]


# ---- networks


def networks(classes=0, shape=(8, 8, 2)):
    gen = stylegan2.Generator(shape, 64, 16, 12, 2, classes)
    disc = stylegan2.Discriminator(64, 16, True, 2, classes, 2)
    return gen, disc


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_networks(classes):
    """Gradients reach all, rows of G are by themselves, noise matters once its strength is not 0, labels do."""
    gen, disc = networks(classes)
    z, x = jnp.float32(RNG.normal(size=(ROWS, 6))), jnp.float32(RNG.normal(size=(ROWS, 8, 8, 2)))
    label = jnp.arange(ROWS) % classes if classes else None
    noise = jnp.float32(RNG.normal(size=(ROWS, stylegan2.noises(gen.shape))))
    gen_vars = jax.jit(lambda: gen.init(jax.random.key(0), z, label, train=False))()
    disc_vars = jax.jit(lambda: disc.init(jax.random.key(1), x, label, train=False))()
    weight = jnp.float32(RNG.normal(size=ROWS))
    sample = jax.jit(lambda v, z, label, noise, psi=None: gen.apply(v, z, label, noise, psi, train=False))
    np.testing.assert_array_equal(sample(gen_vars, z, label, noise), sample(gen_vars, z, label, None))
    moved = jax.tree.map(lambda p: p + 0.3, gen_vars["params"])
    now = {**gen_vars, "params": moved}
    assert float(jnp.abs(sample(now, z, label, noise) - sample(now, z, label, None)).max()) > 1e-3

    @jax.jit
    @jax.grad
    def slope(params):
        images, _ = gen.apply({**gen_vars, "params": params[0]}, z, label, noise, train=True, mutable=["buffers"])
        return jnp.sum(weight * disc.apply({"params": params[1]}, images, label, train=True))

    for path, leaf in jax.tree.leaves_with_path(slope((moved, disc_vars["params"]))):
        assert np.isfinite(leaf).all() and float(jnp.abs(leaf).max()) > 1e-7, jax.tree_util.keystr(path)
    out = sample(now, z, label, noise)
    alone = sample(now, z[2:3], None if label is None else label[2:3], noise[2:3])
    np.testing.assert_allclose(alone[0], out[2], rtol=0, atol=float32(200, np.abs(out).max()))
    if classes:
        other = sample(now, z, (label + 1) % classes, noise)
        assert (jnp.abs(other - out).reshape(ROWS, -1).max(1) > 1e-4).all()
        logits = [disc.apply(disc_vars, x, y, train=False) for y in (label, (label + 1) % classes)]
        assert (jnp.abs(logits[0] - logits[1]) > 1e-5).all()


@pytest.mark.usefixtures("x64")
def test_truncation_and_the_mean_of_w():
    gen = stylegan2.Generator((8, 8, 2), 64, 16, 12, dtype="float64")
    z = RNG.normal(size=(ROWS, 6))
    variables = gen.init(jax.random.key(0), z, train=False)
    assert not variables["buffers"]["mean"].any()
    w, kept = gen.apply(variables, z, method="map"), 0.0
    for _ in range(3):
        _, stats = gen.apply(variables, z, train=True, mutable=["buffers"])
        variables, kept = {**variables, **stats}, 0.995 * kept + 0.005 * w.mean(0)
    np.testing.assert_allclose(variables["buffers"]["mean"], kept, rtol=1e-9)
    mean, psi = variables["buffers"]["mean"][None], np.array([1.0, 0.0, 0.5, 0.7])
    expected = gen.apply(variables, jnp.repeat((mean + psi[:, None] * (w - mean))[:, None], 6, 1), method="synthesise")
    np.testing.assert_allclose(gen.apply(variables, z, None, None, psi, train=False), expected, rtol=1e-9, atol=1e-12)
    first = gen.apply(variables, z, None, None, psi, z[::-1], np.full(ROWS, 6), train=False)
    np.testing.assert_allclose(first, expected, rtol=1e-9, atol=1e-12)  # from the last layer on: none
    mixed = gen.apply(variables, z, None, None, None, z[::-1], np.array([0, 1, 3, 6]), train=False)
    plain = gen.apply(variables, z, None, None, train=False)
    np.testing.assert_allclose(mixed[0], gen.apply(variables, z[::-1], train=False)[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mixed[3], plain[3], rtol=1e-9, atol=1e-12)
    assert all(float(jnp.abs(mixed[i] - plain[i]).max()) > 1e-6 for i in (1, 2))


# ---- the game


class Linear(stylegan2.nn.Module):
    """G(w) = A w of one w, for path length in closed form."""

    shape: tuple = (4, 4, 1)

    def setup(self):
        self.matrix = self.param("matrix", stylegan2.nn.initializers.normal(1.0), (3, 16))

    def map(self, z, label=None):
        return z

    def synthesise(self, w, noise=None):
        return (w[:, 0] @ self.matrix).reshape(-1, *self.shape)

    def __call__(self, z, label=None, noise=None, psi=None, other=None, cutoff=None, *, train):
        return self.synthesise(z[:, None], noise)


def test_path_length_of_a_linear_generator():
    """E |J^T y|^2 is the trace of A A^T over the number of pixels; the mean follows by a hundredth."""
    disc = stylegan2.Discriminator(32, 8, True, 2)
    how = {"z_dim": 3, "noises": 1, "mixing": 0.0, "every": 2}
    game = style(Linear(), disc, losses.non_saturating(), layers=1, path=3.0, **how)
    batch = {"image": jnp.float32(RNG.normal(size=(20_000, 4, 4, 1)))}
    gen_vars = Linear().init(jax.random.key(0), jnp.zeros((1, 3)), train=False)
    state = begin(game, optax.sgd(0.0), optax.sgd(0.0), jax.random.key(1), {"image": batch["image"][:2]})
    state = state.replace(gen=state.gen.replace(params=gen_vars["params"]))
    fake = jnp.zeros((20_000, 4, 4, 1))
    total, (_, aux, metrics) = jax.jit(game.gen_loss)(gen_vars["params"], state, batch, jax.random.key(2), fake)
    np.testing.assert_allclose(total, metrics["gen/loss"] + 3 * 2 * metrics["gen/path"], rtol=1e-6)  # weight, interval
    matrix = np.float64(gen_vars["params"]["matrix"])
    square = np.trace(matrix @ matrix.T) / 16  # E len^2
    mean = 100 * float(aux["path_mean"])  # from 0, a hundredth of the way
    assert mean**2 < square < 1.5 * mean**2
    expected = square - 2 * mean * mean / 100 + (mean / 100) ** 2
    np.testing.assert_allclose(float(metrics["gen/path"]), expected, rtol=0.03)
    assert aux["path"] == metrics["gen/path"]
    kept = state.replace(step=jnp.int32(1), aux=aux)
    total, (_, still, told) = jax.jit(game.gen_loss)(gen_vars["params"], kept, batch, jax.random.key(2), fake)
    assert total == told["gen/loss"]
    assert still["path_mean"] == aux["path_mean"] and told["gen/path"] == metrics["gen/path"]  # not due: the last value


def test_path_length_is_a_mean_over_layers():
    """Of an image that only the first of two w's reach, the squared norm is halved."""
    disc, how = stylegan2.Discriminator(32, 8, True, 2), {"z_dim": 3, "noises": 1, "mixing": 0.0}
    batch, fake = {"image": jnp.ones((8, 4, 4, 1))}, jnp.zeros((8, 4, 4, 1))
    means = []
    for layers in (1, 2):
        game = style(Linear(), disc, losses.non_saturating(), layers=layers, **how)
        state = begin(game, optax.sgd(0.0), optax.sgd(0.0), jax.random.key(1), batch)
        aux = jax.jit(game.gen_loss)(state.gen.params, state, batch, jax.random.key(2), fake)[1][1]
        means.append(float(aux["path_mean"]))
    np.testing.assert_allclose(means[1] * np.sqrt(2), means[0], rtol=1e-5)


def test_styles_are_mixed_in_training():
    """With probability 1 in every batch, one cutoff for all of its rows; with 0 in none."""
    gen, disc = networks()
    batch, key = {"image": jnp.zeros((ROWS, 8, 8, 2))}, jax.random.key(3)

    def made(mixing):
        how = {"z_dim": 6, "noises": stylegan2.noises(gen.shape), "layers": 6, "mixing": mixing}
        game = style(gen, disc, losses.non_saturating(), **how)
        state = begin(game, optax.sgd(0.1), optax.sgd(0.1), jax.random.key(1), batch)
        return game, state, game.fakes(state.gen.params, state, batch, key)[0]

    game, state, mixed = made(1.0)
    _, _, plain = made(0.0)
    keys = jax.random.split(key, 5)
    z, noise, _ = game.inputs(keys[0], batch)
    other = jax.random.normal(keys[1], (ROWS, 6))

    def at(cutoff):
        return game.views["mix"](state, z, other, jnp.full(ROWS, cutoff), noise)

    np.testing.assert_allclose(plain, at(6), atol=1e-5)
    cutoffs = [cutoff for cutoff in range(6) if np.allclose(mixed, at(cutoff), atol=1e-5)]
    assert len(cutoffs) == 1 and cutoffs[0] >= 1


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_the_games_inputs_and_views(classes):
    gen, disc = networks(classes)
    game = style(
        gen, disc, losses.non_saturating(), z_dim=6, noises=stylegan2.noises(gen.shape), layers=6, classes=classes,
        penalties=[(0.1, penalties.lazy(penalties.r1, 2))],
    )  # fmt: skip
    label = jnp.arange(ROWS) % CLASSES
    batch = {"image": jnp.float32(RNG.uniform(-1, 1, (ROWS, 8, 8, 2)))} | ({"label": label} if classes else {})
    state = begin(game, optax.sgd(0.1), optax.sgd(0.1), jax.random.key(1), batch)
    assert set(state.aux) == {"path", "path_mean", "disc/r1"}
    key = jax.random.key(3)
    given = game.inputs(key, {**batch, "psi": jnp.full(ROWS, 0.5)})
    assert [x.shape[0] for x in given] == [ROWS] * (4 if classes else 3) and (given[-1] == 0.5).all()
    params, stats = state.gen.params, state.gen.stats
    assert game.sample(params, stats, *given).shape == (ROWS, 8, 8, 2)
    args = [label] if classes else []
    w = game.views["map"](state, given[0], *args)
    np.testing.assert_array_equal(w, gen.apply({"params": params, **stats}, given[0], *args, method="map"))
    assert set(game.views) == {"map", "mix"}  # D compares rows: no logits of a row alone
    cut = jnp.full(ROWS, 6)
    mixed = game.views["mix"](state, given[0], given[0][::-1], cut, *args, given[-2])
    np.testing.assert_allclose(mixed, game.sample(params, stats, *given[:-1], jnp.ones(ROWS)), atol=1e-5)
    fake, now = game.fakes(params, state, batch, key)
    assert fake.shape == (ROWS, 8, 8, 2) and now["buffers"]["mean"].any()
    without = style(gen, disc, losses.non_saturating(), z_dim=6, noises=9, layers=6, path=0.0, classes=classes)
    assert "path" not in without.init(key, batch)[2]
