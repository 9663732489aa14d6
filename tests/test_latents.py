"""Latents: ways between them, directions against their definition, the search for given images, and the command."""

import dataclasses
import io
import itertools
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from PIL import Image

import gan_jax
from experiments import cgan_mnist, dcgan_digits, gan_ring, stylegan2_fashion
from gan_jax import data
from gan_jax.commands import latents as command
from gan_jax.commands import sample
from gan_jax.evaluation import latents
from gan_jax.types import UserError
from gan_jax.workdir import pictures
from gan_jax.workdir.sampler import Programs

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Short runs that measure nothing, at a rate that makes pictures differ."""
    home = tmp_path_factory.mktemp("latents")
    common = {"steps": 40, "batch_size": 8, "devices": 1, "features": "none", "lr": 0.01}
    dcgan_digits.main(dcgan_digits.Config(workdir=str(home / "plain"), width=4, z_dim=16, **common))
    cgan_mnist.main(cgan_mnist.Config(workdir=str(home / "classes"), width=4, data="digits", **common))
    common.pop("features")
    gan_ring.main(gan_ring.Config(workdir=str(home / "points"), width=4, gen_blocks=1, disc_blocks=1, **common))
    return home


# -- ways


def test_ways_begin_and_end_where_they_should():
    for way in (latents.lerp, latents.slerp):
        z = latents.between(A, B, 7, way)
        assert z.shape == (7, 16) and z.dtype == np.float32
        np.testing.assert_allclose(z[[0, -1]], [A, B], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="2 or more"):
        latents.between(A, B, 1)


def test_the_great_circle_keeps_the_length_and_the_pace():
    """Between latents of one length; the straight line is shorter in its middle."""
    one, two = A / np.linalg.norm(A) * 4, B / np.linalg.norm(B) * 4
    z = latents.between(one, two, 9)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 4, rtol=1e-5)
    turns = [np.dot(x, y) / 16 for x, y in itertools.pairwise(z)]
    np.testing.assert_allclose(turns, turns[0], rtol=1e-4)
    assert np.linalg.norm(latents.between(one, two, 9, latents.lerp)[4]) < 3.9


def test_a_round_trip_has_no_seam():
    stops = np.stack([A, B, C])
    z = latents.round_trip(stops, 5)
    assert z.shape == (15, 16)
    np.testing.assert_allclose(z[::5], stops, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(z[11], latents.between(C, A, 6)[1], rtol=1e-5)


# -- directions


@pytest.mark.parametrize("n", [10, 40])
def test_sefa_is_the_spectrum_of_the_weights(n):
    weights = RNG.normal(size=(16, n))
    vectors, strengths = latents.sefa(weights, 5)
    values, _ = np.linalg.eigh(weights @ weights.T)
    np.testing.assert_allclose(strengths, np.sqrt(values[::-1][:5]), rtol=1e-5)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors @ weights, axis=1), strengths, rtol=1e-5)
    others = RNG.normal(size=(1_000, 16))
    assert (np.linalg.norm(others @ weights, axis=1) / np.linalg.norm(others, axis=1)).max() < strengths[0]
    assert (vectors[np.arange(5), np.abs(vectors).argmax(1)] > 0).all()


@pytest.mark.parametrize(("run", "layer"), [("plain", "Dense_0"), ("classes", "Dense_0")])
def test_the_first_layer_is_that_of_the_network(runs, run, layer):
    """Of a conditional generator the rows that multiply the latent, not those of the embedded label."""
    sampler = gan_jax.load(runs / run)
    kernel = np.asarray(sampler.generator.params[layer]["kernel"])
    width = sampler.latents(1).shape[1]
    np.testing.assert_array_equal(latents.first_layer(sampler), kernel[:width])
    assert len(kernel) == (2 * width if run == "classes" else width)


def test_a_generator_that_changes_its_latent_first_has_no_directions(runs):
    sampler = gan_jax.load(runs / "plain")
    plain = sampler.recipe.game
    changed = plain._replace(sample=lambda params, stats, z: plain.sample(params, stats, 2 * z))
    sampler = dataclasses.replace(sampler, recipe=sampler.recipe._replace(game=changed))
    with pytest.raises(UserError, match="not given the latent itself"):
        latents.first_layer(sampler)


# -- projection


@pytest.mark.parametrize("run", ["plain", "classes"])
def test_the_images_of_latents_are_found_again(runs, run):
    """Or nearer ones than at the beginning; the loss is that of the images that are returned."""
    sampler = gan_jax.load(runs / run)
    inputs = sampler.inputs(3, seed=9)
    images = np.asarray(sampler(*inputs))
    found = latents.project(sampler, images, steps=400, lr=0.1)
    assert found.losses.shape == (401, 3) and (found.losses[-1] < found.losses[0]).all()
    for made, losses in ((found.begun, found.losses[0]), (found.images, found.losses[-1])):
        np.testing.assert_allclose(((made - images) ** 2).mean((1, 2, 3)), losses, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(np.asarray(sampler(*found.inputs)), found.images, atol=1e-6)
    drawn = np.asarray(sampler(*sampler.inputs(latents.DRAWS)))
    best = ((drawn[None] - images[:, None]) ** 2).mean((2, 3, 4)).min(1)
    np.testing.assert_allclose(found.losses[0], best, rtol=1e-4)


def test_the_latent_of_a_linear_generator_is_the_least_squares(runs):
    """Which is known in closed form, also for images that no latent gives."""
    sampler = gan_jax.load(runs / "plain")
    weights = RNG.normal(size=(16, 64)).astype(np.float32) / 8
    game = sampler.recipe.game._replace(sample=lambda params, stats, z: (z @ weights).reshape(-1, 8, 8, 1))
    programs = Programs(lambda values: game, sampler.spec, False)
    sampler = dataclasses.replace(sampler, programs=programs, recipe=sampler.recipe._replace(game=game))
    images = RNG.normal(size=(4, 8, 8, 1)).astype(np.float32) / 4
    found = latents.project(sampler, images, steps=600)
    expected, *_ = np.linalg.lstsq(weights.T, images.reshape(4, -1).T, rcond=None)
    np.testing.assert_allclose(found.inputs[0], expected.T, atol=2e-3)  # where the search had not ended yet


def test_each_image_is_searched_alone(runs):
    sampler = gan_jax.load(runs / "plain")
    images = np.asarray(sampler(sampler.latents(3, seed=9)))
    together, alone = latents.project(sampler, images, steps=20), latents.project(sampler, images[1:2], steps=20)
    np.testing.assert_allclose(together.inputs[0][1], alone.inputs[0][0], atol=1e-4)
    with pytest.raises(ValueError, match=r"images are \[b 8 8 1\]; got \(2, 9, 8, 1\)"):
        latents.project(sampler, jnp.zeros((2, 9, 8, 1)))


# -- the command


def start(*flags):
    return command.main(tyro.cli(command.Config, args=[str(flag) for flag in flags]))


FILES = ["latents.html", "lerp.png", "projection.png", "sefa.png", "slerp.png", "truncation.png", "walk.gif"]


@pytest.mark.parametrize("run", ["plain", "classes"])
def test_the_command(runs, run, opened, tmp_path):
    found = start(runs / run, "--out", "a", "--steps", 5, "--count", 3)
    assert sorted(path.name for path in Path("a").iterdir()) == FILES
    assert found["projection"]["found"] < found["projection"]["begun"] and found["sefa"] == sorted(found["sefa"])[::-1]
    assert found["sefa"][0] > 1 and found["truncation"][0.3] < found["truncation"][2.0]
    with Image.open("a/walk.gif") as film:
        assert film.n_frames == 48 and film.info["loop"] == 0
    again = start(runs / run, "--out", "b", "--steps", 5, "--count", 3)
    assert found == again
    for name in FILES:
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name
    assert start(runs / run, "--out", "c", "--steps", 5, "--count", 0, "--seed", 1).keys() == {
        "step",
        "truncation",
        "sefa",
    }
    assert Path("c/slerp.png").read_bytes() != Path("a/slerp.png").read_bytes()
    page = opened(f"file://{tmp_path}/a/latents.html", width=400)
    assert page.locator("figure img").count() == 6 and page.evaluate("document.documentElement.scrollWidth") <= 400
    assert "step 5" in page.locator(".read").inner_text()


def test_strips_are_the_samples(runs):
    start(runs / "classes", "--out", "a", "--count", 0, "--label", 7)
    sampler = gan_jax.load(runs / "classes")
    z = np.asarray(sampler.latents(500))
    made = np.asarray(sampler(latents.between(z[2], z[3], command.BETWEEN), np.full(command.BETWEEN, 7)))
    with Image.open("a/slerp.png") as sheet:
        strip = np.asarray(sheet)[42 : 2 * 42 + 2]  # the second row
    with Image.open(io.BytesIO(command._sheet(made, command.BETWEEN))) as expected:
        np.testing.assert_array_equal(strip, np.asarray(expected))


def test_codes_stay_as_they_are_along_a_way():
    """Of a generator that is given more than noise, as InfoGAN's: each strip, walker and direction keeps its own."""

    class WithCodes:
        programs = types.SimpleNamespace(kinds=types.SimpleNamespace(label=None))

        def inputs(self, rows, seed):
            return np.random.default_rng(seed).normal(size=(rows, 4)), np.arange(rows)

        def __call__(self, z, codes):
            return np.broadcast_to(codes[:, None, None, None] / 25 - 1, (len(z), 2, 2, 1))

    drawing = command.Drawing(WithCodes(), command.Config())
    for part in drawing.between():
        with Image.open(io.BytesIO(part.content)) as sheet:
            rows = np.asarray(sheet)[10 :: sheet.height // command.PAIRS, 10 :: sheet.width // command.BETWEEN]
        assert (rows == rows[:, :1]).all() and len(np.unique(rows)) == command.PAIRS
    with Image.open(io.BytesIO(drawing.film().content)) as film:
        assert film.n_frames == 1  # equal ones are written as one
        assert len(np.unique(np.asarray(film.convert("L")))) > 5


def test_pictures_of_ones_own(runs):
    images = data.load("digits").images[:5]
    Path("mine").mkdir()
    for i, one in enumerate(images):
        Image.fromarray(one[..., 0]).resize((20, 20)).save(f"mine/{i}.png")
    start(runs / "plain", "--out", "a", "--images", "mine", "--steps", 2, "--count", 4)
    Path("colour").mkdir()
    for i, one in enumerate(images):
        Image.fromarray(np.stack([np.zeros_like(one[..., 0]), one[..., 0], one[..., 0]], -1)).save(f"colour/{i}.png")
    sampler = gan_jax.load(runs / "plain")
    given = command._given(sampler, command.Config(run=str(runs / "plain"), images="colour"))
    np.testing.assert_allclose(given, images / 127.5 * 0.701 - 1, atol=1e-5)  # .587 of green and .114 of blue
    np.save("mine.npy", images)
    start(runs / "plain", "--out", "b", "--images", "mine.npy", "--steps", 2)
    with Image.open("b/projection.png") as sheet, Image.open("a/projection.png") as four:
        assert sheet.width == 5 * 42 + 2 and four.width == 4 * 42 + 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "name a run and a folder"),
        (["plain"], "name a run and a folder"),
        (["points", "--out", "x"], r"samples of shape \[2\] are no pictures"),
        (["plain", "--out", "x", "--label", "7"], "--label 7: the classes are none"),
        (["classes", "--out", "x", "--label", "cat"], "--label cat: the classes are 0, 1"),
        (["plain", "--out", "full"], "--out full exists"),
        (["plain", "--out", "x", "--steps", "0"], "1 step or more"),
        (["plain", "--out", "x", "--images", "nowhere"], "(?i)nowhere"),
        (["nowhere", "--out", "x"], "no config.json"),
    ],
)
def test_refusals_come_before_anything_is_written(runs, tmp_path, flags, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=words):
        start(*(runs / one if (runs / one).is_dir() else one for one in flags))
    assert not (tmp_path / "x").exists() and [*(tmp_path / "full").iterdir()] == [tmp_path / "full" / "mine.txt"]


def test_styles(tmp_path):
    """Of a run with styles: a table in which they are mixed, and truncation towards their mean, whose samples are one."""
    flags = {"steps": 30, "batch_size": 8, "devices": 1, "features": "none", "data": "digits", "width": 8, "z_dim": 12}
    stylegan2_fashion.main(stylegan2_fashion.Config(workdir=str(tmp_path / "run"), **flags))
    found = start(str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--count", "0")
    assert found["truncation"][1.0] == 1 and list(found["truncation"]) == sorted(found["truncation"], reverse=True)
    assert {"mixing.png", "truncation.png", "walk.gif"} <= {path.name for path in (tmp_path / "out").iterdir()}
    drawing = command.Drawing(gan_jax.load(tmp_path / "run"), command.Config(run="", out=""))
    still = drawing.sample(drawing.z[:4], np.zeros(4, int), 0.0)  # one noise, and the mean style
    np.testing.assert_allclose(still, still[:1].repeat(4, 0), atol=1e-6)
    sample.main(sample.Config(run=str(tmp_path / "run"), out=str(tmp_path / "some.npz"), count=4, truncation=0.5))
    kept = np.load(tmp_path / "some.npz")["images"]
    z, *rest, _ = drawing.sampler.inputs(4, 0)
    halved = drawing.sampler(z, *rest, np.full(4, 0.5, np.float32))
    np.testing.assert_array_equal(kept, pictures.to_uint8(halved))
    layers = 2 * 3
    for cutoff, same in ((layers, 0), (0, 1)):
        rest = [x[:1] for x in drawing.rest[:-1]]
        z = drawing.z[:1], drawing.z[1:2]
        mixed = drawing.sampler.ask("mix", *z, np.int32([cutoff]), *rest)
        np.testing.assert_allclose(mixed, drawing.sample(z[same], np.zeros(1, int)), atol=1e-5)


def test_translators_have_no_latents(runs):
    sampler = gan_jax.load(runs / "plain")
    sampler.programs.kinds = sampler.programs.kinds._replace(needs=("a",))
    with pytest.raises(UserError, match="given a, not noise"):
        command._require(sampler, command.Config())
