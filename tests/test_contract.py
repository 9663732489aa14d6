"""The contract's rim: what a game gets wrong, what is averaged and what is copied, and the hook for augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparing import begin
from test_game import IMAGES, KEY, PLAIN, bilinear, play

from gan_jax import game, losses, penalties
from gan_jax.games.adversarial import adversarial
from gan_jax.models import mlp

# ---- what a game gets wrong


def broken(**change):
    """`bilinear` with a part replaced."""
    return bilinear()._replace(**change)


def _disc(result):
    return lambda params, state, batch, key: (
        -state.gen.params["x"] * params["y"],
        result(state),
    )


def _carrying(aux, change):
    """A game whose D changes aux so."""
    began = bilinear()
    return began._replace(
        init=lambda key, batch: (*began.init(key, batch)[:2], aux),
        disc_loss=_disc(lambda state: ({}, change(state.aux), {})),
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            broken(disc_loss=_disc(lambda state: (state.aux, {"p": state.step}, {}))),
            r"disc_loss: aux is not what it was: \['p'\] instead of nothing",
        ),
        (
            broken(gen_loss=lambda params, state, batch, key: (params["x"], ({"seen": state.step}, state.aux, {}))),
            r"gen_loss: its stats are not those of state.gen: \['seen'\] instead of nothing",
        ),
        (
            _carrying({"p": jnp.float32(0)}, lambda aux: {"p": jnp.int32(1)}),
            r"disc_loss: aux is not what it was: \['p'\] is int32\[\], and began as float32\[\]",
        ),
        (
            _carrying({"p": jnp.float32(0)}, lambda aux: {}),
            r"disc_loss: aux is not what it was: nothing instead of \['p'\]",
        ),
        (
            broken(disc_loss=_disc(lambda state: ({}, {}, {"disc/each": jnp.zeros(3)}))),
            r"metrics are scalars; disc/each of disc_loss has the shape \[3\]",
        ),
        (
            broken(
                disc_loss=_disc(lambda state: ({}, {}, {"loss": jnp.float32(0)})),
                gen_loss=lambda params, state, batch, key: (params["x"], ({}, {}, {"loss": jnp.float32(0)})),
            ),
            "both losses tell loss: one would hide the other",
        ),
        (broken(gen_loss=lambda params, state, batch, key: params["x"]), r"gen_loss must return \(loss, \(stats, aux,"),
        (
            broken(gen_loss=lambda params, state, batch, key: (params["x"] * jnp.ones(2), ({}, {}, {}))),
            r"the loss a scalar; its shape is \[2\]",
        ),
        (
            broken(init=lambda key, batch: ({"x": jnp.float32(0)}, {"params": {"y": jnp.float32(0)}}, {})),
            r'init must give linen variables, \{"params": ...\}, of each side; gen has \[\'x\'\]',
        ),
    ],
)
def test_what_a_game_gets_wrong_is_said_in_its_own_words(wrong, said):
    with pytest.raises(ValueError, match=said):
        play(wrong, optax.sgd(0.1), IMAGES)


def test_a_batch_has_as_many_rows_of_everything():
    with pytest.raises(ValueError, match="every array of a batch has as many rows; got image 16 and known 4 rows"):
        play(PLAIN, optax.sgd(0.1), IMAGES | {"known": jnp.zeros(4)})


# ---- the average


def test_whole_numbers_and_buffers_are_not_averaged():
    """A counter that is averaged would stand at a step that nobody has played."""

    def init(key, batch):
        stats = {"seen": {"steps": jnp.int32(0), "mean": jnp.float32(0)}, "buffers": {"last": jnp.float32(0)}}
        return {"params": {"x": jnp.float32(0.6)}, **stats}, {"params": {"y": jnp.float32(0.8)}}, {}

    def gen_loss(params, state, batch, key):
        now = state.step.astype(jnp.float32) + 1
        stats = {"seen": {"steps": state.gen.stats["seen"]["steps"] + 1, "mean": now}, "buffers": {"last": now}}
        return params["x"] * state.disc.params["y"], (stats, state.aux, {})

    state, _ = play(broken(init=init, gen_loss=gen_loss), optax.sgd(0.0), IMAGES, steps=3, ema_decay=0.5)
    ema = state.ema.stats
    assert int(ema["seen"]["steps"]) == 3 and float(ema["buffers"]["last"]) == 3
    assert float(ema["seen"]["mean"]) == 0.5 * 3 + 0.25 * 2 + 0.125 * 1


def test_no_memory_is_the_number_zero():
    assert game.half_life(0, 64) == 0.0 and callable(game.half_life(1, 64))


# ---- the hook for augmentation


def _brighter(images, key, p):
    return images + p * jax.random.uniform(key, (images.shape[0], 1, 1, 1))


@pytest.mark.parametrize("one_pass", [False, True])
def test_whatever_the_discriminator_is_shown_is_augmented(one_pass):
    """Real and fake in both losses, and what the penalties look at: with a constant 3 added D sees images of 3 more."""
    seen = []

    class Spy(mlp.Discriminator):
        def __call__(self, x, label=None, *, train):
            jax.debug.callback(lambda least: seen.append(float(least)), x.min())
            return super().__call__(x, label, train=train)

    g = adversarial(
        mlp.Generator((8, 8, 1), (4,)), Spy((4,)), losses.non_saturating(), z_dim=4, one_pass=one_pass,
        penalties=[(1.0, penalties.r1)], augment=lambda images, key, p: images + 3 * p,
    )  # fmt: skip
    state = begin(g, optax.sgd(0.1), optax.sgd(0.1), KEY, IMAGES)
    jax.effects_barrier()
    seen.clear()
    game.make_update(g, optax.sgd(0.1), optax.sgd(0.1))(state, IMAGES, KEY)
    jax.effects_barrier()
    assert len(seen) >= 3 and all(2 <= least < 4 for least in seen), seen


def test_an_augmentation_that_does_nothing_changes_nothing():
    options = {"z_dim": 4, "penalties": [(1.0, penalties.r1)]}
    nets = mlp.Generator((8, 8, 1), (4,)), mlp.Discriminator((4,)), losses.non_saturating()
    plain, same = (
        play(adversarial(*nets, **options, augment=augment), optax.sgd(0.1), IMAGES, steps=2)
        for augment in (None, lambda images, key, p: images)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, same)


def test_p_comes_from_a_controller_where_there_is_one():
    nets = mlp.Generator((8, 8, 1), (4,)), mlp.Discriminator((4,)), losses.non_saturating()
    g = adversarial(*nets, z_dim=4, augment=_brighter)
    quiet = g._replace(init=lambda key, batch: (*g.init(key, batch)[:2], {"p": jnp.float32(0)}))
    plain = adversarial(*nets, z_dim=4)
    tx = optax.sgd(0.1)
    loud, off, none = (play(one, tx, IMAGES)[1]["disc/loss"] for one in (g, quiet, plain))
    assert float(off) == float(none) != float(loud)
