"""Networks and games of clips: published counts, what stands still and what moves, and losses in closed form."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from experiments import mocogan_shapes
from gan_jax import losses
from gan_jax.commands import sample
from gan_jax.data import clips
from gan_jax.data.moving import moving
from gan_jax.evaluation import moving as measured
from gan_jax.game import Average, Player, State
from gan_jax.games.motion import motion
from gan_jax.models import mocogan, vgan
from gan_jax.types import UserError
from gan_jax.workdir.pictures import to_uint8

KEY = jax.random.key(0)


def count(module, *inputs):
    found = jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))
    return sum(x.size for x in jax.tree.leaves(found["params"]))


def test_published_counts():
    """Of the authors' code; PyTorch's GRU has the biases of its gates twice, so that G has 20 numbers less."""
    noise = jnp.zeros((1, 50)), jnp.zeros((1, 17, 10)), jnp.zeros(1, int)
    clip = jnp.zeros((1, 16, 64, 64, 3))
    assert count(mocogan.Generator((16, 64, 64, 3), 64, 6), *noise) == 3_298_176 + 660 - 20
    assert count(mocogan.ImageDiscriminator(64), clip[:, 0]) == 663_296
    assert count(mocogan.VideoDiscriminator(64, 6), clip) == 11_253_504


def test_time_is_used_up():
    def shape(side, length):
        net = mocogan.VideoDiscriminator(4, 2)
        found, _ = jax.eval_shape(lambda: net.init_with_output(KEY, jnp.zeros((2, length, side, side, 3)), train=False))
        return found[0].shape, found[1].shape

    assert shape(64, 16) == ((2, 1), (2, 2)) and shape(32, 16) == ((2, 4), (2, 2)) and shape(32, 13) == ((2, 1), (2, 2))
    with pytest.raises(UserError, match="clips of 12 frames of 32 pixels: 13 or more are needed: --length 13"):
        mocogan.require_frames(12, 32)
    with pytest.raises(UserError, match="frames of 24 pixels: 16, 32, 64"):
        mocogan.halvings_of(24)
    with pytest.raises(UserError, match="clips of 15 frames of 32 pixels: 16 are needed"):
        vgan.require_frames(15, 32)


def test_the_path_is_that_of_a_gru():
    """n = tanh(W x + b + r (U h + c)), h' = (1 - u) n + u h, as in PyTorch, from motion[:, 0] on."""
    net = mocogan.Generator((3, 16, 16, 3), 4)
    content, noise = jnp.zeros((2, 5)), jax.random.normal(KEY, (2, 4, 3))
    params = net.init(KEY, content, noise, train=False)
    cell = jax.tree.map(np.asarray, params["params"]["GRUCell_0"])

    def through(name, x):
        return np.asarray(x) @ cell[name]["kernel"] + cell[name].get("bias", 0)

    h, found = noise[:, 0], []
    for t in range(3):
        x = noise[:, t + 1]
        r, u = (jax.nn.sigmoid(through(f"i{gate}", x) + through(f"h{gate}", h)) for gate in "rz")
        h = (1 - u) * jnp.tanh(through("in", x) + r * through("hn", h)) + u * h
        found.append(h)
    z = jnp.concatenate([jnp.zeros((6, 5)), jnp.stack(found, 1).reshape(6, 3)], 1)
    frames = mocogan.Frames(16, 3, 4).apply({name: x["Frames_0"] for name, x in params.items()}, z, train=False)
    np.testing.assert_allclose(
        net.apply(params, content, noise, train=False), frames.reshape(2, 3, 16, 16, 3), atol=1e-6
    )


def test_what_is_seen_stays_and_frames_hang_on_the_path_alone():
    frames = mocogan.Frames(16, 3, 4)
    z = jnp.repeat(jax.random.normal(KEY, (2, 1, 6)), 4, 1).reshape(8, 6)
    made = frames.apply(frames.init(KEY, z, train=False), z, train=False).reshape(2, 4, 16, 16, 3)
    np.testing.assert_allclose(made, jnp.broadcast_to(made[:, :1], made.shape), atol=1e-6)
    assert float(jnp.abs(made[0] - made[1]).max()) > 1e-4


def test_a_background_stands_still():
    net = vgan.Generator((8, 16, 16, 3), 4)
    z = jax.random.normal(KEY, (2, 6))
    params = net.init(KEY, z, train=False)
    made = net.apply(params, z, train=False)
    assert float(jnp.abs(made - made[:, :1]).max()) > 1e-4

    def closed(path, x):  # the mask's bias, the last of c + 1: m = 0
        moving = jax.tree_util.keystr(path).endswith("['bias']") and x.shape == (4,)
        return x.at[-1].set(-1e9) if moving else x

    still = net.apply(jax.tree_util.tree_map_with_path(closed, params), z, train=False)
    np.testing.assert_array_equal(still, jnp.broadcast_to(still[:, :1], still.shape))


class _Made(nn.Module):
    @nn.compact
    def __call__(self, content, motion, label=None, *, train):
        level = self.param("level", nn.initializers.constant(0.5), ())
        return level * jnp.ones((content.shape[0], 3, 2, 2, 1))


class _Means(nn.Module):
    """Judges a frame and a clip by its mean, and the class by twice that."""

    @nn.compact
    def __call__(self, clips, frames, *, train):
        a = self.param("a", nn.initializers.ones, ())
        clip, frame = clips.mean((1, 2, 3, 4)), frames.mean((1, 2, 3))
        return a * frame[:, None], a * clip[:, None], jnp.stack([jnp.zeros_like(clip), 2 * a * clip], 1)


@pytest.mark.parametrize("classes", [0, 2])
def test_the_game_in_closed_form(classes):
    game = motion(
        _Made(), _Means(), losses.non_saturating(), content=2, moving=2, length=3, classes=classes, weight=3.0
    )
    levels = np.float32([-0.5, 0.2, 0.9])  # of the frames
    batch = {
        "image": np.broadcast_to(levels[None, :, None, None, None], (4, 3, 2, 2, 1)),
        "label": np.int32([0, 1, 1, 0]),
    }
    gen, disc, aux = game.init(KEY, batch)
    sides = [Player(x["params"], {}, ()) for x in (gen, disc)]
    state = State(jnp.int32(0), *sides, Average(gen["params"], {}), aux)
    fake, _ = game.fakes(gen["params"], state, batch, KEY)
    softplus = jax.nn.softplus
    total, (_, _, metrics) = game.disc_loss(disc["params"], state, batch, KEY, fake)
    clip = softplus(-levels.mean()) + softplus(0.5)
    np.testing.assert_allclose(metrics["disc/clips"], clip, rtol=1e-6)
    means = [np.mean([softplus(-levels[i]) for i in rows]) + softplus(0.5) for rows in np.ndindex(3, 3, 3, 3)]
    assert np.abs(np.array(means) - metrics["disc/frames"]).min() < 1e-6  # of each clip one frame, whichever
    of_gen, (_, _, told) = game.gen_loss(gen["params"], state, batch, KEY, fake)
    np.testing.assert_allclose([told["gen/clips"], told["gen/frames"]], softplus(-0.5), rtol=1e-6)
    if classes:
        right = softplus(2 * levels.mean()), softplus(-2 * levels.mean())
        np.testing.assert_allclose(metrics["disc/classes"], np.mean(right), rtol=1e-6)
        np.testing.assert_allclose(total, metrics["disc/loss"] + 3 * np.mean(right), rtol=1e-6)
        np.testing.assert_allclose(of_gen - told["gen/loss"], 3 * (softplus(1.0) + softplus(-1.0)) / 2, rtol=1e-6)
    else:
        assert "disc/classes" not in metrics and float(total) == float(metrics["disc/loss"])
    drawn = {float(game.disc_loss(disc["params"], state, batch, jax.random.key(i), fake)[0]) for i in range(4)}
    assert len(drawn) > 1  # other frames in another step


def test_measures_of_clips_that_are_real_and_of_wrong_ones():
    learnt, test = moving(200, 10, 16, 0), moving(400, 10, 16, 1)
    evaluate = measured.measures(learnt, test, conditional=True)
    found = {key: record.value for key, record in evaluate.measure(lambda n: test.scaled()[:n]).items()}
    assert found["motion"] == found["objects"] == 1 and found["content"] == 0 and found["trajectories"] < 0.1
    answers = evaluate.measure(lambda n: test.scaled()[:n])["trajectories"].protocol["answers"]
    assert answers["real"] == pytest.approx(found["trajectories"], rel=1e-4)
    assert answers["real"] < 0.2 * min(answers[x] for x in ("frozen", "shuffled", "one class"))
    black = {key: record.value for key, record in evaluate.measure(lambda n: -np.ones((n, 10, 16, 16, 3))).items()}
    assert black["objects"] == 0 and np.isnan(black["content"]) and black["trajectories"] > 1


def test_clips_of_a_run_are_written_and_read_again(tmp_path, capsys):
    mocogan_shapes.main(
        mocogan_shapes.Config(
            workdir="run", steps=1, batch_size=8, width=2, size=16, length=10, sample_every=0, devices=1
        )
    )
    assert {path.suffix for path in (tmp_path / "run" / "samples").iterdir()} == {".gif", ".png"}
    sample.main(sample.Config(run="run", out="up", count=22, label="up"))
    assert len([*(tmp_path / "up" / "up").glob("*.gif")]) == 22
    sample.main(sample.Config(run="run", out="all.npz", count=30))
    drawn = gan_jax.load("run")
    assert drawn.draw(30).shape == (30, 10, 16, 16, 3)
    with np.load("all.npz") as held:
        np.testing.assert_array_equal(held["images"], to_uint8(drawn.draw(30)))
        assert held["labels"].tolist() == [0, 1] * 15
    with pytest.raises(UserError, match="every clip is of one brightness"):  # as they are after one step
        clips.load("all.npz", length=10, size=0)
