"""Few labels: the losses in closed form, weights whose scale is measured, the average, and the choice of labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin

from gan_jax import data, game
from gan_jax.data import subsets
from gan_jax.games.semisupervised import labelled, semisupervised, unlabelled
from gan_jax.models import weight_normed
from gan_jax.types import UserError

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


# ---- losses


def test_at_logits_of_zero():
    zeros, label = jnp.zeros((4, 10)), jnp.arange(4)
    assert float(labelled(zeros, label)) == pytest.approx(np.log(10))
    assert float(unlabelled(zeros, zeros)) == pytest.approx(1.246603, abs=1e-6)


def test_it_is_a_softmax_of_one_more_class():
    """Whose logit is 0: -log of the probability of being real, and of being fake, and of the class among the real."""
    real, fake = jnp.float32(RNG.normal(size=(2, 6, 4)))
    label = jnp.arange(6) % 4
    with_one = [np.asarray(jax.nn.softmax(jnp.concatenate([x, jnp.zeros((6, 1))], 1), 1)) for x in (real, fake)]
    expected = -(np.log(1 - with_one[0][:, -1]).mean() + np.log(with_one[1][:, -1]).mean()) / 2
    assert float(unlabelled(real, fake)) == pytest.approx(expected, rel=1e-5)
    right = with_one[0][np.arange(6), label] / (1 - with_one[0][:, -1])
    assert float(labelled(real, label)) == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert float(labelled(real + 3, label)) == pytest.approx(float(labelled(real, label)), rel=1e-4)
    assert float(unlabelled(real + 3, fake)) < float(unlabelled(real, fake)) - 0.1


@pytest.mark.parametrize("size", [50.0, 300.0])
def test_large_logits_are_finite(size):
    real, fake = jnp.full((2, 3), size), jnp.full((2, 3), -size)
    values = [unlabelled(real, fake), unlabelled(fake, real), labelled(fake, jnp.zeros(2, jnp.int32))]
    assert np.isfinite(values).all() and float(values[1]) == pytest.approx(size, rel=0.03)


# ---- networks


def test_measured_layers_have_mean_zero_and_variance_one():
    layer = weight_normed.WeightNormDense(5)
    x = jnp.float32(RNG.normal(3, 2, (500, 7)))
    variables = layer.init(KEY, x)
    kernel = np.asarray(variables["params"]["kernel"])
    plain = np.asarray(x) @ (kernel / np.linalg.norm(kernel, axis=0))
    np.testing.assert_allclose(layer.apply(variables, x), plain, rtol=1e-4, atol=1e-4)
    y, held = layer.apply(variables, x, measure=True, mutable=["buffers"])
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-4)
    scaled = {"params": {**variables["params"], "kernel": variables["params"]["kernel"] * 9}, **held}
    np.testing.assert_allclose(layer.apply(scaled, x), y, atol=1e-4)  # the length of weights does not matter


def test_noise_is_of_training_alone():
    net = weight_normed.Classifier(widths=(16, 8))
    x = jnp.float32(RNG.uniform(-1, 1, (4, 6, 6, 1)))
    variables = net.init(KEY, x, train=False)
    one, two = (net.apply(variables, x, train=True, rngs={"dropout": jax.random.key(i)})[0] for i in (1, 2))
    still = net.apply(variables, x, train=False)
    assert np.abs(one - two).max() > 0.1 and still[0].shape == (4, 10) and still[1].shape == (4, 8)
    quiet = weight_normed.Classifier(widths=(16, 8), noise=(0.0, 0.0))
    np.testing.assert_allclose(quiet.apply(variables, x, train=True, rngs={"dropout": KEY})[0], still[0], rtol=1e-5)


def test_images_are_made_in_their_range():
    gen = weight_normed.Generator((3, 4, 1), widths=(8, 8))
    z = jnp.float32(RNG.uniform(size=(20, 5)))
    variables = gen.init(KEY, z, train=False)
    params = {**variables["params"], "scale": variables["params"]["scale"] * 50}
    x = gen.apply({**variables, "params": params}, z, train=False)
    assert x.shape == (20, 3, 4, 1) and -1 <= float(x.min()) < -0.9 and 0.9 < float(x.max()) <= 1


# ---- the game

CLASSES = 3
BATCH = {
    "image": jnp.float32(RNG.uniform(-1, 1, (12, 4, 4, 1))),
    "image_label": jnp.zeros(12, jnp.int32),
    "labelled": jnp.float32(RNG.uniform(-1, 1, (12, 4, 4, 1))),
    "labelled_label": jnp.arange(12) % CLASSES,
}


def small(**how):
    gen = weight_normed.Generator((4, 4, 1), widths=(8,))
    return semisupervised(gen, weight_normed.Classifier(CLASSES, widths=(16, 8)), z_dim=5, **how)


def test_the_first_batch_measures_and_no_other():
    g, tx = small(), optax.sgd(0.05)
    state = begin(g, tx, tx, KEY, BATCH)
    update = game.make_update(g, tx, tx)
    first, _ = update(state, BATCH, KEY)
    held = jax.tree.map(np.asarray, first.disc.stats)
    assert all(np.abs(np.asarray(x) - 1).max() > 0.01 for x in [held["buffers"]["WeightNormDense_0"]["scale"]])
    second, _ = update(first, {**BATCH, "image": -BATCH["image"]}, KEY)
    jax.tree.map(np.testing.assert_array_equal, held, second.disc.stats)


def test_a_measured_d_is_not_measured_again():
    """As at the start from another run's weights, whose constants belong to them."""
    g, tx = small(), optax.sgd(0.0)
    state = begin(g, tx, tx, KEY, BATCH)
    held = jax.tree.map(lambda x: x + 0.25, state.disc.stats)
    state = state.replace(disc=state.disc.replace(stats=held))
    after, _ = game.make_update(g, tx, tx)(jax.tree.map(jnp.copy, state), BATCH, KEY)
    jax.tree.map(np.testing.assert_array_equal, held, after.disc.stats)


def test_the_average_is_the_mean_with_falling_weights():
    """Of D's parameters before each round, without the zeros that it started from; classes are given by it."""
    g, tx, rate = small(average=0.3), optax.sgd(0.5), 0.3
    state = begin(g, tx, tx, KEY, BATCH)
    update, path = game.make_update(g, tx, tx), []
    for _ in range(4):
        path.append(np.asarray(state.disc.params["WeightNormDense_1"]["kernel"]))
        state, metrics = update(state, BATCH, KEY)
    weights = np.array([rate * (1 - rate) ** (3 - i) for i in range(4)])
    expected = sum(w * p for w, p in zip(weights / weights.sum(), path, strict=True))
    found = state.aux["average"]["WeightNormDense_1"]["kernel"] / state.aux["share"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert float(state.aux["share"]) == pytest.approx(1 - 0.7**4) and np.isfinite(list(metrics.values())).all()
    logits = g.views["classes"](state, BATCH["image"])
    params = jax.tree.map(lambda a: a / state.aux["share"], state.aux["average"])
    direct = weight_normed.Classifier(CLASSES, widths=(16, 8)).apply(
        {"params": params, **state.disc.stats}, BATCH["image"], train=False
    )
    np.testing.assert_array_equal(logits, direct[0])


def test_it_learns_the_labels():
    g, tx = small(average=0.1), optax.adam(3e-3, b1=0.5)
    state = begin(g, tx, tx, KEY, BATCH)
    update = game.make_update(g, tx, tx)
    for _ in range(300):
        state, _ = update(state, BATCH, KEY)
    found = np.asarray(g.views["classes"](state, BATCH["labelled"])).argmax(1)
    assert (found == np.asarray(BATCH["labelled_label"])).mean() > 0.9


# ---- the choice of labels


def test_balanced_choices():
    digits = data.load("digits")
    few = subsets.balanced(digits, 50, 3)
    assert len(few.images) == 50 and (np.bincount(few.labels) == 5).all() and few.facts["classes"]["7"] == 5
    again, other = subsets.balanced(digits, 50, 3), subsets.balanced(digits, 50, 4)
    assert few.digest == again.digest != other.digest
    tiled = subsets.balanced(digits, 50, 3, at_least=120)
    assert len(tiled.images) == 150
    np.testing.assert_array_equal(tiled.images[50:100], few.images)
    # More labels are the same ones and others.
    more = subsets.balanced(digits, 100, 3)
    assert {x.tobytes() for x in few.images} < {x.tobytes() for x in more.images}


def test_some_and_the_others():
    digits = data.load("digits")
    few, others = subsets.some(digits, 100), subsets.some(digits, 100, left_out=True)
    assert len(few.images) == len(others.images) == 100 and few.classes == 10
    assert len(subsets.some(digits, 1_700, left_out=True).images) == 97
    rows = {tuple(x.ravel()) for x in few.images}
    assert sum(tuple(x.ravel()) in rows for x in others.images) <= 1  # a digit that is in the set twice


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: subsets.balanced(x, 55), "55 labels of digits: it has 10 classes, and takes as many of each: 60"),
        (lambda x: subsets.balanced(x, 5), "takes as many of each: 10"),
        (lambda x: subsets.balanced(x, 5_000), "500 images of each class of digits: 0, 1, 2, 3, 4, 5, 6, 7 has fewer"),
        (lambda x: subsets.balanced(x._replace(labels=None), 10), "no labels to choose from"),
        (lambda x: subsets.some(x, 2_000), "2000 images of digits: it has 1797"),
    ],
)
def test_choices_that_cannot_be(call, words):
    with pytest.raises(UserError, match=words):
        call(data.load("digits"))
