"""Games of given images: losses in closed form, what D is shown, rounds without D, and contrastive patches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin

from gan_jax import game, losses
from gan_jax.games.contrastive import Contrasted, Heads, contrastive, patch_nce
from gan_jax.games.paired import Term, l1, paired
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.resnet_translator import ResnetTranslator

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SGD = optax.sgd(0.0)


class _Add(nn.Module):
    """a + a parameter that starts at `by`; with noise, + (number mod 2)."""

    by: float

    @nn.compact
    def __call__(self, a, noise=None, *, train):
        out = a + self.param("by", nn.initializers.constant(self.by), ())
        return out if noise is None else out + (noise % 2).astype(a.dtype)[:, None, None, None]


class _Mean(nn.Module):
    """The mean of all it is shown, times a parameter, which is in the state, too."""

    @nn.compact
    def __call__(self, x, *, train):
        seen = self.variable("seen", "mean", lambda: jnp.zeros(()))
        if train:
            seen.value = x.mean()
        return self.param("scale", nn.initializers.ones, ()) * x.mean((1, 2, 3))


def batch(rows=4):
    a = jnp.float32(RNG.uniform(-0.5, 0.5, (rows, 4, 4, 2)))
    return {"a": a, "b": a + 0.25}


def one_round(g, given, gen_tx=SGD, disc_tx=SGD, rounds=1):
    state = begin(g, gen_tx, disc_tx, KEY, given)
    update, metrics = game.make_update(g, gen_tx, disc_tx), {}
    for _ in range(rounds):
        state, metrics = update(state, given, KEY)
    return state, metrics


def test_a_right_answer_costs_the_adversary_alone():
    """Where G(a) = b the distance is 0, and at logits of 0 G's loss is ln 2, D's 2 ln 2."""

    class _Zero(_Mean):
        @nn.compact
        def __call__(self, x, *, train):
            return 0 * super().__call__(x, train=train)

    g = paired(_Add(0.25), _Zero(), losses.non_saturating(), [Term("l1", 100.0, l1)])
    _, metrics = one_round(g, batch())
    assert float(metrics["gen/l1"]) < 1e-6
    assert float(metrics["gen/loss"]) == pytest.approx(np.log(2)) and float(metrics["disc/loss"]) == pytest.approx(
        2 * np.log(2)
    )


@pytest.mark.parametrize("conditional", [True, False])
def test_what_the_discriminator_is_shown(conditional):
    """The given image beside the real or the made one; or these alone."""
    given = batch()
    condition = {} if conditional else {"condition": None}
    g = paired(_Add(0.75), _Mean(), losses.wasserstein(), [Term("l1", 2.0, l1)], **condition)
    _, metrics = one_round(g, given)
    a = float(given["a"].mean())
    shown = [(a + x) / 2 if conditional else x for x in (a + 0.25, a + 0.75)]
    np.testing.assert_allclose([metrics["disc/real"], metrics["disc/fake"]], shown, atol=1e-6)
    assert float(metrics["gen/loss"]) == pytest.approx(-shown[1], abs=1e-6)
    assert float(metrics["gen/l1"]) == pytest.approx(0.5, abs=1e-6)


def test_the_gradient_is_that_of_all_terms():
    """d/dby of -w mean(D) + 2 |by - .25| + 3 (by - .25)^2."""
    square = Term("l2", 3.0, lambda fake, real: jnp.mean((fake - real) ** 2))
    g = paired(_Add(0.75), _Mean(), losses.wasserstein(), [Term("l1", 2.0, l1), square], weight=0.5, condition=None)
    state, _ = one_round(g, batch(), gen_tx=optax.sgd(0.1))
    slope = -0.5 + 2 + 3 * 2 * 0.5
    assert float(state.gen.params["by"]) == pytest.approx(0.75 - 0.1 * slope, abs=1e-5)


def test_noise_is_an_input():
    g = paired(_Add(0.0), _Mean(), losses.hinge(), [], noise=True)
    given = batch(64)
    a, numbers = g.inputs(KEY, given)
    assert a is given["a"] and numbers.dtype == jnp.uint32 and len({*np.asarray(numbers).tolist()}) == 64
    made = g.sample({"by": 0.0}, {}, a, numbers)
    np.testing.assert_array_equal(made[:, 0, 0, 0] - a[:, 0, 0, 0] > 0.5, numbers % 2 == 1)


# ---- contrastive


def test_orthonormal_patches_are_told_and_equal_ones_are_not():
    told = patch_nce(jnp.eye(256)[None], jnp.eye(256)[None])
    assert float(told) == pytest.approx(np.log1p(255 * np.exp(-1 / 0.07)), rel=1e-3)
    same = jnp.full((2, 256, 4), 0.5)
    assert float(patch_nce(same, same)) == pytest.approx(np.log(256), rel=1e-6)
    query, key = jnp.float32(RNG.normal(size=(2, 2, 5, 3)))
    logits = np.einsum("bpd,bqd->bpq", query, key) / 0.5
    expected = -np.mean([logits[b, p, p] - np.log(np.exp(logits[b, p]).sum()) for b in range(2) for p in range(5)])
    assert float(patch_nce(query, key, 0.5)) == pytest.approx(expected, rel=1e-5)
    assert float(jnp.abs(jax.grad(lambda key: patch_nce(query, key))(key)).max()) == 0


def both_ways(**how):
    gen = Contrasted(ResnetTranslator(4, 1), Heads(8))
    return gen, contrastive(gen, PatchGAN(1, 4), losses.least_squares(), positions=6, **how)


def test_a_copy_is_told_by_its_patches():
    """Features of an image and of itself are told better than those of another image."""
    gen, _ = both_ways()
    x, y = jnp.float32(RNG.uniform(-1, 1, (2, 2, 16, 16, 1)))
    variables = jax.jit(lambda: gen.init(KEY, x, train=False))()
    bits = jax.random.key_data(KEY)

    @jax.jit
    def nce(a, b):
        features = [gen.apply(variables, one, bits, 64, method="compared") for one in (a, b)]
        return jnp.stack([patch_nce(q, k) for q, k in zip(*features, strict=True)])

    assert (np.asarray(nce(x, x)) < np.asarray(nce(y, x)) - 1).all()
    lengths = [np.linalg.norm(one, axis=-1) for one in gen.apply(variables, x, bits, 64, method="compared")]
    assert len(lengths) == 5
    for one in lengths:
        np.testing.assert_allclose(one, 1, rtol=0.05)  # 1e-7 stands beside lengths of 1e-4


@pytest.mark.parametrize("how", [{}, {"identity": False, "mirror": True, "weight": 10.0}])
def test_cut_and_fastcut(how):
    """Both domains' terms, or one; and the same whether a batch was mirrored: the features are mirrored back."""
    gen, g = both_ways(**how)
    a, b = jnp.float32(RNG.uniform(-1, 1, (2, 2, 16, 16, 1)))
    state, metrics = one_round(g, {"a": a, "b": b}, gen_tx=optax.sgd(0.01), disc_tx=optax.sgd(0.01))
    assert ("gen/nce_same" in metrics) == how.get("identity", True)
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))
    first = begin(g, SGD, SGD, KEY, {"a": a, "b": b})
    for part in ("gen", "heads"):
        moved = [
            float(jnp.abs(x - y).max())
            for x, y in zip(
                jax.tree.leaves(state.gen.params[part]), jax.tree.leaves(first.gen.params[part]), strict=True
            )
        ]
        assert max(moved) > 0
    if how.get("mirror"):
        turned = [
            bool(g.fakes(first.gen.params, first, {"a": a, "b": b}, jax.random.key(i))[0]["turned"]) for i in range(8)
        ]
        assert {*turned} == {False, True}
        variables, bits = {"params": first.gen.params}, jax.random.key_data(KEY)
        compare = jax.jit(lambda x, mirror: gen.apply(variables, x, bits, 6, mirror, method="compared"))
        # Of the images themselves, and of the pixels of the first convolution, which is symmetric in no way.
        np.testing.assert_allclose(compare(a[:, :, ::-1], True)[0], compare(a, False)[0], atol=1e-5)
