"""What a saved run of each kind of game can be asked, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from rounding import float32

import gan_jax
from experiments import cgan_mnist, cyclegan_digits, dcgan_digits, gan_ring, infogan_mnist, pacgan_mixtures
from gan_jax import training
from gan_jax.types import UserError

RNG = np.random.default_rng(0)
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
    expected = {"info": "code", "cycle": "to_a", "plain": "logits", "conditional": "logits", "points": "logits"}
    assert [*views] == [view for view in [expected.get(name)] if view]
    label = [np.arange(3) % 10] if name == "conditional" else []
    for view in views:
        answer = jax.tree.leaves(sample.ask(view, np.zeros((3, *sample.spec.shape), np.float32), *label))
        assert all(len(x) == 3 and np.isfinite(x).all() for x in answer)
    with pytest.raises(UserError, match="this game has no view 'beauty': there are"):
        sample.ask("beauty", np.zeros(3))
    for view in views if name != "points" else ():
        with pytest.raises(ValueError, match=f"{view} was given uint8: floats are needed"):
            sample.ask(view, np.zeros((3, *sample.spec.shape), np.uint8), *label)
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
    """501 rows of 500 at a time: the short last part gives what its rows give alone. Instance norms divide by deviations of
    about 1e-2, so that the roundings of 64 terms before them count a hundredfold.
    """
    rounded = float32(64, size=100)
    sample = gan_jax.load(runs / "cycle")
    images = RNG.uniform(-1, 1, (501, 8, 8, 1)).astype(np.float32)
    many = sample.draw({"a": images})
    assert many.shape == images.shape
    np.testing.assert_allclose(many[-1:], sample(images[-1:]), rtol=0, atol=rounded)
    np.testing.assert_allclose(sample.ask("to_a", images)[-1:], sample.ask("to_a", images[-1:]), rtol=0, atol=rounded)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1"])
def test_what_is_no_seed_is_refused(runs, seed):
    """A fraction would be cut off, and a large number begin anew, without a word."""
    sample = gan_jax.load(runs / "conditional")
    for draw in (sample.inputs, sample.draw):
        with pytest.raises(ValueError, match=r"a whole number from 0 to 2\*\*32 - 1"):
            draw(2, seed=seed)


def test_labels_by_name_and_left_out(runs):
    sample = gan_jax.load(runs / "conditional")
    z = sample.latents(12, seed=1)
    np.testing.assert_array_equal(sample(z), sample(z, np.arange(12) % 10))
    np.testing.assert_array_equal(sample(z, ["7"] * 12), sample(z, np.full(12, 7)))
    assert sample.class_names == tuple("0123456789")
    labelled = sample.draw({"label": np.int32([7, 7, 3])})  # a batch of labels alone: the noise is the sampler's
    assert labelled.shape == (3, 8, 8, 1) and (labelled[0] != labelled[1]).any()
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
