"""The improved techniques: layers and losses against closed forms, and what couples rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from rounding import float32

from gan_jax import game, losses
from gan_jax.games import network
from gan_jax.games.adversarial import adversarial
from gan_jax.losses import feature_matching, top_k
from gan_jax.models import dcgan
from gan_jax.models.layers import MinibatchDiscrimination, MinibatchStd, VirtualBatchNorm
from gan_jax.optim import historical_averaging
from gan_jax.types import UserError

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def of(layer, x, seed=0):
    """The layer's result on x, and its variables."""
    variables = layer.init(jax.random.key(seed), x)
    return np.asarray(layer.apply(variables, x)), variables


# ---- minibatch standard deviation


def test_groups_are_strided_and_variances_of_the_population():
    values = [0, 0, 0, 0, 1, 2, 3, 4, 100, 200, 300, 400]
    x = jnp.float32(values).reshape(12, 1, 1, 1)
    y, variables = of(MinibatchStd(), x)
    assert variables == {} and y.shape == (12, 1, 1, 2)
    np.testing.assert_array_equal(y[..., 0].ravel(), values)
    np.testing.assert_allclose(y[..., 1].ravel(), np.tile([86.178, 129.191, 163.557], 4), rtol=1e-5)
    np.testing.assert_allclose(y[:3, ..., 1].ravel(), [np.std(values[i::3]) for i in range(3)], rtol=1e-5)


def test_equal_rows_have_a_deviation_of_1e_4():
    y, _ = of(MinibatchStd(), jnp.ones((8, 3, 3, 2)))
    np.testing.assert_allclose(y[..., -1], 1e-4, rtol=1e-3)


def test_one_number_for_a_group_is_the_mean_over_pixels():
    x = jnp.float32(RNG.normal(size=(4, 3, 5, 2)))
    y, _ = of(MinibatchStd(), x)
    np.testing.assert_allclose(y[..., -1], np.asarray(x).std(0).mean(), rtol=1e-5)
    y, _ = of(MinibatchStd(group=16), x)  # of fewer rows: all
    np.testing.assert_allclose(y[..., -1], np.asarray(x).std(0).mean(), rtol=1e-5)
    with pytest.raises(UserError, match="takes 4 rows together, and a batch has 6"):
        of(MinibatchStd(), jnp.ones((6, 2, 2, 1)))


# ---- minibatch discrimination


def test_equal_rows_are_all_near_and_far_ones_are_not():
    rows, layer = 6, MinibatchDiscrimination(kernels=7, dims=5)
    y, variables = of(layer, jnp.ones((rows, 2, 4)))
    assert y.shape == (rows, 8 + 7)
    np.testing.assert_array_equal(y[:, :8], 1)
    np.testing.assert_allclose(y[:, 8:], rows - 1 - 1, atol=1e-5)  # the others, and the bias
    far = jnp.arange(rows, dtype=jnp.float32)[:, None] * 1e4 * jnp.ones((1, 8))
    np.testing.assert_allclose(layer.apply(variables, far.reshape(rows, 2, 4))[:, 8:], -1, atol=1e-6)


def test_it_is_the_formula():
    x = jnp.float32(RNG.normal(size=(5, 6)))
    y, variables = of(MinibatchDiscrimination(kernels=3, dims=2, scale=0.3), x)
    kernel = np.asarray(variables["params"]["kernel"])
    kernel = kernel / np.sqrt((kernel**2).sum(0)) * np.exp(0.3)
    m = np.einsum("bi,ikd->bkd", x, kernel)
    near = [
        [sum(np.exp(-np.abs(m[i, k] - m[j, k]).sum()) for j in range(5) if j != i) for k in range(3)] for i in range(5)
    ]
    np.testing.assert_allclose(y[:, 6:], np.array(near) - 1, rtol=1e-4, atol=float32(20))


# ---- virtual batch norm


def test_a_row_hangs_on_itself_and_the_reference():
    layer, x = VirtualBatchNorm(4), jnp.float32(RNG.normal(2, 3, (7, 5, 5, 2)))
    y, variables = of(layer, x)
    other = layer.apply(variables, x.at[1].set(9))
    np.testing.assert_array_equal(np.delete(np.asarray(other), 1, 0), np.delete(y, 1, 0))
    gain = np.asarray(variables["params"]["scale"])
    assert 0.002 < gain.std() < 0.1 and abs(gain.mean() - 1) < 0.06
    plain = {"params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}
    y, x = np.asarray(layer.apply(plain, x)), np.asarray(x)
    # The reference rows by their own moments; another by 1/5 of its own and 4/5 of theirs.
    np.testing.assert_allclose(y[3:].mean((0, 1, 2)), 0, atol=float32(60))
    np.testing.assert_allclose(y[3:].std((0, 1, 2)), 1, rtol=1e-4)
    mean = (x[0].mean((0, 1)) + 4 * x[3:].mean((0, 1, 2))) / 5
    square = ((x[0] ** 2).mean((0, 1)) + 4 * (x[3:] ** 2).mean((0, 1, 2))) / 5
    np.testing.assert_allclose(y[0], (x[0] - mean) / np.sqrt(square - mean**2 + 1e-5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_generator_with_a_reference_batch(classes):
    """A sample is the same alone, among others, in training and after it; the reference latents are of the start."""
    gen = dcgan.Generator((8, 8, 1), 4, reference=5, classes=classes)
    z = jnp.float32(RNG.normal(size=(6, 3)))
    label = jnp.arange(6) % 3 if classes else None
    variables = gen.init(KEY, z, label, train=False)
    assert not any("batch_stats" in name for name in variables)
    assert variables["buffers"]["reference"].shape == (5, 3)
    whole = gen.apply(variables, z, label, train=True)
    assert whole.shape == (6, 8, 8, 1)
    one = gen.apply(variables, z[2:3], label[2:3] if classes else None, train=False)
    np.testing.assert_allclose(one[0], whole[2], atol=float32(60))
    assert not network.batch_normed(variables) and network.batch_normed({"BatchNorm_0": jnp.ones(1)})


# ---- losses


def test_feature_matching():
    real, fake = jnp.float32(RNG.normal(size=(2, 6, 3)))
    expected = ((np.asarray(real).mean(0) - np.asarray(fake).mean(0)) ** 2).mean()
    assert float(feature_matching(real=real, fake=fake)) == pytest.approx(expected, rel=1e-5)
    assert float(feature_matching(real=real, fake=real[::-1])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.4, 0.5, 1.0])
@pytest.mark.parametrize("loss", [losses.non_saturating(), losses.relativistic_paired()], ids=["one by one", "pairs"])
def test_top_k(loss, share):
    real, fake = jnp.float32(RNG.normal(size=(2, 10)))
    count = max(1, int(share * 10 + 0.5))
    rows = np.argsort(-np.asarray(fake))[:count]
    found, slope = jax.value_and_grad(lambda fake: top_k(loss, share).gen(real=real, fake=fake))(fake)
    expected = loss.gen(real=real[rows], fake=fake[rows])
    if share == 1:
        assert float(found) == float(loss.gen(real=real, fake=fake))  # bit for bit
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert (np.flatnonzero(slope) == np.sort(rows)).all() and top_k(loss, share).disc is loss.disc
    with pytest.raises(ValueError, match="one logit a fake"):
        top_k(loss, 0.5).gen(real=jnp.ones((2, 3, 3)), fake=jnp.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=r"in \(0, 1\]; got 0"):
        top_k(loss, 0.0)


def test_historical_averaging():
    """With sgd(1) and no other gradient: p <- p - 2 w (p - m), m the mean of all p so far."""
    tx = optax.chain(historical_averaging(0.25), optax.sgd(1.0))
    p = jnp.float32(3.0)
    opt, seen = tx.init(p), []
    for push in (0.0, 0.0, 8.0, 0.0, 0.0):
        seen.append(float(p))
        updates, opt = tx.update(jnp.float32(push), opt, p)
        p = optax.apply_updates(p, updates)
        assert float(p) == pytest.approx(seen[-1] - push - 0.5 * (seen[-1] - np.mean(seen)), rel=1e-6)
    assert seen[:3] == [3, 3, 3]  # parameters that do not move are not pulled
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(p, opt)


# ---- in the game

IMAGES = {"image": jnp.float32(RNG.uniform(-1, 1, (8, 8, 8, 1)))}
GEN = dcgan.Generator((8, 8, 1), 4)


@pytest.mark.parametrize(
    "coupling", [MinibatchStd(), MinibatchDiscrimination(4, 2)], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize(("option", "words"), [({"one_pass": True}, "one_pass needs"), ({"accumulate": 2}, "couples")])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_what_couples_rows_is_refused(coupling, option, words, batch_norm):
    """Also beside batch norm, whose parts are a known other update; and such logits are no view."""
    disc = dcgan.Discriminator(4, batch_norm=batch_norm, coupling=coupling)
    assert adversarial(GEN, disc, losses.hinge(), z_dim=4).views == {}
    g = adversarial(GEN, disc, losses.hinge(), z_dim=4, **option)
    with pytest.raises(UserError if "accumulate" in option else ValueError, match=words):
        jax.eval_shape(lambda: g.init(KEY, IMAGES))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_g_matches_features(batch_norm):
    """Its loss is that of D's features, and its logits do not matter. Batch norm takes both kinds together: of each alone
    it would give equal means.
    """
    disc = dcgan.Discriminator(4, batch_norm=batch_norm)
    g = adversarial(GEN, disc, losses.non_saturating(), z_dim=4, match_features=True)
    tx = optax.sgd(0.1)
    state = begin(g, tx, tx, KEY, IMAGES)
    fake, _ = g.fakes(state.gen.params, state, IMAGES, KEY)
    total, (_, _, metrics) = g.gen_loss(state.gen.params, state, IMAGES, KEY, fake)
    both, variables = jnp.concatenate([IMAGES["image"], fake]), {"params": state.disc.params, **state.disc.stats}
    (_, found), _ = disc.apply(variables, both, train=True, features=True, mutable=["batch_stats"])
    features = found[:8], found[8:]
    expected = ((np.asarray(features[0]).mean(0) - np.asarray(features[1]).mean(0)) ** 2).mean()
    assert float(total) == float(metrics["gen/loss"]) == pytest.approx(expected, rel=1e-5)
    _, metrics = game.make_update(g, tx, tx)(state, IMAGES, KEY)
    assert np.isfinite(list(metrics.values())).all()


def test_ds_logits_are_a_view():
    disc = dcgan.Discriminator(4)
    g = adversarial(GEN, disc, losses.hinge(), z_dim=4)
    state = begin(g, optax.sgd(0.1), optax.sgd(0.1), KEY, IMAGES)
    variables = {"params": state.disc.params, **state.disc.stats}
    expected = disc.apply(variables, IMAGES["image"], train=False)
    np.testing.assert_array_equal(g.views["logits"](state, IMAGES["image"]), expected)
