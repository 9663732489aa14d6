"""Every penalty against closed forms for critics whose gradient is known, in float64."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import float32

from gan_jax import penalties
from gan_jax.models import layers
from gan_jax.penalties import dragan, r1, r2, wgan_gp, wgan_lp, zero_centred

RNG = np.random.default_rng(0)
SHAPE = (5, 3, 4, 2)
REAL, FAKE = (RNG.normal(mean, 1, SHAPE) for mean in (0.3, -0.2))
KEY = jax.random.key(7)
ALL = [r1, r2, wgan_gp, wgan_lp, dragan, zero_centred]
every = pytest.mark.parametrize("penalty", ALL, ids=lambda fn: fn.__name__)
pytestmark = pytest.mark.usefixtures("x64")
EXACT = 1e-12  # some hundred roundings of 1e-16, and what optax.safe_norm leaves

# The penalty as a function of the rows' gradient norms, in float64.
OF_NORMS = {
    r1: lambda n: np.mean(n**2),
    r2: lambda n: np.mean(n**2),
    zero_centred: lambda n: np.mean(n**2),
    wgan_gp: lambda n: np.mean((n - 1) ** 2),
    dragan: lambda n: np.mean((n - 1) ** 2),
    wgan_lp: lambda n: np.mean(np.maximum(0, n - 1) ** 2),
}


def halved_square(x):
    """|x|^2 / 2 row by row: its gradient is x itself, so a penalty shows where it was taken."""
    return jnp.sum(x**2, axis=tuple(range(1, x.ndim))) / 2


def where(penalty, real, fake, key):
    """The points [b d] at which a penalty takes gradients, in float64: reproduced from the same key."""
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if penalty is r1:
        points = real
    elif penalty is r2:
        points = fake
    elif penalty is dragan:
        points = real + 0.5 * np.std(real) * np.asarray(jax.random.uniform(key, real.shape), np.float64)
    else:
        u = np.asarray(jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1))), np.float64)
        points = u * real + (1 - u) * fake
    return points.reshape(len(points), -1)


def test_the_table_is_complete():
    cheap = {penalties.r1_jvp, penalties.r2_jvp, penalties.r1_difference, penalties.r2_difference}
    assert {*ALL, *cheap, penalties.lazy, penalties.consistency} == {
        fn
        for name, fn in vars(penalties).items()
        if inspect.isfunction(fn) and fn.__module__ == penalties.__name__ and name[0] != "_"
    }


@every
@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_linear_critic(penalty, norm):
    # D(x) = <w, x>: the gradient is w wherever it is taken.
    w = RNG.normal(size=SHAPE[1:])
    w = jnp.float64(w * norm / np.linalg.norm(w))
    value = penalty(lambda x: jnp.einsum("bhwc,hwc->b", x, w), REAL, FAKE, KEY)
    assert value.shape == () and value.dtype == jnp.float64
    np.testing.assert_allclose(value, OF_NORMS[penalty](np.full(5, norm)), rtol=EXACT, atol=EXACT)


@every
def test_in_float32(penalty):
    """The type is the images'; the numbers those of float64, but for what another type draws."""
    real, fake, w = (jnp.float32(x) for x in (REAL, FAKE, RNG.normal(size=SHAPE[1:])))
    value = penalty(lambda x: jnp.einsum("bhwc,hwc->b", x, w), real, fake, KEY)
    assert value.dtype == jnp.float32
    norm = np.linalg.norm(np.float64(w))  # of 24 entries; (norm - 1)^2 is not much smaller than norm^2
    np.testing.assert_allclose(value, OF_NORMS[penalty](np.full(5, norm)), rtol=0, atol=float32(60, size=norm**2))


@every
def test_quadratic_critic(penalty):
    # D(x) = x'Ax/2 + w'x with a symmetric A: the gradient is Ax + w.
    d = int(np.prod(SHAPE[1:]))
    a, w = RNG.normal(size=(d, d)), RNG.normal(size=d)
    a = (a + a.T) / d

    def critic(x):
        x = x.reshape(len(x), -1)
        return jnp.sum(x * (x @ jnp.float64(a)), axis=-1) / 2 + x @ jnp.float64(w)

    norms = np.linalg.norm(where(penalty, REAL, FAKE, KEY) @ a + w, axis=-1)
    np.testing.assert_allclose(penalty(critic, REAL, FAKE, KEY), OF_NORMS[penalty](norms), rtol=EXACT)
    np.testing.assert_allclose(
        jax.jit(penalty, static_argnums=0)(critic, REAL, FAKE, KEY), OF_NORMS[penalty](norms), rtol=EXACT
    )


@every
def test_the_gradient_is_taken_where_the_paper_says(penalty):
    norms = np.linalg.norm(where(penalty, REAL, FAKE, KEY), axis=-1)
    np.testing.assert_allclose(penalty(halved_square, REAL, FAKE, KEY), OF_NORMS[penalty](norms), rtol=EXACT)


@pytest.mark.parametrize("penalty", [wgan_gp, wgan_lp, zero_centred], ids=lambda fn: fn.__name__)
def test_interpolates_lie_on_the_segments(penalty):
    # One end of row i's segment is zero, and so are all other rows: the penalty shows how far along it row i was taken.
    # Nothing here knows how u is drawn.
    def share(i, scale_real, scale_fake, spread):
        row = np.zeros((6, 2, 4))
        row[i] = spread
        total = 6 * float(penalty(lambda x: 1e3 * halved_square(x), scale_real * row, scale_fake * row, KEY))
        rest = 5 if penalty is wgan_gp else 0  # the other rows' norm is 0, which costs (0 - 1)^2 each
        norm = np.sqrt(total) if penalty is zero_centred else 1 + np.sqrt(total - rest)
        return norm / np.linalg.norm(row) / 1e3

    one_entry, whole_row = np.eye(2, 4), np.ones((2, 4))
    u = np.array([share(i, 1, 0, one_entry) for i in range(6)])
    assert ((u > 0) & (u < 1)).all() and len(np.unique(u.round(6))) == 6  # one u a row
    np.testing.assert_allclose([share(i, 1, 0, whole_row) for i in range(6)], u, rtol=1e-9)  # and only one
    np.testing.assert_allclose(
        [share(i, 0, 1, one_entry) for i in range(6)], 1 - u, rtol=1e-9
    )  # the rest of the way is the fake's


def test_interpolation_is_uniform():
    ones, zeros = jnp.ones((1, 1)), jnp.zeros((1, 1))
    values = jax.vmap(lambda key: zero_centred(halved_square, ones, zeros, key))(jax.random.split(KEY, 4000))
    u = np.sqrt(np.asarray(values, np.float64))
    np.testing.assert_allclose(
        np.quantile(u, [0.05, 0.25, 0.5, 0.75, 0.95]), [0.05, 0.25, 0.5, 0.75, 0.95], atol=0.03
    )  # 4 standard errors


def test_dragan_perturbs_every_entry_by_up_to_half_a_standard_deviation():
    # D(x) = x_j^2 / 2 shows entry j of the point; entries of 2 and more are on the far side of the norm 1.
    real = RNG.uniform(2, 9, (1, 8))

    def shown(j):
        return 1 + np.sqrt(float(dragan(lambda x: x[:, j] ** 2 / 2, real, jnp.zeros((1, 8)), KEY)))

    u = np.array([shown(j) - real[0, j] for j in range(8)]) / (0.5 * real.std())
    assert ((u > 0) & (u < 1)).all() and len(np.unique(u.round(4))) == 8


def test_dragans_spread_is_the_whole_batchs():
    # Two constant rows: each row's own spread is 0, the batch's is 1.
    real = np.repeat(np.array([[2.0], [4.0]]), 3, axis=1)
    norms = np.linalg.norm(where(dragan, real, real, KEY), axis=-1)
    assert norms[0] > np.linalg.norm(real[0]) + 0.05
    np.testing.assert_allclose(dragan(halved_square, real, real, KEY), OF_NORMS[dragan](norms), rtol=EXACT)


@every
def test_the_key_is_all_there_is_to_chance(penalty):
    one, same, other = (float(penalty(halved_square, REAL, FAKE, jax.random.key(seed))) for seed in (1, 1, 2))
    assert one == same
    assert (one == other) == (penalty in (r1, r2))


@every
def test_patches(penalty):
    # Logits [b h w], one <w, pixel> each: the gradient of their sum is w at every pixel.
    w = jnp.float64([0.5, -2.0])
    norm = float(np.sqrt(3 * 4 * (0.25 + 4)))
    value = penalty(lambda x: jnp.einsum("bhwc,c->bhw", x, w), REAL, FAKE, KEY)
    np.testing.assert_allclose(value, OF_NORMS[penalty](np.full(5, norm)), rtol=EXACT)


@every
def test_finite_at_a_critic_of_zeros(penalty):
    # The norm's square root has no derivative at 0, and a fresh output layer may be zeros.
    value, slope = jax.value_and_grad(lambda w: penalty(lambda x: jnp.einsum("bhwc,hwc->b", x, w), REAL, FAKE, KEY))(
        jnp.zeros(SHAPE[1:])
    )
    np.testing.assert_allclose(value, OF_NORMS[penalty](np.zeros(5)), atol=1e-20)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize(
    ("penalty", "weight_slope"),
    [(r1, 2.0), (r2, 2.0), (zero_centred, 2.0), (wgan_gp, 4 / 3), (wgan_lp, 4 / 3), (dragan, 4 / 3)],
)
def test_gradient_for_the_critics_parameters(penalty, weight_slope):
    # For |w| = 3: d|w|^2/dw = 2w, and d(|w| - 1)^2/dw = 2 (|w| - 1) w / |w| = (4/3) w. No 1/2, no weight.
    w = RNG.normal(size=SHAPE[1:])
    w = jnp.float64(3 * w / np.linalg.norm(w))
    slope = jax.grad(lambda w: penalty(lambda x: jnp.einsum("bhwc,hwc->b", x, w), REAL, FAKE, KEY))(w)
    np.testing.assert_allclose(slope, weight_slope * w, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("penalty", [wgan_gp, wgan_lp, zero_centred], ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("other", [(4, 3, 4, 2), (1, 3, 4, 2), (5, 3, 4, 1)], ids=str)  # two of them would broadcast
@pytest.mark.usefixtures("unchecked")
def test_unequal_shapes_are_named(penalty, other):
    with pytest.raises(ValueError, match=r"real is \(5, 3, 4, 2\) and fake \({}, {}, {}, {}\)".format(*other)):
        penalty(halved_square, REAL, np.zeros(other), KEY)


@pytest.mark.parametrize("penalty", [r1, r2, dragan], ids=lambda fn: fn.__name__)
@pytest.mark.usefixtures("unchecked")
def test_the_other_side_is_not_looked_at(penalty):
    nothing = np.full((1, 1), np.nan)
    real, fake = (nothing, FAKE) if penalty is r2 else (REAL, nothing)
    assert np.isfinite(penalty(halved_square, real, fake, KEY))


class Critic(nn.Module):
    conv: type

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(self.conv(4, (4, 4), (2, 2), name="one", param_dtype=jnp.float64)(x))
        x = nn.tanh(self.conv(3, (3, 3), name="two", param_dtype=jnp.float64)(x))
        return nn.Dense(1, param_dtype=jnp.float64)(x.reshape(len(x), -1))[:, 0]


@every
def test_second_derivative_through_a_convolution(penalty):
    def through(conv):
        critic = Critic(conv)
        params = critic.init(jax.random.key(0), REAL)
        return jax.jit(jax.value_and_grad(lambda params: penalty(lambda x: critic.apply(params, x), REAL, FAKE, KEY)))(
            params
        )

    (value, slope), (flax_value, flax_slope) = through(layers.Conv), through(nn.Conv)
    np.testing.assert_allclose(value, flax_value, rtol=EXACT)
    for path, leaf in jax.tree.leaves_with_path(slope):
        other = dict(jax.tree.leaves_with_path(flax_slope))[path]
        np.testing.assert_allclose(
            leaf, other, rtol=0, atol=1e-11 * np.abs(other).max() + 1e-14, err_msg=jax.tree_util.keystr(path)
        )


# ---- cheaper ones: `lazy` is in test_controls.py

W = RNG.normal(size=SHAPE[1:])
D_SIZE = int(np.prod(SHAPE[1:]))
QUADRATIC = RNG.normal(size=(D_SIZE, D_SIZE))
QUADRATIC = (QUADRATIC + QUADRATIC.T) / D_SIZE
ALONG = {"r1": penalties.r1_jvp, "r2": penalties.r2_jvp}
APART = {"r1": penalties.r1_difference, "r2": penalties.r2_difference}


def bent(x, rows=None):
    """A critic that is x'Ax/2 + <w, x>."""
    flat = x.reshape(len(x), -1)
    return jnp.sum(flat * (flat @ jnp.float64(QUADRATIC)), -1) / 2 + flat @ jnp.float64(W.ravel())


def many(penalty, count=4_000, critic=bent):
    """Values for as many keys."""
    keys = jax.random.split(KEY, count)
    return np.asarray(jax.jit(jax.vmap(lambda key: penalty(critic, REAL, FAKE, key)))(keys))


def norms_at(x):
    return (
        x.reshape(len(x), -1) @ QUADRATIC + W.ravel(),
        np.linalg.norm(x.reshape(len(x), -1) @ QUADRATIC + W.ravel(), axis=1),
    )


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("on", ["r1", "r2"])
def test_along_directions_the_mean_is_the_exact_penalty(on, signs):
    """And the variance 2 |g|^4, or with signs 2 (|g|^4 - sum g_i^4), of the mean of five independent rows."""
    values = many(ALONG[on](signs=signs))
    slopes, norms = norms_at(REAL if on == "r1" else FAKE)
    fourth = norms**4 - ((slopes**4).sum(1) if signs else 0)
    spread = np.sqrt(2 * fourth.sum()) / 5
    assert abs(values.mean() - (norms**2).mean()) < 4 * spread / np.sqrt(len(values))
    assert values.std() == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(("std", "central"), [(0.01, False), (0.5, False), (0.5, True)])
def test_the_bias_of_a_difference(std, central):
    """|g|^2 + s^2 / 4 (tr(A)^2 + 2 |A|^2) on a quadratic critic, and without the second term where it is central."""
    values = many(penalties.r1_difference(std=std, central=central))
    bias = std**2 / 4 * (np.trace(QUADRATIC) ** 2 + 2 * (QUADRATIC**2).sum()) * (not central)
    expected = (norms_at(REAL)[1] ** 2).mean() + bias
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("make", [*ALONG.values(), *APART.values()], ids=lambda fn: fn.__name__)
def test_a_share_of_the_rows(make):
    """Every second row, which the critic is told of; a share that is no 1 / k is refused."""
    seen = []

    def critic(x, rows=slice(None)):
        seen.append(rows)
        return jnp.einsum("bhwc,hwc->b", x, jnp.float64(W)) * jnp.arange(1.0, 6)[rows]

    x = np.zeros(SHAPE)
    keys = jax.random.split(KEY, 4_000)
    values = np.asarray(jax.vmap(lambda key: make(share=0.5)(critic, x, x, key))(keys))
    expected = (W**2).sum() * np.mean([1, 9, 25])
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(4_000)
    assert {rows.step for rows in seen} == {2}
    with pytest.raises(ValueError, match="1, 1/2, 1/3, 1/4, ...; got 0.4"):
        make(share=0.4)


def test_it_is_the_jacobian_vector_product():
    """That of forward mode, also of patches, and of gan_jax's convolutions, which have no forward mode on the CPU."""
    direction = jnp.float64(RNG.normal(size=SHAPE))
    slope = penalties._slope(bent, jnp.float64(REAL), direction)
    np.testing.assert_allclose(slope, jax.jvp(bent, (jnp.float64(REAL),), (direction,))[1], rtol=EXACT)
    patches = penalties._slope(lambda x: jnp.einsum("bhwc->bhw", x**2), jnp.float64(REAL), direction)
    np.testing.assert_allclose(patches, (2 * REAL * np.asarray(direction)).sum((1, 2, 3)), rtol=EXACT)
    conv = layers.Conv(3, (3, 3), (2, 2))
    variables = conv.init(KEY, jnp.float64(REAL))

    def critic(x):
        return nn.relu(conv.apply(variables, x)).sum((1, 2, 3))

    found = penalties._slope(critic, jnp.float64(REAL), direction)
    exact = (jax.grad(lambda x: critic(x).sum())(jnp.float64(REAL)) * direction).sum((1, 2, 3))
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_steps_of_a_difference_are_positive():
    with pytest.raises(ValueError, match="more than 0; got 0"):
        penalties.r1_difference(std=0.0)


@pytest.mark.parametrize("fakes", [False, True])
def test_consistency(fakes):
    """E (D(x) - D(Tx))^2 with T = x + u: of a linear critic (u sum w)^2; 0 where T does nothing."""
    penalty = penalties.consistency(lambda x, key, p: x + 0.25 * p, fakes=fakes)
    critic = lambda x: jnp.einsum("bhwc,hwc->b", x, jnp.float64(W))  # noqa: E731
    expected = (0.25 * W.sum()) ** 2 * (2 if fakes else 1)
    np.testing.assert_allclose(penalty(critic, REAL, FAKE, KEY), expected, rtol=EXACT)
    still = penalties.consistency(lambda x, key, p: x, fakes=fakes)
    assert float(still(critic, REAL, FAKE, KEY)) == 0 and penalty.__name__ == ("bcr" if fakes else "cr")
