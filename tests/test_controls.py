"""What moves with D's logits: ADA's and APA's probability, LeCam's averages, as closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin

from gan_jax import game, losses, penalties
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.games.controls import ada, apa, deceived, lecam, weighted
from gan_jax.models import mlp
from gan_jax.types import UserError

KEY = jax.random.key(0)


def follow(control, logits):
    """aux after each step of D with these mean logits of real images, in pairs with those of fakes."""
    aux, path = control.init(), []
    for real, fake in logits:
        term, aux, told = control.step(aux, jnp.float32(real), jnp.float32(fake))
        path.append((float(term), aux, told))
    return path


def test_drift_is_the_mean_square_of_real_logits():
    ((term, aux, told),) = follow(controls.drift(), [([1.0, -3.0], [7.0, 7.0])])
    assert term == told["disc/drift"] == 5 and aux == {}


@pytest.mark.parametrize(("signs", "kind"), [(False, "ada"), (False, "diffaugment"), (True, "ada")])
def test_ada_needs_logits_whose_signs_mean_something(signs, kind):
    if kind == "ada" and not signs:
        with pytest.raises(UserError, match="take --augment diffaugment"):
            controls.augmented(kind, 8, mirror=False, signs=signs)
    else:
        assert "augment" in controls.augmented(kind, 8, mirror=False, signs=signs)


@pytest.mark.parametrize("make", [ada, apa])
def test_p_moves_by_what_it_should(make):
    """Up where the mean sign is above .6, every four steps by 4 x 64 / 500,000; not below 0."""
    name = {ada: "p", apa: "deceive"}[make]
    sure, unsure = (np.full(64, 2.0), np.zeros(64)), (np.r_[np.full(48, 3.0), np.full(16, -1.0)], np.zeros(64))
    path = follow(make(64), [sure] * 8 + [unsure] * 4)
    p = [float(aux[name]) for _, aux, _ in path]
    step = 4 * 64 / 500_000
    np.testing.assert_allclose(p, [0] * 3 + [step] * 4 + [2 * step] * 4 + [step], rtol=1e-6)
    assert float(path[-1][2][f"augment/{name}_r"]) == 0.5 and float(path[7][2][f"augment/{name}_r"]) == 1
    down = follow(make(64), [unsure] * 8)
    assert float(down[-1][1][name]) == 0
    up = follow(make(64, images=1_000, most=0.3), [sure] * 8)
    assert float(up[-1][1][name]) == pytest.approx(0.3)


def test_after_100_000_images_p_is_at_most_a_fifth():
    steps = 100_000 // 64
    aux, control = ada(64).init(), ada(64)

    def one(aux, _):
        return control.step(aux, jnp.ones(64), jnp.zeros(64))[1], None

    aux, _ = jax.lax.scan(one, aux, None, length=steps)
    assert float(aux["p"]) == pytest.approx(0.2, rel=2e-3)


def test_lecam_of_constants():
    """0 in the first step, then 2 (a - b)^2: the averages of constants are these, however many there were."""
    a, b = np.full(8, 1.5), np.full(8, -0.5)
    terms = [term for term, _, _ in follow(lecam(decay=0.9), [(a, b)] * 4)]
    np.testing.assert_allclose(terms, [0, 8, 8, 8], rtol=1e-6)
    assert [term for term, _, _ in follow(weighted(0.5, lecam()), [(a, b)] * 2)][1] == pytest.approx(4)
    # Logits on the other side of the averages cost nothing: the ReLU that the formula of the paper leaves out.
    assert follow(lecam(), [(a, b), (b - 1, a + 1)])[1][0] == 0


def test_lecams_averages_are_of_earlier_steps():
    path = follow(lecam(decay=0.9), [([1.0], [0.0]), ([3.0], [0.0]), ([0.0], [0.0])])
    real, _, share = path[-1][1]["lecam"]
    assert float(share) == pytest.approx(1 - 0.9**3)
    assert float(real) == pytest.approx(0.1 * (0.81 * 1 + 0.9 * 3))


@pytest.mark.parametrize("rows", [1, 6, 7])
def test_who_is_deceived(rows):
    real, fake = jnp.zeros((rows, 2)), jnp.arange(1.0, rows + 1)[:, None] * jnp.ones((1, 2))
    np.testing.assert_array_equal(deceived(real, fake, KEY, jnp.float32(0)), real)
    shown = np.asarray(deceived(real, fake, KEY, 1.0))[:, 0]
    expected = [i + 2 if i % 2 == 0 else i for i in range(rows // 2 * 2)] + [rows] * (rows % 2)
    np.testing.assert_array_equal(shown, expected)  # of its neighbour


class _Value(nn.Module):
    """A logit that is the mean pixel, times a parameter."""

    @nn.compact
    def __call__(self, x, label=None, *, train):
        return self.param("scale", nn.initializers.ones, ()) * x.reshape(x.shape[0], -1).mean(1)


IMAGES = {"image": jnp.full((8, 4, 4, 1), 0.9)}


def play(steps=1, **how):
    g = adversarial(mlp.Generator((4, 4, 1), (4,)), _Value(), losses.non_saturating(), z_dim=4, **how)
    tx = optax.sgd(0.1)
    state = begin(g, tx, tx, KEY, IMAGES)
    update = game.make_update(g, tx, tx)
    for _ in range(steps):
        state, metrics = update(state, IMAGES, KEY)
    return state, metrics


def test_at_probability_zero_the_game_is_the_plain_one():
    """Bit for bit, in its first round: APA has not begun, and LeCam has no averages yet."""
    plain, told = play()
    for control in (apa(8), weighted(0.3, lecam())):
        state, metrics = play(controls=[control])
        jax.tree.map(np.testing.assert_array_equal, (plain.gen, plain.disc), (state.gen, state.disc))
        assert {*metrics} > {*told}


def test_a_state_that_is_not_compiled_can_be_donated():
    """Each value of aux is an array of its own; and what is compared with fakes are the real images, not the deceived."""
    g = adversarial(
        mlp.Generator((4, 4, 1), (4,)), _Value(), losses.non_saturating(), z_dim=4,
        controls=[ada(8), apa(8), lecam()], penalties=[(1.0, penalties.lazy(penalties.r1, 2))],
    )  # fmt: skip
    tx, rng = optax.sgd(0.1), np.random.default_rng(0)
    images = {"image": jnp.float32(rng.normal(size=(8, 4, 4, 1)))}
    state = game.init(g, tx, tx, KEY, images)
    assert all(x.dtype in (jnp.float32, jnp.int32) for x in state.aux.values())
    _, told = game.make_update(g, tx, tx)(state, images, KEY)
    state = game.init(g, tx, tx, KEY, images)
    state.aux["deceive"] = jnp.float32(1)
    _, deceived_all = game.make_update(g, tx, tx)(state, images, KEY)
    assert float(told["monitor/gen/diversity"]) == pytest.approx(float(deceived_all["monitor/gen/diversity"]))


def test_a_game_adapts():
    """D's logits of real images are positive: p rises, and images are changed more and more."""
    state, metrics = play(12, controls=[ada(8, images=100)], augment=lambda x, key, p: x + p)
    assert float(state.aux["p"]) == pytest.approx(3 * 4 * 8 / 100) == float(metrics["augment/p"])


def test_a_term_of_the_logits_is_in_the_gradient():
    """Of D's loss with LeCam: that of the loss and of the term, of the averages of the first round."""
    g = adversarial(
        mlp.Generator((4, 4, 1), (4,)), _Value(), losses.wasserstein(), z_dim=4, controls=[weighted(0.5, lecam())]
    )
    state = begin(g, optax.sgd(0.0), optax.sgd(0.0), KEY, IMAGES)
    fake = jnp.full((8, 4, 4, 1), 0.2)
    state = state.replace(aux={"lecam": jnp.float32([0.05, 0.03, 0.1])})  # averages .5 of real, .3 of fake
    slope = jax.grad(lambda params: g.disc_loss(params, state, IMAGES, KEY, fake)[0])(state.disc.params)["scale"]
    # loss .2 s - .9 s; term (.9 s - .3)^2 + (.5 - .2 s)^2 at s = 1
    assert float(slope) == pytest.approx(-0.7 + 0.5 * (2 * 0.6 * 0.9 - 2 * 0.3 * 0.2), rel=1e-5)


@pytest.mark.parametrize("every", [1, 3])
def test_lazy_penalties(every):
    """Computed in rounds 0, k, 2k, times k; the log keeps the last value."""
    computed = []

    def penalty(critic, real, fake, key):
        jax.debug.callback(lambda: computed.append(1))
        return jnp.mean(critic(real)) ** 2

    g = adversarial(
        mlp.Generator((4, 4, 1), (4,)), _Value(), losses.wasserstein(), z_dim=4,
        penalties=[(2.0, penalties.lazy(penalty, every))],
    )  # fmt: skip
    tx = optax.sgd(0.01)
    state = begin(g, tx, tx, KEY, IMAGES)
    update, scales, told = game.make_update(g, tx, tx), [1.0], []
    for _ in range(6):
        state, metrics = update(state, IMAGES, KEY)
        told.append(float(metrics["disc/penalty"]))
        scales.append(float(state.disc.params["scale"]))
    jax.effects_barrier()
    assert len(computed) == 6 // every
    np.testing.assert_allclose(told, [(0.9 * scales[i // every * every]) ** 2 for i in range(6)], rtol=1e-5)
    plain = [float(jnp.mean(x)) for x in scales]
    assert plain[1] != plain[2]
    with pytest.raises(ValueError, match="at least 1"):
        penalties.lazy(penalty, 0)


def test_the_flag():
    assert controls.augmented("none", 8, mirror=False) == {}
    assert {*controls.augmented("diffaugment", 8, mirror=False)} == {"augment"}
    assert {*controls.augmented("ada", 8, mirror=True)} == {"augment", "controls"}
    with pytest.raises(ValueError, match="none, diffaugment or ada"):
        controls.augmented("other", 8, mirror=False)
