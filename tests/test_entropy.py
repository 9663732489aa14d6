"""Entropies against closed forms: linear generators, whose densities are Gaussian, and maps whose volume is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin

from experiments import entropy_grid, entropy_ring, few_fashion, tricks_mnist
from gan_jax import game, losses
from gan_jax.games import entropy
from gan_jax.games.entropy import entropic, gaussian_log_det, mixture_entropy, posterior
from gan_jax.models import mlp
from gan_jax.types import UserError

KEY = jax.random.key(0)
A, NOISE = jnp.float32([[1, 0.5], [0, 2], [0.3, -0.7]]), 0.3
EXACT = 3.91559030  # 1/2 log det 2 pi e (A A' + noise^2 I)


def linear(z, a=A):
    return z @ a.T


def test_the_log_determinant():
    assert float(gaussian_log_det(A[None], NOISE)) == pytest.approx(EXACT, rel=1e-6)
    assert float(gaussian_log_det(2 * A[None], 2 * NOISE)) == pytest.approx(EXACT + 3 * np.log(2), rel=1e-6)
    turned = jnp.float32([[[0, -2], [2, 0]]])
    assert float(gaussian_log_det(turned, 0.0)) == pytest.approx(4.224171, rel=1e-6)  # ln 2 pi e + 2 ln 2


@pytest.mark.parametrize("rows", [2_000])
def test_the_mixture_of_many_is_the_entropy(rows):
    z = jax.random.normal(KEY, (rows, 2))
    x = linear(z) + NOISE * jax.random.normal(jax.random.key(1), (rows, 3))
    assert float(mixture_entropy(x, linear(z), NOISE)) == pytest.approx(EXACT, abs=0.1)


def test_the_mixture_is_the_formula():
    rng = np.random.default_rng(0)
    x, means = (jnp.float32(rng.normal(size=(4, 3))) for _ in range(2))
    distances = ((np.asarray(x)[:, None] - np.asarray(means)[None]) ** 2).sum(-1)
    density = np.exp(-distances / (2 * 0.5**2)) / (2 * np.pi * 0.5**2) ** 1.5
    mean = (density.sum(1) - np.diag(density)) / 3
    assert float(mixture_entropy(x, means, 0.5)) == pytest.approx(-np.log(mean).mean(), rel=1e-4)


def test_the_posterior_of_a_linear_generator():
    """The score (x - A E[z | x]) / noise^2 is (A A' + noise^2 I)^-1 x; also with the start far away."""
    x = jnp.broadcast_to(jnp.float32([1, -1, 0.5]), (1_000, 3))
    sample = jax.jit(
        lambda key: posterior(linear, x, jnp.full((1_000, 2), 3.0), NOISE, 0.1, key, burn=50, keep=50, leapfrog=10)
    )
    drawn, accepted = sample(KEY)
    assert drawn.shape == (50, 1_000, 2) and 0.8 < float(accepted) <= 1
    score = (np.asarray(x[0]) - np.asarray(linear(drawn)).mean((0, 1))) / NOISE**2
    np.testing.assert_allclose(score, [1.54844799, -1.15220914, -1.54577672], atol=0.06)
    covariance = np.cov(np.asarray(drawn).reshape(-1, 2).T)
    np.testing.assert_allclose(covariance, np.linalg.inv(np.eye(2) + A.T @ A / NOISE**2), atol=2e-3)


class _Linear(nn.Module):
    """x = s A z, with s a parameter, 1."""

    @nn.compact
    def __call__(self, z, *, train):
        return linear(z, self.param("a", lambda key: A))


class _Flat(nn.Module):
    """A D that cannot tell."""

    @nn.compact
    def __call__(self, x, *, train):
        return 0 * x.sum(1) + 0 * self.param("bias", nn.initializers.zeros, ())


@pytest.mark.parametrize(
    ("estimate", "rows", "tolerance"),
    [
        (entropy.log_det(), 8, 1e-4),
        (entropy.mixture(), 1_500, 0.1),
        (entropy.hmc(burn=5, keep=40, start=0.1), 1_500, 0.1),
    ],
    ids=["log_det", "mixture", "hmc"],
)
def test_the_gradient_of_each_estimate_is_that_of_the_entropy(estimate, rows, tolerance):
    """In the game: G's step with a D that cannot tell is d/dA of H / 3, H = 1/2 log det (A A' + noise^2 I) + ..."""
    g = entropic(_Linear(), _Flat(), losses.non_saturating(), estimate, z_dim=2, weight=1.0, noise=NOISE)
    tx, batch = optax.sgd(1.0), {"image": jnp.zeros((rows, 3))}
    state = begin(g, tx, tx, KEY, batch)
    before = np.asarray(state.gen.params["a"])
    after, metrics = game.make_update(g, tx, tx)(state, batch, KEY)
    inverse = np.linalg.inv(before @ before.T + NOISE**2 * np.eye(3))
    np.testing.assert_allclose(after.gen.params["a"] - before, inverse @ before / 3, atol=tolerance)
    assert float(metrics["gen/loss"]) == pytest.approx(np.log(2))


def test_the_step_size_follows_the_moves_that_are_accepted():
    g = entropic(_Linear(), _Flat(), losses.hinge(), entropy.hmc(start=5.0), z_dim=2, weight=0.0, noise=NOISE)
    tx, batch = optax.sgd(0.0), {"image": jnp.zeros((16, 3))}
    state = begin(g, tx, tx, KEY, batch)
    update = game.make_update(g, tx, tx)
    for _ in range(3):
        state, metrics = update(state, batch, KEY)
    assert float(state.aux["hmc_step"]) == pytest.approx(5 * 0.98**3) and float(metrics["gen/accepted"]) < 0.1


class _Normed(nn.Module):
    """x = A z by batch norm, whose running averages are far from a batch's."""

    @nn.compact
    def __call__(self, z, *, train):
        return nn.BatchNorm(not train, momentum=0.999)(linear(z, self.param("a", lambda key: A)))


def test_hmcs_score_is_of_one_network():
    """What batch norm of a batch differs in from its averages is no score: with an exact posterior the mean score of x is
    0, whereas x of the batch would be off by about 0.5 / noise^2.
    """
    g = entropic(
        _Normed(), _Flat(), losses.hinge(), entropy.hmc(burn=5, keep=20, start=0.05), z_dim=2, weight=1.0, noise=NOISE
    )
    tx, batch = optax.sgd(1.0), {"image": jnp.zeros((800, 3))}
    state = begin(g, tx, tx, KEY, batch)
    stats = jax.tree.map(lambda x: x + 0.5, state.gen.stats)
    state = state.replace(gen=state.gen.replace(stats=stats))
    before = np.asarray(state.gen.params["BatchNorm_0"]["bias"])
    after, _ = game.make_update(g, tx, tx)(jax.tree.map(jnp.copy, state), batch, KEY)
    assert np.abs(after.gen.params["BatchNorm_0"]["bias"] - before).max() < 0.3 / NOISE**2 / 3


@pytest.mark.parametrize(
    ("module", "flags", "words"),
    [
        (entropy_ring, {"noise": 0.0, "entropy": 1.0}, "--entropy 1 --noise 0 --estimate mixture: without noise"),
        (entropy_ring, {"noise": 0.0, "sweep": ("entropy=0,0.1",), "estimate": "hmc"}, "--entropy 0.1 --noise 0"),
        (entropy_grid, {"sweep": ("noise=0,0.1",), "entropy": 0.5}, "--entropy 0.5 --noise 0"),
        (entropy_ring, {"batch_size": 1}, "2 rows or more"),
        (
            tricks_mnist,
            {"trick": "minibatch_std", "batch_size": 6},
            "--batch-size 6: --trick minibatch_std takes 4 rows",
        ),
        (tricks_mnist, {"trick": "minibatch_std", "accumulate": 2}, "--accumulate 2 splits rows"),
        (tricks_mnist, {"real_label": 0.8}, "--real-label is for --trick label_smoothing, and this is --trick none"),
        (tricks_mnist, {"trick": "label_smoothing", "real_label": 7.0}, r"--real-label 7.0: .* in \(0.5, 1\]"),
        (few_fashion, {"sweep": ("lecam=0.1,0.3",)}, "--lecam is for --arm lecam, and this is --arm none"),
    ],
)
def test_flags_that_make_no_game(module, flags, words):
    with pytest.raises(UserError, match=words):
        module.setup(module.Config(**flags))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_without_an_entropy_any_noise_will_do(noise):
    entropy.require(entropy_ring.Config(noise=noise))
    entropy.require(entropy_ring.Config(noise=noise, entropy=1.0, estimate="log_det"))


@pytest.mark.parametrize("estimate", [entropy.mixture(), entropy.hmc()])
def test_without_noise_no_entropy_is_told(estimate):
    assert estimate.apply(lambda z: z, {}, 0.0, KEY, {"own": 1}) == (0.0, {"own": 1}, {})


def test_weight_zero_is_the_noise_alone():
    """Every estimate leaves it alone; real images have the fakes' noise, and samples have none."""
    nets = mlp.Generator((3,), (8,), last=None), mlp.Discriminator((8,))
    tx, batch, ends = optax.sgd(0.1), {"image": jnp.ones((6, 3))}, []
    for estimate in (entropy.mixture(), entropy.log_det(), entropy.hmc()):
        g = entropic(*nets, losses.non_saturating(), estimate, z_dim=2, weight=0.0, noise=NOISE)
        state = begin(g, tx, tx, KEY, batch)
        fake, _ = g.fakes(state.gen.params, state, batch, KEY)
        np.testing.assert_array_equal(g.sample(state.gen.params, {}, fake["z"]), fake["mean"])
        spread = np.asarray(fake["image"] - fake["mean"])
        assert 0.1 < spread.std() < 0.6
        state, _ = game.make_update(g, tx, tx)(state, batch, KEY)
        ends.append((state.gen, state.disc))
    for other in ends[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), ends[0], other)
