"""`gan-jax apply`: pictures of any size and kind through a network, whole and in tiles."""

import dataclasses
import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import gan_jax
from gan_jax import losses, training
from gan_jax.commands import apply
from gan_jax.config import FromSet, Run
from gan_jax.games.cycle import Pair, cycle
from gan_jax.games.paired import Term, l1, paired
from gan_jax.models import superres
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.resnet_translator import ResnetTranslator
from gan_jax.models.translator import Patches, Translator
from gan_jax.types import Source, Spec, UserError
from gan_jax.workdir import any_size, pictures

RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    steps: int = 1
    batch_size: int = 2
    kind: str = "x2"


class Filled(nn.Module):
    """What is missing is the mean of the colours, times a parameter; what is known is copied."""

    @nn.compact
    def __call__(self, image, mask, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        known = image * (1 - mask)
        return known + mask * scale * known.mean((1, 2), keepdims=True)


def build(config, spec):
    tx = optax.sgd(0.3)
    terms = [Term("l1", 1.0, l1)]
    match config.kind:
        case "x2":
            gen = superres.Compact(2, 4, 1)
            game = paired(gen, PatchGAN(0, 4), losses.hinge(), terms, given=("low",), target="image", condition=None)
        case "fill":
            game = paired(
                Filled(), PatchGAN(0, 4), losses.hinge(), terms, given=("image", "mask"), target="image", condition=None
            )
        case "translate":
            game = paired(ResnetTranslator(4, 1), PatchGAN(0, 4), losses.hinge(), terms)
        case "cycle":
            game = cycle(
                *(Pair(*(net(4) for _ in range(2))) for net in (Translator, Patches)), losses.least_squares(), pool=0
            )
    return training.Recipe(game, tx, tx, ema_decay=0.9, show=lambda samples, batch: {"txt": b""})


ARRAYS = {
    "x2": {"low": 8, "image": 16},
    "fill": {"image": 16, "mask": 16},
    "translate": {"a": 16, "b": 16},
    "cycle": {"a": 8, "b": 8},
}


def setup(config):
    sizes = ARRAYS[config.kind]
    held = {
        name: RNG.uniform(0, 1, (2, side, side, 1 if name == "mask" else 3)).astype(np.float32)
        for name, side in sizes.items()
    }
    arrays = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in held.items()}
    source = Source(
        lambda key, step, which=slice(None): held, lambda fetched, key, step: fetched, jax.random.key(0), 2,
        Spec(arrays), 2, True, "held", "held",
    )  # fmt: skip
    return training.Setup(source, shown=held)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind, by an experiment that is this file."""
    home = tmp_path_factory.mktemp("runs")
    for kind in ARRAYS:
        config = Config(workdir=str(home / kind), kind=kind, devices=1)
        training.run(config, build, setup(config))
    return home


@pytest.fixture
def folder(tmp_path):
    """Pictures of odd sizes, grey, transparent, of 16 bits, turned by their camera, and one damaged."""
    colours = RNG.integers(0, 256, (23, 37, 3), np.uint8)
    root = tmp_path / "in"
    root.mkdir()
    Image.fromarray(colours).save(root / "odd.png")
    Image.fromarray(colours[:17, :20]).save(root / "photo.jpg")
    Image.fromarray(colours[..., 0]).save(root / "grey.png")
    alpha = np.linspace(0, 255, 23 * 37).reshape(23, 37).astype(np.uint8)
    Image.fromarray(np.dstack([colours, alpha])).save(root / "alpha.png")
    Image.fromarray(np.dstack([colours[..., 0], alpha]), "LA").save(root / "grey_alpha.webp")
    Image.fromarray((colours[..., 0].astype(np.int32) * 257).astype(np.uint16)).save(root / "deep.png")
    turned = Image.fromarray(colours)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "turned.jpg", exif=exif)
    Image.fromarray(colours).convert("P").save(root / "film.gif")
    (root / "broken.png").write_bytes((root / "odd.png").read_bytes()[:200])
    (root / "notes.txt").write_text("no picture")
    return root


def start(runs, kind, folder, **flags):
    return apply.main(apply.Config(run=str(runs / kind), pictures=str(folder), out="out", **flags))


def sizes(root):
    found = {}
    for path in sorted(Path(root).iterdir()):
        with Image.open(path) as picture:
            found[path.name] = (*picture.size, picture.mode)
    return found


def test_names_sizes_and_modes(runs, folder, capsys):
    result = start(runs, "x2", folder)
    assert sizes("out") == {
        "alpha.png": (74, 46, "RGBA"), "deep.png": (74, 46, "L"), "film.png": (74, 46, "RGB"), "grey.png": (74, 46, "L"),
        "grey_alpha.webp": (74, 46, "RGBA"), "odd.png": (74, 46, "RGB"), "photo.jpg": (40, 34, "RGB"), "turned.jpg": (46, 74, "RGB"),
    }  # fmt: skip
    assert result["left_out"] == ["broken.png"] and result["count"] == 8
    said = capsys.readouterr()
    assert "broken.png is left out: " in said.err and "8 pictures by" in said.out and "left out: broken.png" in said.out
    with pytest.raises(UserError, match="--out out exists"):
        start(runs, "x2", folder)


def test_a_translator_takes_any_size_and_keeps_it(runs, folder):
    start(runs, "translate", folder, side_by_side=True)
    found = sizes("out")
    assert found["odd.png"] == (74, 23, "RGB") and found["photo.jpg"] == (40, 17, "RGB")
    assert found["grey.png"][:2] == (74, 23)
    with Image.open("out/odd.png") as both, Image.open(folder / "odd.png") as given:
        np.testing.assert_array_equal(np.asarray(both)[:, :37], np.asarray(given))
    start_at = {"out": "colours"}
    apply.main(apply.Config(run=str(runs / "translate"), pictures=str(folder / "grey.png"), **start_at))
    assert sizes("colours") == {"grey.png": (37, 23, "RGB")}  # another domain may have colours


def test_both_directions(runs, folder, tmp_path):
    """By the averaged generator, which the line says, or with --raw by the other: what the run's own view gives."""
    (tmp_path / "even").mkdir()
    image = RNG.integers(0, 256, (16, 20, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "even" / "x.png")
    given = image[None].astype(np.float32) / 127.5 - 1
    made = {}
    for raw in (False, True):
        one, other = f"to_b_{raw}", f"to_a_{raw}"
        common = {"run": str(runs / "cycle"), "pictures": str(tmp_path / "even"), "raw": raw}
        apply.main(apply.Config(out=one, **common))
        apply.main(apply.Config(out=other, reverse=True, **common))
        sampler = gan_jax.load(runs / "cycle", raw=raw)
        for out, expected in ((one, sampler(given)), (other, sampler.ask("to_a", given))):
            made[out] = np.asarray(Image.open(f"{out}/x.png"))
            assert np.abs(made[out].astype(int) - pictures.to_uint8(np.asarray(expected))[0]).max() <= 1
    assert (made["to_a_False"].astype(int) - made["to_a_True"]).any() and (made["to_a_True"] != made["to_b_True"]).any()


def test_what_is_missing_is_filled_and_the_rest_copied(runs, folder, tmp_path, capsys):
    mask = np.zeros((23, 37), np.uint8)
    mask[4:12, 9:20] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "odd.png")
    start(runs, "fill", folder / "odd.png", masks=str(tmp_path / "masks"))
    made, given = (np.asarray(Image.open(path / "odd.png")) for path in (Path("out"), folder))
    np.testing.assert_array_equal(made[mask == 0], given[mask == 0])
    assert (made[mask > 0] != given[mask > 0]).any()
    apply.main(apply.Config(run=str(runs / "fill"), pictures=str(folder / "alpha.png"), out="holes"))
    assert sizes("holes") == {"alpha.png": (37, 23, "RGB")}  # nothing is transparent any more
    with pytest.raises(UserError, match="none of the 1 pictures"):
        apply.main(apply.Config(run=str(runs / "fill"), pictures=str(folder / "odd.png"), out="more"))
    assert "odd.png is left out: nothing is missing: give --masks DIR" in capsys.readouterr().err


def drawn_on_a_layer(root, strokes):
    """White strokes on a transparent layer."""
    root.mkdir()
    mask = np.zeros((23, 37, 4), np.uint8)
    mask[strokes] = 255
    Image.fromarray(mask).save(root / "odd.png")


def test_masks_of_any_kind(runs, folder, tmp_path, capsys):
    """A mask that is a transparent layer; one of another size, one that leaves nothing, and none, each left out with a line."""
    drawn_on_a_layer(tmp_path / "masks", np.s_[4:12, 9:20])
    Image.fromarray(np.full((17, 20), 255, np.uint8)).save(tmp_path / "masks" / "photo.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "masks" / "grey.png")
    result = start(runs, "fill", folder, masks=str(tmp_path / "masks"))
    made, given = (np.asarray(Image.open(path / "odd.png")) for path in (Path("out"), folder))
    changed = (made != given).any(-1)
    assert changed[4:12, 9:20].mean() > 0.9 and not changed[12:].any() and not changed[:4].any()
    said = capsys.readouterr().err
    assert "photo.jpg is left out: all of it is missing" in said
    assert "grey.png is left out: its mask is 5x5, and it is 37x23" in said
    assert "film.gif is left out: " in said and "has 0 masks of its name" in said
    assert result["count"] == 1 and {"photo.jpg", "grey.png", "broken.png"} <= {*result["left_out"]}


def test_what_is_transparent_in_part_is_missing(runs, folder, tmp_path):
    root = tmp_path / "soft"
    root.mkdir()
    pixels = np.full((20, 20, 4), 100, np.uint8)
    pixels[..., 3] = 255
    pixels[5:9, 5:9, 3] = 200  # grey 100 would look like 133, mixed with white
    Image.fromarray(pixels).save(root / "soft.png")
    start(runs, "fill", root)
    made = np.asarray(Image.open("out/soft.png"))
    assert np.abs(made[5:9, 5:9].astype(int) - 100).max() < 12  # filled by what is around it


def test_tiles_make_the_same_picture(runs, folder, capsys):
    start(runs, "x2", folder / "odd.png")
    apply.main(apply.Config(run=str(runs / "x2"), pictures=str(folder / "odd.png"), out="tiles", tile=8))
    one, other = (np.asarray(Image.open(f"{name}/odd.png")).astype(int) for name in ("out", "tiles"))
    assert np.abs(one - other).max() <= 1
    apply.main(apply.Config(run=str(runs / "x2"), pictures=str(folder / "odd.png"), out="seams", tile=8, overlap=1))
    assert "--overlap 1: a result depends on pixels up to 3 away" in capsys.readouterr().err


@pytest.mark.parametrize("kind, flags, words", [
    ("translate", {"tile": 16}, "depends on the whole picture"),
    ("x2", {"reverse": True}, "learnt one direction only"),
    ("x2", {"masks": "masks"}, "takes none: leave it out"),
    ("x2", {"overlap": 4}, "an overlap is that of tiles"),
    ("cycle", {"reverse": True, "tile": 8}, "in its own direction"),
])  # fmt: skip
def test_flags_that_do_not_fit(runs, folder, kind, flags, words, monkeypatch):
    monkeypatch.setattr(any_size, "PROBES", (64,))
    with pytest.raises(UserError, match=words):
        start(runs, kind, folder, **flags)
    assert not Path("out").exists()


def test_folders_that_do_not_fit(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        start(runs, "x2", tmp_path / "empty")
    with pytest.raises(UserError, match="no such folder or picture"):
        start(runs, "x2", tmp_path / "nowhere")


# ---- of any size


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "network, reach", [(superres.Compact(2, 4, 2, "float64"), 4), (superres.Residual(4, 4, 1, "float64"), 5)]
)
def test_tiles_equal_the_whole(network, reach):
    """Convolutions reach one pixel each, of the small image; in the enlarged ones less."""
    x = RNG.uniform(-1, 1, (21, 34, 3))
    params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape), params)
    call = functools.partial(lambda params, x: network.apply({"params": params}, x, train=False), params)
    fit = any_size.fit_of(call, (3,))
    assert fit[:3] == (1, network.scale, 1)
    found = any_size.reach_of(lambda params, x: network.apply({"params": params}, x, train=False), params, 3, fit)
    assert found == reach
    whole = any_size.whole(call, (x,), fit)
    assert whole.shape == (21 * network.scale, 34 * network.scale, 3)
    np.testing.assert_allclose(any_size.tiled(call, (x,), fit, 7, found), whole, rtol=0, atol=1e-11)
    assert np.abs(any_size.tiled(call, (x,), fit, 7, found - 1) - whole).max() > 1e-9


def test_multiples_are_found_by_trying():
    translator = ResnetTranslator(4, 1)
    variables = translator.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)), train=False)
    fit = any_size.fit_of(lambda x: translator.apply(variables, x, train=False), (1,))
    assert fit == (4, 1, 16, None)
    made = any_size.whole(
        lambda x: translator.apply(variables, x, train=False), (np.ones((18, 33, 1), np.float32),), fit
    )
    assert made.shape == (18, 33, 1)

    small = any_size.whole(
        lambda x: translator.apply(variables, x, train=False), (np.ones((5, 7, 1), np.float32),), fit
    )
    assert small.shape == (5, 7, 1)


def one_size(x):
    if x.shape[1:3] != (28, 28):
        raise UserError("images of 28x28 are needed")
    return x


def test_networks_of_one_size_and_of_rounded_ones():
    with pytest.raises(UserError, match="no size that was tried: images of 28x28 are needed"):
        any_size.fit_of(one_size, (1,))
    fit = any_size.fit_of(one_size, (1,), (28, 28))
    assert fit.only == (28, 28)
    assert any_size.whole(one_size, (np.ones((28, 28, 1)),), fit).shape == (28, 28, 1)
    with pytest.raises(UserError, match="it is 30x28, and this generator takes 28x28 alone"):
        any_size.whole(one_size, (np.ones((28, 30, 1)),), fit)
    # Halves and doubles with a rest: odd sides become even ones.
    rounded = any_size.fit_of(lambda x: jnp.repeat(jnp.repeat(x[:, ::2, ::2], 2, 1), 2, 2), (1,))
    assert rounded[:2] == (2, 1)


def test_a_picture_narrower_than_its_border():
    fit = any_size.Fit(8, 1)
    x = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    np.testing.assert_array_equal(any_size.whole(lambda x: x, (x,), fit), x)
    np.testing.assert_array_equal(any_size.whole(lambda x: x, (x[:1, :1],), fit), x[:1, :1])
