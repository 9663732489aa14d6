"""Every loss against the papers' formulas, written with log and sigmoid in float64 NumPy."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import float32

from gan_jax import losses

RNG = np.random.default_rng(0)


def log_sigmoid(x):
    """log(1 / (1 + e^-x)) as the papers write it, and its asymptote where that overflows."""
    x = np.asarray(x, np.float64)
    return np.where(np.abs(x) < 30, np.log(1 / (1 + np.exp(-np.clip(x, -30, 30)))), np.minimum(x, 0))


def cross_entropy(t):
    """-E[t log D + (1 - t) log(1 - D)] over real - E log(1 - D) over fake, with 1 - sigmoid(x) = sigmoid(-x)."""
    return lambda a, b: -np.mean(t * log_sigmoid(a) + (1 - t) * log_sigmoid(-a)) - np.mean(log_sigmoid(-b))


def squares(t):
    return lambda a, b: np.mean((a - t) ** 2) / 2 + np.mean(b**2) / 2


def ra(a, b):
    return -np.mean(log_sigmoid(a - b.mean())) - np.mean(log_sigmoid(-(b - a.mean())))


def saturating(a, b):
    return np.mean(log_sigmoid(-b))


def non_saturating(a, b):
    return -np.mean(log_sigmoid(b))


def towards_one(a, b):
    return np.mean((b - 1) ** 2) / 2


def boundary(a, b):
    return np.mean((log_sigmoid(b) - log_sigmoid(-b)) ** 2) / 2


def critic(a, b):
    return -np.mean(b)


# name: (loss, D's formula, G's formula)
TABLE = {
    "minimax": (losses.minimax(), cross_entropy(1), saturating),
    "minimax_smoothed": (losses.minimax(real_label=0.9), cross_entropy(0.9), saturating),
    "non_saturating": (losses.non_saturating(), cross_entropy(1), non_saturating),
    "non_saturating_smoothed": (losses.non_saturating(real_label=0.9), cross_entropy(0.9), non_saturating),
    "least_squares": (losses.least_squares(), squares(1), towards_one),
    "least_squares_smoothed": (losses.least_squares(real_label=0.9), squares(0.9), towards_one),
    "hinge": (losses.hinge(), lambda a, b: -np.mean(np.minimum(0, -1 + a)) - np.mean(np.minimum(0, -1 - b)), critic),
    "wasserstein": (losses.wasserstein(), lambda a, b: -(np.mean(a) - np.mean(b)), critic),
    "relativistic_paired": (
        losses.relativistic_paired(),
        lambda a, b: -np.mean(log_sigmoid(a - b)),
        lambda a, b: -np.mean(log_sigmoid(b - a)),
    ),
    "relativistic_average": (losses.relativistic_average(), ra, lambda a, b: ra(b, a)),
    "boundary_seeking": (losses.boundary_seeking(), cross_entropy(1), boundary),
    "boundary_seeking_smoothed": (losses.boundary_seeking(real_label=0.9), cross_entropy(0.9), boundary),
}
RELATIVISTIC = ("relativistic_paired", "relativistic_average")
SMOOTHABLE = (losses.minimax, losses.non_saturating, losses.least_squares, losses.boundary_seeking)
every = pytest.mark.parametrize("name", TABLE)
sides = pytest.mark.parametrize("side", ["disc", "gen"])


def call(name, side):
    """The side's loss as a function of (real, fake), and its formula."""
    loss, disc, gen = TABLE[name]
    fn = getattr(loss, side)
    return lambda real, fake: fn(real=real, fake=fake), disc if side == "disc" else gen


def slopes(name, side, real, fake):
    return jax.grad(call(name, side)[0], argnums=(0, 1))(jnp.float32(real), jnp.float32(fake))


def test_the_table_is_complete():
    """Of losses of logits; feature_matching and top_k are in test_tricks.py."""
    factories = {
        name
        for name, fn in vars(losses).items()
        if inspect.isfunction(fn) and fn.__module__ == losses.__name__ and name[0] != "_"
    }
    assert factories == {name.removesuffix("_smoothed") for name in TABLE} | {"feature_matching", "top_k"}


@every
@sides
@pytest.mark.parametrize("shape", [(7,), (3, 2, 4)], ids=str)
def test_equals_the_formula(name, side, shape):
    fn, formula = call(name, side)
    real, fake = (RNG.normal(mean, 3, shape).astype(np.float32) for mean in (1, -0.5))
    value = fn(real, fake)
    assert value.shape == () and value.dtype == jnp.float32
    # 24 terms up to 10, each made by some eight operations.
    expected = formula(real.astype(np.float64), fake.astype(np.float64))
    np.testing.assert_allclose(value, expected, rtol=0, atol=float32(32, size=10))
    np.testing.assert_allclose(jax.jit(fn)(real, fake), expected, rtol=0, atol=float32(32, size=10))
    with jax.enable_x64(True):
        wide = fn(real.astype(np.float64), fake.astype(np.float64))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, expected, rtol=1e-13, atol=1e-13)


@every
@sides
def test_the_gradient_is_the_formulas(name, side):
    # Central differences of the formula, good to 1e-5^2 + 1e-16 / 1e-5; logits stay off the hinge's corners.
    _, formula = call(name, side)
    a, b = np.array([-1.7, 0.3, 2.2, 0.8]), np.array([0.4, -2.1, -0.6, 1.3])
    with jax.enable_x64(True):
        slope = jax.grad(call(name, side)[0], argnums=(0, 1))(a, b)
    for got, vary in zip(slope, ("a", "b"), strict=True):
        for i, e in enumerate(1e-5 * np.eye(4)):
            up, down = ((a + s * e, b) if vary == "a" else (a, b + s * e) for s in (1, -1))
            np.testing.assert_allclose(got[i], (formula(*up) - formula(*down)) / 2e-5, rtol=0, atol=1e-9)


# At a = b = c: name, c, D's loss, G's loss.
EQUILIBRIUM = [
    ("minimax", 0, 2 * np.log(2), -np.log(2)),
    ("non_saturating", 0, 2 * np.log(2), np.log(2)),
    ("least_squares", 0.5, 0.25, 0.125),
    ("hinge", 0, 2, 0),
    ("wasserstein", 0.7, 0, -0.7),
    ("relativistic_paired", 1.3, np.log(2), np.log(2)),
    ("relativistic_average", 1.3, 2 * np.log(2), 2 * np.log(2)),
    ("boundary_seeking", 0, 2 * np.log(2), 0),
]


@pytest.mark.parametrize(("name", "at", "disc", "gen"), EQUILIBRIUM, ids=[row[0] for row in EQUILIBRIUM])
def test_known_at_equilibrium(name, at, disc, gen):
    logits = jnp.full(5, at, jnp.float32)
    np.testing.assert_allclose(call(name, "disc")[0](logits, logits), disc, rtol=0, atol=float32(16, size=2))
    np.testing.assert_allclose(call(name, "gen")[0](logits, logits), gen, rtol=0, atol=float32(16, size=2))


@every
@sides
@pytest.mark.parametrize("a", [1e4, -1e4])
@pytest.mark.parametrize("b", [1e4, -1e4])
def test_extreme_logits(name, side, a, b):
    fn, formula = call(name, side)
    real, fake = np.full(4, a), np.full(4, b)
    np.testing.assert_allclose(
        fn(jnp.float32(real), jnp.float32(fake)), formula(real, fake), rtol=float32(16), atol=float32(16)
    )
    for slope in slopes(name, side, real, fake):
        assert np.isfinite(slope).all()


@every
@sides
def test_bfloat16_logits_are_computed_in_float32(name, side):
    fn, formula = call(name, side)
    # Their mean has 1/300 steps, bfloat16 near 2 has 1/64: an accumulation in bfloat16 would show.
    real, fake = (jnp.asarray(RNG.normal(mean, 2, 300), jnp.bfloat16) for mean in (2, -2))
    value = fn(real, fake)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(
        value, formula(np.asarray(real, np.float64), np.asarray(fake, np.float64)), rtol=0, atol=float32(310, size=10)
    )


@every
@sides
def test_keyword_only(name, side):
    fn = getattr(TABLE[name][0], side)
    with pytest.raises(TypeError, match="positional"):
        fn(jnp.zeros(3), jnp.zeros(3))


@every
def test_signs(name):
    # D: between the labels, real logits want up and fake ones down. Least squares has its labels at 0.9 and 0, the
    # smoothed sigmoids theirs at 2.2.
    inside = RNG.uniform(0.05, 0.85, 9)
    real, fake = slopes(name, "disc", inside, inside[::-1])
    assert np.mean(real) < 0 and (np.asarray(real) <= 0).all()
    assert np.mean(fake) > 0 and (np.asarray(fake) >= 0).all()
    # G: fake logits want up, if below the boundary that BGAN seeks.
    real, fake = slopes(name, "gen", inside, -inside)
    assert (np.asarray(fake) < 0).all()
    # Only the relativistic generator looks at real logits, and wants them down.
    assert (np.asarray(real) > 0).all() if name in RELATIVISTIC else (np.asarray(real) == 0).all()


@pytest.mark.parametrize("name", [name for name in TABLE if name != "relativistic_paired"])
def test_real_and_fake_may_differ_in_number(name):
    real, fake = RNG.normal(size=5).astype(np.float32), RNG.normal(size=8).astype(np.float32)
    for side in ("disc", "gen"):
        fn, formula = call(name, side)
        np.testing.assert_allclose(
            fn(real, fake), formula(real.astype(np.float64), fake.astype(np.float64)), rtol=0, atol=float32(24, size=4)
        )


@pytest.mark.parametrize("name", ["minimax", "wasserstein"])
def test_zero_sum(name):
    real, fake = RNG.normal(size=6), RNG.normal(size=6)
    np.testing.assert_allclose(
        slopes(name, "disc", real, fake)[1], -slopes(name, "gen", real, fake)[1], rtol=float32(16)
    )


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_relativistic_losses_see_differences_only(name):
    real, fake = RNG.normal(size=6).astype(np.float32), RNG.normal(size=6).astype(np.float32)
    for side in ("disc", "gen"):
        fn, _ = call(name, side)
        np.testing.assert_allclose(fn(real + 3, fake + 3), fn(real, fake), rtol=0, atol=float32(24, size=6))


def test_paired_is_by_row():
    fn, _ = call("relativistic_paired", "disc")
    real, fake = jnp.array([0.0, 4.0]), jnp.array([4.0, 0.0])
    assert fn(real, fake) > fn(real, fake[::-1]) + 1


@pytest.mark.parametrize(
    "name", ["minimax_smoothed", "non_saturating_smoothed", "boundary_seeking_smoothed", "least_squares_smoothed"]
)
def test_smoothing_moves_the_optimum_to_the_label(name):
    best = 0.9 if name.startswith("least_squares") else np.log(0.9 / 0.1)  # the logit itself, or where sigmoid is 0.9
    at, below, above = (slopes(name, "disc", [best + d], [0.0])[0][0] for d in (0, -0.1, 0.1))
    np.testing.assert_allclose(at, 0, atol=float32(16))
    assert below < -1e-3 and above > 1e-3


@pytest.mark.parametrize("factory", SMOOTHABLE)
def test_smoothing_leaves_the_generator_alone(factory):
    logits = RNG.normal(size=6).astype(np.float32)
    np.testing.assert_array_equal(
        factory().gen(real=logits, fake=logits), factory(real_label=0.9).gen(real=logits, fake=logits)
    )


def test_only_minimax_saturates():
    lost = -1e4 * np.ones(4)  # D is sure that these are fakes
    np.testing.assert_allclose(slopes("non_saturating", "gen", lost, lost)[1], -0.25, rtol=float32(16))
    np.testing.assert_array_equal(slopes("minimax", "gen", lost, lost)[1], 0)


@pytest.mark.parametrize("factory", SMOOTHABLE)
@pytest.mark.parametrize("label", [0.5, 0.0, -0.9, 1.1, float("nan")])
def test_a_bad_label_is_named(factory, label):
    with pytest.raises(ValueError, match=rf"real_label .* in \(0\.5, 1\]; got {label}"):
        factory(real_label=label)


@sides
def test_unequal_pairs_are_named(side):
    fn, _ = call("relativistic_paired", side)
    with pytest.raises(ValueError, match=r"real is \(4,\) and fake \(3,\)"):
        fn(jnp.zeros(4), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"real is \(4,\) and fake \(4, 1\)"):  # would broadcast to [4 4]
        fn(jnp.zeros(4), jnp.zeros((4, 1)))
