"""Games that are no plain ones: what their losses are in closed form, and what a saved run of each can be asked."""

import dataclasses
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from equivalence import GAMES, bound, difference, play

import gan_jax
from experiments import cgan_mnist, cyclegan_digits, dcgan_digits, gan_ring, infogan_mnist, pacgan_mixtures
from gan_jax import data, game, losses, training
from gan_jax.games import cycle as cycles
from gan_jax.games.cycle import Pair, cycle
from gan_jax.games.info import info
from gan_jax.training.saving import Saver
from gan_jax.types import Evaluate, Record, UserError

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)


# ---- InfoGAN


class _Plain(nn.Module):
    """Its image is its code, and noise that a parameter scales."""

    @nn.compact
    def __call__(self, z, code, continuous, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * jnp.concatenate([jax.nn.one_hot(code, 4), continuous, z], 1)


class _Reader(nn.Module):
    """Reads the code where `sharp`, and else guesses; its logit is `bias`."""

    sharp: float

    @nn.compact
    def __call__(self, x, *, train):
        bias = self.param("bias", nn.initializers.zeros, ())
        return jnp.zeros(len(x)) + bias, self.sharp * x[:, :4], x[:, 4:6] * (self.sharp > 0)


@pytest.mark.parametrize(("sharp", "expected"), [(1e4, np.log(4)), (0.0, -1 / 3)])
def test_information_is_all_of_the_code_or_nothing(sharp, expected):
    """ln 4 where Q reads both; where it guesses the middle, minus half the variance of two uniform codes, 2 (1/3) / 2."""
    g = info(_Plain(), _Reader(sharp), losses.non_saturating(), z_dim=3, codes=4, continuous=2)
    batch = {"image": jnp.zeros((20_000, 9))}
    state = game.init(g, optax.sgd(0.0), optax.sgd(0.0), KEY, batch)
    _, metrics = game.make_update(g, optax.sgd(0.0), optax.sgd(0.0))(state, batch, KEY)
    for side in ("disc", "gen"):
        assert float(metrics[f"{side}/information"]) == pytest.approx(expected, abs=0.02)
    assert float(metrics["disc/loss"]) == pytest.approx(2 * np.log(2)) and float(metrics["gen/loss"]) == pytest.approx(
        np.log(2)
    )


def test_what_a_batch_says_of_codes_and_noise_is_taken():
    g = info(_Plain(), _Reader(1.0), losses.hinge(), z_dim=3, codes=4, continuous=2)
    drawn = g.inputs(KEY, {"image": jnp.zeros((6, 9))})
    assert [x.shape for x in drawn] == [(6, 3), (6,), (6, 2)] and drawn[1].dtype == jnp.int32
    code, z = jnp.arange(6) % 4, jnp.ones((6, 3))
    given = g.inputs(KEY, {"code": code, "z": z})
    assert given[0] is z and given[1] is code
    np.testing.assert_array_equal(given[2], drawn[2])


# ---- CycleGAN


class _Add(nn.Module):
    """x + a parameter, which starts at `by`."""

    by: float

    @nn.compact
    def __call__(self, x, *, train):
        return x + self.param("by", nn.initializers.constant(self.by), ())


class _Mean(nn.Module):
    """Patches of one pixel: its own value, times a parameter."""

    @nn.compact
    def __call__(self, x, *, train):
        return self.param("scale", nn.initializers.ones, ()) * x[..., 0]


def test_cycle_in_closed_form():
    """a = 0, b = 1; to_b adds .5, to_a subtracts .25: there and back is off by .25 each way; D's logit is the pixel."""
    g = cycle(Pair(_Add(0.5), _Add(-0.25)), Pair(_Mean(), _Mean()), losses.least_squares(), identity=2.0, pool=0)
    batch = {"a": jnp.zeros((4, 2, 2, 1)), "b": jnp.ones((4, 2, 2, 1))}
    tx = optax.sgd(0.1)
    state = game.init(g, tx, tx, KEY, batch)
    assert state.aux == {}
    fake, _ = g.fakes(state.gen.params, state, batch, KEY)
    total, (_, _, metrics) = g.disc_loss(state.disc.params, state, batch, KEY, fake)
    # a: real 0, fake .75; b: real 1, fake .5; half of the sum of 1/2 (real - 1)^2 + 1/2 fake^2
    expected = ((1 + 0.75**2) / 2 + (0 + 0.5**2) / 2) / 2
    assert float(total) == float(metrics["disc/loss"]) == pytest.approx(expected)
    total, (_, _, metrics) = g.gen_loss(state.gen.params, state, batch, KEY, fake)
    own = ((0.75 - 1) ** 2 + (0.5 - 1) ** 2) / 2
    assert float(metrics["gen/loss"]) == pytest.approx(own)
    assert float(metrics["gen/cycle"]) == pytest.approx(0.25 + 0.25)
    assert float(metrics["gen/identity"]) == pytest.approx(0.5 + 0.25)
    assert float(total) == pytest.approx(own + 10 * 0.5 + 2 * 0.75)
    assert float(g.sample(state.ema.params, {}, batch["a"]).mean()) == 0.5
    assert float(g.views["to_a"](state, batch["b"]).mean()) == 0.75


def test_the_gradient_of_the_way_there_goes_through_the_fakes():
    """Of G's whole loss, made of two passes, it is that of one function of the parameters."""
    g = cycle(Pair(_Add(0.5), _Add(-0.25)), Pair(_Mean(), _Mean()), losses.least_squares(), pool=0)
    batch = {"a": jnp.zeros((4, 2, 2, 1)), "b": jnp.ones((4, 2, 2, 1))}
    state = game.init(g, optax.sgd(1.0), optax.sgd(0.0), KEY, batch)

    def whole(params):
        fake, _ = g.fakes(params, state, batch, KEY)
        return g.gen_loss(params, state, batch, KEY, fake)[0]

    slopes = jax.grad(whole)(state.gen.params)
    before = jax.tree.map(np.asarray, state.gen.params)
    after, _ = game.make_update(g, optax.sgd(1.0), optax.sgd(0.0))(state, batch, KEY)
    jax.tree.map(lambda x, y, d: np.testing.assert_allclose(x - y, d, rtol=1e-6), before, after.gen.params, slopes)


def test_the_pool():
    """Filled by what comes first; then half of what is shown is new, and what is old was once a fake."""
    size, rows = 8, 4
    aux = {"pool": {"a": jnp.zeros((size, 1)), "b": jnp.zeros((size, 1))}, "filled": jnp.int32(0)}
    pooled, new = jax.jit(cycles._pooled), 0
    for step in range(200):
        made = jnp.arange(rows, dtype=jnp.float32)[:, None] + 1 + rows * step
        shown, aux = pooled(aux, {"a": made, "b": -made}, jax.random.fold_in(KEY, step))
        np.testing.assert_array_equal(shown["a"], -shown["b"])  # the two domains are swapped together
        if step < size // rows:
            np.testing.assert_array_equal(shown["a"], made)
        else:
            new += int((shown["a"] == made).sum())
            old = np.asarray(shown["a"][shown["a"] != made])
            assert ((old >= 1) & (old < made.max()) & (old % 1 == 0)).all()
    kept = np.asarray(aux["pool"]["a"]).ravel()
    assert int(aux["filled"]) == size and len(np.unique(kept)) == size
    assert 0.42 < new / (198 * rows) < 0.58


# ---- what every game keeps


@pytest.mark.parametrize("name", ["InfoGAN, batch norm", "CycleGAN, pool"])
def test_a_member_is_the_single_run(name):
    many, _, _ = play(name, 1, rounds=3, seeds=2)
    for i in range(2):
        alone, _, _ = play(name, 1, rounds=3, seed=i)
        assert difference(alone, jax.tree.map(lambda x, i=i: x[i], many)) < bound(name)


RUNS = {
    "plain": (dcgan_digits, {"features": "pixels", "evaluate_samples": 20, "final_samples": 20}),
    "conditional": (cgan_mnist, {"data": "digits", "features": "pixels", "evaluate_samples": 20, "final_samples": 20}),
    "points": (gan_ring, {}),
    "packed": (pacgan_mixtures, {}),
    "info": (infogan_mnist, {"data": "digits"}),
    "cycle": (cyclegan_digits, {}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of two steps of each."""
    home = tmp_path_factory.mktemp("games")
    for name, (module, flags) in RUNS.items():
        where = {"workdir": str(home / name), "steps": 2, "batch_size": 8, "width": 4, "devices": 1}
        module.main(module.Config(**where, **flags))
    return home


@pytest.mark.parametrize("name", RUNS)
def test_a_loaded_run_answers_to_its_inputs(name, runs):
    """Other inputs, other samples; the same, the same; every view answers."""
    sample = gan_jax.load(runs / name)
    if name == "cycle":
        one, other = RNG.uniform(-1, 1, (2, 6, 8, 8, 1)).astype(np.float32)[:, None]
        with pytest.raises(
            ValueError, match=r"this generator is given a, not noise: sampler\(a\), or a batch {'a': ...}"
        ):
            sample.draw(6)
    else:
        one, other = sample.inputs(6, seed=1), sample.inputs(6, seed=2)
        np.testing.assert_array_equal(sample.draw(6), sample.draw(6))
    made = sample(*one)
    assert made.shape[0] == 6 and made.dtype == np.float32 and np.isfinite(made).all()
    np.testing.assert_array_equal(made, sample(*one))
    assert (made != sample(*other)).any()
    views = sample.recipe.game.views
    assert bool(views) == (name in ("info", "cycle"))
    for view in views:
        answer = jax.tree.leaves(sample.ask(view, np.zeros((3, 8, 8, 1), np.float32)))
        assert all(len(x) == 3 and np.isfinite(x).all() for x in answer)
    with pytest.raises(UserError, match="this game has no view 'beauty': there are"):
        sample.ask("beauty", np.zeros(3))
    for view in views:
        with pytest.raises(ValueError, match=f"{view} was given uint8: floats are needed"):
            sample.ask(view, np.zeros((3, 8, 8, 1), np.uint8))
    if name == "info":
        with pytest.raises(ValueError, match="was given float32: whole numbers are needed"):
            sample(one[0], np.float32([1.5] * 6))


def test_a_translator_takes_a_persons_images_both_ways(runs):
    """Of other sizes than it was trained on, and more of them than go in one call."""
    sample = gan_jax.load(runs / "cycle")
    photos = RNG.uniform(-1, 1, (3, 12, 20, 1)).astype(np.float32)
    there, back = sample(photos), sample.ask("to_a", photos)
    assert there.shape == back.shape == photos.shape and (there != back).any()
    with pytest.raises(
        ValueError, match=r"the generator takes \[b 8 8 1\] float32, and was given uint8: floats are needed"
    ):
        sample(np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match=r"was given \(2, 8, 8, 3\)"):
        sample(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"a is uint8: floats are needed, of images in \[-1, 1\]"):
        sample.draw({"a": np.zeros((2, 8, 8, 1), np.uint8)})
    loud = np.full((2, 8, 8, 1), 255, np.float32)
    for call in (lambda: sample(loud), lambda: sample.ask("to_a", loud), lambda: sample.draw({"a": loud})):
        with pytest.raises(ValueError, match="has values from 255 to 255: images lie in"):
            call()
    assert sample.views == ("to_a",)


def test_a_batch_is_drawn_in_parts_as_a_whole(runs, monkeypatch):
    """501 rows of 500 at a time: the short last part gives what its rows give alone."""
    sample = gan_jax.load(runs / "cycle")
    images = RNG.uniform(-1, 1, (501, 8, 8, 1)).astype(np.float32)
    many = sample.draw({"a": images})
    assert many.shape == images.shape
    np.testing.assert_allclose(many[-1:], sample(images[-1:]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sample.ask("to_a", images)[-1:], sample.ask("to_a", images[-1:]), rtol=1e-4, atol=1e-5)


def test_labels_by_name_and_left_out(runs):
    sample = gan_jax.load(runs / "conditional")
    z = sample.latents(12, seed=1)
    np.testing.assert_array_equal(sample(z), sample(z, np.arange(12) % 10))
    np.testing.assert_array_equal(sample(z, ["7"] * 12), sample(z, np.full(12, 7)))
    assert sample.class_names == tuple("0123456789")
    for labels, said in (
        (["seven"] * 12, "no class is called 'seven': there are 0, 1, 2"),
        (np.full(12, 10), r"labels are \[b\] in \[0, 10\); got \(12,\), \[10, "),
        (np.zeros(12), r"labels are \[b\] in \[0, 10\)"),
        (np.zeros(5, int), r"inputs must have one number of rows; got \(12, 100\), \(5,\)"),
    ):
        with pytest.raises(ValueError, match=said):
            sample(z, labels)
    with pytest.raises(ValueError, match="got 3 arrays"):
        sample(z, np.zeros(12, int), z)


@pytest.mark.parametrize("name", RUNS)
def test_accumulate_is_honoured_or_refused(name, tmp_path):
    """What a game says it does is what the flag asks for; a game that says nothing refuses more than one part."""
    module, flags = RUNS[name]
    config = module.Config(
        workdir=str(tmp_path / "run"), steps=1, batch_size=8, width=4, devices=1, accumulate=2, **flags
    )
    setup = module.setup(config)
    recipe = module.build(config, setup.source.spec)
    assert recipe.game.parts == 2

    def whole(config, spec):
        return module.build(dataclasses.replace(config, accumulate=1), spec)

    with pytest.raises(UserError, match="--accumulate 2, but this game plays a batch in 1 parts"):
        training.run(config, whole, setup)
    assert not (tmp_path / "run").exists()


def test_a_game_without_inputs_makes_no_samples(tmp_path):
    """It trains all the same; measures that draw are refused."""
    config = gan_ring.Config(workdir=str(tmp_path / "run"), steps=2, batch_size=8, width=4, devices=1)

    def build(config, spec):
        recipe = gan_ring.build(config, spec)
        return recipe._replace(game=recipe.game._replace(inputs=None))

    source = data.ring(8, 0)
    training.run(config, build, training.Setup(source))
    assert not (tmp_path / "run/samples").exists()
    config = dataclasses.replace(config, workdir=str(tmp_path / "other"))
    with pytest.raises(UserError, match="this game makes no samples: it has no `inputs`"):
        training.run(config, build, training.Setup(source, Evaluate(lambda draw: draw(3), ("x",))))


@pytest.mark.parametrize("suffixes", [("txt",), ("wav", "png")])
def test_what_is_shown_is_kept_under_its_suffix_and_named(suffixes, tmp_path, capsys):
    config = gan_ring.Config(workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, devices=1, sample_every=2)
    known = []

    def show(samples, batch):
        known.append((len(samples), dict(batch)))
        return {suffix: f"{suffix} of {len(samples)}".encode() for suffix in suffixes}

    def build(config, spec):
        return gan_ring.build(config, spec)._replace(show=show)

    training.run(config, build, training.Setup(data.ring(8, 0), shown=5))
    names = [f"{step:08d}.{suffix}" for step in (0, 2, 4) for suffix in sorted(suffixes)]
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == names
    said = capsys.readouterr().err
    assert "Look at " + " and ".join(f"{tmp_path}/run/samples/00000004.{suffix}" for suffix in suffixes) in said
    page = (tmp_path / "run/report.html").read_text()
    assert ("<pre>txt of 5</pre>" in page) == ("txt" in suffixes) and ("<audio" in page) == ("wav" in suffixes)
    assert known[0][0] == 5 and known[0][1]["label"].tolist() == [0, 1, 2, 3, 4]


def test_files_of_steps_that_will_be_played_again_are_forgotten_and_no_others(tmp_path):
    kept = ("00000002.txt", "00000004.jpg", "holiday.png", "1234.png")
    (tmp_path / "samples").mkdir()
    for name in (*kept, "00000004.wav", "00000004_seed1.png", "00000010.gif"):
        (tmp_path / "samples" / name).write_bytes(b"")
    saver = object.__new__(Saver)
    saver.workdir = tmp_path
    saver.forget_files_after(2)
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {*kept}


def test_a_file_of_an_unknown_kind_is_refused(tmp_path):
    config = gan_ring.Config(workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, devices=1)
    build = lambda config, spec: gan_ring.build(config, spec)._replace(show=lambda x, batch: {"exe": b""})  # noqa: E731
    with pytest.raises(ValueError, match=r"show gave a file .exe: there are png, gif, wav, txt"):
        training.run(config, build, training.Setup(data.ring(8, 0)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shown", "said"),
    [(0, "0 rows: 1 or more"), ({"image": np.zeros((4, 2), np.uint8)}, "image is uint8: floats are needed")],
)
def test_what_cannot_be_shown_is_said_before_anything_is_written(shown, said, tmp_path):
    config = gan_ring.Config(workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, devices=1)
    with pytest.raises(ValueError, match=said):
        training.run(config, gan_ring.build, training.Setup(data.ring(8, 0), shown=shown))
    assert not (tmp_path / "run").exists()


def test_fakes_that_forget_a_statistic_are_refused_before_anything_is_written(tmp_path):
    def build(config, spec):
        recipe = gan_ring.build(config, spec)
        made = recipe.game.fakes
        fakes = lambda *args: (made(*args)[0], {"seen": jnp.zeros(())})  # noqa: E731
        return recipe._replace(game=recipe.game._replace(fakes=fakes))

    config = gan_ring.Config(workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, devices=1)
    with pytest.raises(ValueError, match=r"fakes: its stats are not those of state.gen: \['seen'\] instead of nothing"):
        training.run(config, build, training.Setup(data.ring(8, 0)))
    assert not (tmp_path / "run").exists()


def test_weights_of_a_swept_memory_are_told_by_member(tmp_path):
    told = []

    def measure(draw):
        told.append(draw.how["weights"])
        return {"x": Record(0.0, True, {"fake": 1})}

    config = gan_ring.Config(
        workdir=str(tmp_path / "run"), steps=1, batch_size=8, width=4, devices=1, sweep=("ema_images=0,100",)
    )
    training.run(config, gan_ring.build, training.Setup(data.ring(8, 0), Evaluate(measure, ("x",))))
    assert told == ["raw", "averaged (EMA)"]


def test_a_run_whose_experiment_cannot_be_imported_is_loaded_by_its_file(tmp_path, runs, monkeypatch, capsys):
    """As from anywhere outside the clone; a file that has changed since is told."""
    import shutil

    shutil.copytree(runs / "points", tmp_path / "run")
    path = tmp_path / "run/config.json"
    kept = json.loads(path.read_text())
    assert Path(kept["experiment_file"]["path"]).name == "gan_ring.py"
    copy = tmp_path / "elsewhere.py"
    shutil.copy(kept["experiment_file"]["path"], copy)
    kept |= {
        "experiment": "experiments_far_away.gan_ring",
        "experiment_file": {**kept["experiment_file"], "path": str(copy)},
    }
    path.write_text(json.dumps(kept))
    sample = gan_jax.load(tmp_path / "run")
    z = sample.latents(3)
    np.testing.assert_array_equal(sample(z), gan_jax.load(runs / "points")(z))
    assert capsys.readouterr().err == ""
    # What stood beside it is found there, as it was when the file was run.
    (tmp_path / "beside.py").write_text("x = 1")
    copy.write_text(copy.read_text().replace("import dataclasses", "import dataclasses\nimport beside", 1))
    gan_jax.load(tmp_path / "run")
    assert "elsewhere.py has changed since the run was made by it" in capsys.readouterr().err


def test_the_table_of_games_has_the_new_ones():
    assert {"InfoGAN, batch norm", "CycleGAN, pool"} <= set(GAMES)
