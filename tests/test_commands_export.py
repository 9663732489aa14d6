"""gan-jax export: a generator for programs that know nothing of gan_jax."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tyro
from safetensors.numpy import load_file

import gan_jax
from experiments import cgan_mnist, cyclegan_digits, dcgan_digits, gan_ring, infogan_mnist
from gan_jax.commands import export
from gan_jax.types import UserError

RUNS = {
    "plain": (dcgan_digits, {"features": "pixels", "evaluate_samples": 20, "final_samples": 20}),
    "classes": (cgan_mnist, {"data": "digits", "features": "none"}),
    "points": (gan_ring, {"gen_blocks": 1, "disc_blocks": 1}),
    "codes": (infogan_mnist, {"data": "digits"}),
    "translator": (cyclegan_digits, {"data": "digits"}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("exported")
    for name, (module, flags) in RUNS.items():
        common = {"workdir": str(home / name), "steps": 1, "batch_size": 8, "width": 4, "devices": 1}
        module.main(module.Config(**common, **flags))
    return home


def start(*flags):
    return export.main(tyro.cli(export.Config, args=[str(flag) for flag in flags]))


@pytest.mark.parametrize("name", RUNS)
def test_what_is_read_back_makes_the_same_samples(runs, name):
    """For any number of rows: the samplers' own, to the bit."""
    start(runs / name, "--out", "made")
    generator = jax.export.deserialize(bytearray(Path("made/generator.stablehlo").read_bytes()))
    assert generator.platforms == ("cpu", "cuda", "tpu")
    sampler = gan_jax.load(runs / name)
    rng = np.random.default_rng(0)
    for rows in (1, 5):
        zeros = {key: rng.uniform(-1, 1, (rows, *x.shape)).astype(np.float32) for key, x in sampler.spec.arrays.items()}
        inputs = sampler.inputs(zeros if sampler.programs.kinds.needs else rows, seed=1)
        np.testing.assert_array_equal(generator.call(*inputs), sampler(*inputs))


@pytest.mark.parametrize("name", RUNS)
def test_the_program_runs_without_gan_jax(runs, name):
    start(runs / name, "--out", "made")
    hidden = "import sys; [sys.modules.__setitem__(name, None) for name in ('gan_jax', 'flax', 'optax', 'orbax')]; exec(open('sample.py').read())"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", hidden], cwd="made", env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(Path("made/sample.py").read_text().splitlines()) <= 14
    assert np.load("made/samples.npy").shape == (16, *gan_jax.load(runs / name).spec.shape)


def test_weights_configuration_and_card(runs):
    start(runs / "plain", "--out", "made")
    sampler = gan_jax.load(runs / "plain")
    flat = load_file("made/model.safetensors")
    np.testing.assert_array_equal(flat["params.Dense_0.kernel"], sampler.generator.params["Dense_0"]["kernel"])
    assert len(flat) == len(jax.tree.leaves((sampler.generator.params, sampler.generator.stats)))
    kept = json.loads(Path("made/config.json").read_text())
    assert kept["step"] == 1 and kept["inputs"]["z"]["shape"] == ["b", 64] and kept["weights"] == "averaged (EMA)"
    card = Path("made/README.md").read_text()
    result = json.loads((runs / "plain/result.json").read_text())
    assert "| frechet_pixels | " in card and result["metrics"]["frechet_pixels"]["protocol"]["data_digest"] in card
    assert card.startswith("---\nlibrary_name: jax") and "generator.call(z)" in card


def test_refusals(runs, monkeypatch):
    Path("there").mkdir()
    Path("there/mine.txt").write_text("mine")
    for flags, text in (
        (["--out", "made"], "name a run and a new folder"),
        ([runs / "plain"], "name a run and a new folder"),
        ([runs / "plain", "--out", "there"], "--out there exists"),
        (["nowhere", "--out", "made"], "is no run's directory"),
    ):
        with pytest.raises(UserError, match=text):
            start(*flags)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(UserError, match=r"pip install 'gan_jax\[export\]'"):
        start(runs / "plain", "--out", "made")
    assert not Path("made").exists()
