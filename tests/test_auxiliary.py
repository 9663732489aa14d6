"""The auxiliary classifier's game: its criteria in closed form, who learns from whom, and orthogonal regularisation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import RNG, begin

from gan_jax import losses, optim
from gan_jax.games.auxiliary import auxiliary, cross_entropy, data_to_data
from gan_jax.models import biggan, dcgan
from gan_jax.models.heads import Classes, Proxies

pytestmark = pytest.mark.usefixtures("x64")
N = 3


def unit(*shape):
    x = RNG.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_data_to_data_is_the_papers_sum():
    margin, temperature, label = 0.4, 0.5, np.array([0, 1, 0, 2, 2])
    f, v = unit(5, 4), unit(N, 4)
    terms = []
    for i in range(5):
        q = min(0.0, f[i] @ v[label[i]] - margin) / temperature
        negative = [max(0.0, f[i] @ f[j] - (1 - margin)) / temperature for j in range(5) if label[j] != label[i]]
        terms.append(-q + np.log(np.exp(q) + np.sum(np.exp(negative))))
    np.testing.assert_allclose(data_to_data(margin, temperature).loss((f, f @ v.T), label), np.mean(terms), rtol=1e-12)


def test_data_to_data_where_it_is_known():
    """One class in the batch: 0. Every row at its proxy and far from the K rows of other classes: ln(1 + K)."""
    f, v = unit(5, 4), unit(N, 4)
    np.testing.assert_allclose(data_to_data().loss((f, f @ v.T), np.zeros(5, int)), 0, atol=1e-12)
    v, label = np.eye(N), np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(data_to_data().loss((v[label], v[label] @ v.T), label), np.log(5), rtol=1e-12)
    slope = jax.grad(lambda f: data_to_data().loss((f, f @ v.T), label))(v[label])
    np.testing.assert_array_equal(slope, 0)  # what lies near enough, and far enough, is left alone


def test_heads():
    h = RNG.normal(size=(4, 6))
    (f, similar), variables = Proxies(N, 5, "float64").init_with_output(jax.random.key(0), h, False)
    np.testing.assert_allclose(jnp.linalg.norm(f, axis=1), 1, rtol=1e-9)
    table = variables["params"]["Embed_0"]["embedding"]
    np.testing.assert_allclose(similar, f @ (table / jnp.linalg.norm(table, axis=1, keepdims=True)).T, rtol=1e-6)
    # StudioGAN's ContraGAN has as many numbers on CIFAR-10: 192 features, 512 in the embedding.
    disc = biggan.Discriminator((192,) * 4, 2, attend=(0,), head=Proxies(10, 512))
    made = jax.eval_shape(lambda: disc.init(jax.random.key(0), jnp.zeros((2, 32, 32, 3)), train=False))
    assert sum(x.size for x in jax.tree.leaves(made["params"])) == 2_517_186


def play(criterion, head):
    gen, disc = biggan.Generator((4, 4, 1), (8, 8), N, 4), biggan.Discriminator((8,), 1, head=head)
    game = auxiliary(gen, disc, losses.hinge(), criterion, z_dim=4, weight=0.5)
    batch = {"image": jnp.float32(RNG.uniform(-1, 1, (6, 4, 4, 1))), "label": jnp.arange(6) % N}
    return game, batch, begin(game, optax.sgd(0.1), optax.sgd(0.1), jax.random.key(1), batch)


@pytest.mark.parametrize(("criterion", "head"), [(cross_entropy(), Classes(N)), (data_to_data(), Proxies(N, 5))])
def test_d_learns_classes_from_real_images_and_g_from_its_own(criterion, head):
    game, batch, state = play(criterion, head)
    key = jax.random.key(3)
    fake, _ = game.fakes(state.gen.params, state, batch, key)
    found = state.disc.params, state, batch, key, fake
    total, (stats, _, metrics) = game.disc_loss(*found)
    np.testing.assert_allclose(total, metrics["disc/loss"] + 0.5 * metrics["disc/classes"], rtol=1e-6)
    other = game.disc_loss(*found[:-1], fake + 0.5)[1][2]
    assert other["disc/classes"] == metrics["disc/classes"] and other["disc/loss"] != metrics["disc/loss"]
    told = game.gen_loss(state.gen.params, state, batch, key, fake)[1][2]
    swapped = batch | {"image": batch["image"] + 0.5}
    assert game.gen_loss(state.gen.params, state, swapped, key, fake)[1][2]["gen/classes"] == told["gen/classes"]
    assert told["gen/classes"] != metrics["disc/classes"]
    logits = game.views["classes"](state, batch["image"])
    assert logits.shape == (6, N)
    # One power step for both halves: as of one pass over all twelve images.
    both = jnp.stack([batch["image"], fake], 1).reshape(-1, 4, 4, 1)
    variables = {"params": state.disc.params, **state.disc.stats}
    _, expected = game_disc(head).apply(variables, both, train=True, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, stats, dict(expected))
    given = game.inputs(key, batch | {"z": jnp.ones((6, 4))})
    np.testing.assert_array_equal(given[0], 1)


def game_disc(head):
    return biggan.Discriminator((8,), 1, head=head)


def test_a_discriminator_with_batch_norm_is_refused():
    gen, disc = biggan.Generator((8, 8, 1), (8, 8), N, 4), dcgan.Discriminator(4)
    game = auxiliary(gen, disc, losses.hinge(), cross_entropy(), z_dim=4)
    with pytest.raises(ValueError, match="it must not couple rows, as batch norm does"):
        game.init(jax.random.key(0), {"image": jnp.zeros((6, 8, 8, 1)), "label": jnp.arange(6) % N})


def test_orthogonal_regularisation():
    """Against the gradient of its penalty, written out; orthogonal filters of any length feel nothing."""
    params = {
        "layer": {"kernel": RNG.normal(size=(3, 3, 2, 5)), "bias": RNG.normal(size=5)},
        "Embed_0": {"embedding": RNG.normal(size=(4, 6))},
    }

    def penalty(params):
        w = params["layer"]["kernel"].reshape(18, 5).T
        return 0.5 * jnp.sum((w @ w.T * (1 - jnp.eye(5))) ** 2)

    tx = optim.orthogonal_regularisation(0.01, ("Embed_0",))
    grads = jax.tree.map(lambda p: 1 + 0 * p, params)
    found = jax.tree.map(lambda g: g - 1, tx.update(grads, tx.init(params), params)[0])
    np.testing.assert_allclose(found["layer"]["kernel"], 0.01 * jax.grad(penalty)(params)["layer"]["kernel"], rtol=1e-9)
    assert not found["layer"]["bias"].any() and not found["Embed_0"]["embedding"].any()
    lengths = {"kernel": np.linalg.qr(RNG.normal(size=(6, 4)))[0] * np.array([1, 2, 3, 4.0])}
    np.testing.assert_allclose(
        tx.update({"kernel": np.zeros((6, 4))}, optax.EmptyState(), lengths)[0]["kernel"], 0, atol=1e-12
    )
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(grads, tx.init(params))
