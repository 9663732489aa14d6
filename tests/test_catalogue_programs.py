"""The catalogue of mistakes: loading a run, sampling from it, and the library's own functions."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from catalogue import (
    DAMAGED,
    NOTHING,
    SPOILT,
    config,
    edit,
    flip,
    gone,
    put,
    tree,
    unlisted,
)

import gan_jax
from experiments import gan_ring
from gan_jax import data, game, losses, optim, penalties, training
from gan_jax.data.shuffle import epoch_index
from gan_jax.games.adversarial import adversarial
from gan_jax.metrics.frechet import frechet
from gan_jax.metrics.modes import modes
from gan_jax.metrics.precision_recall import prdc
from gan_jax.models import dcgan, mlp
from gan_jax.models.layers import require_label
from gan_jax.types import UserError, rows_of, spec_of
from gan_jax.workdir import pictures
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.sampler import Programs, Sampler

pytestmark = pytest.mark.usefixtures("no_training")


# -- gan_jax.load


def networks(monkeypatch):
    """The experiment has wider ones now. What Orbax makes of it is said here without its many threads."""

    def restore(self, step, like):
        raise UserError(f"checkpoint {step} cannot be read: Requested shape: (9,); remove it to use the one before it")

    plain = gan_ring.build
    monkeypatch.setattr(
        gan_ring,
        "build",
        lambda config, spec: plain(gan_ring.Config(width=9, gen_blocks=1, disc_blocks=1, batch_size=16), spec),
    )
    monkeypatch.setattr(Checkpoints, "restore", restore)


def nameless(monkeypatch):
    monkeypatch.delattr(gan_ring, "Config")


def module(text):
    """The run's experiment is this file."""

    def prepare(monkeypatch):
        Path("catalogued.py").write_text(text)
        monkeypatch.delitem(sys.modules, "catalogued", raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.syspath_prepend(Path.cwd())
        edit(experiment="catalogued", experiment_file={})(monkeypatch)

    return prepare


NO_CONFIG = "ring/config.json is not a run's configuration"
NO_BEST = "ring has no best checkpoint: a run keeps one when it is evaluated"
BEST = Path("ring/checkpoints/best.json")


@pytest.mark.parametrize(
    "prepare, options, text",
    [
        (NOTHING, {"workdir": "nowhere"}, "nowhere is no run's directory: it has no config.json"),
        (NOTHING, {"workdir": "small.npy"}, "small.npy is no run's directory: it has no config.json"),
        (NOTHING, {"workdir": ""}, "is no run's directory: it has no config.json"),
        (gone("ring/checkpoints"), {}, "ring has no checkpoint yet; a run writes one every --checkpoint-every steps"),
        (put("ring/checkpoints"), {}, "ring has no checkpoint yet"),
        (NOTHING, {"member": 1}, "member 1 of .*ring, which has 1: 0 to 0"),
        (NOTHING, {"member": -1}, "member -1 of .*ring, which has 1: 0 to 0"),
        (gone(BEST), {"best": True}, NO_BEST),
        (put(BEST, b"{"), {"best": True}, NO_BEST),
        (put(BEST, b'{"step": 9}'), {"best": True}, NO_BEST),
        (put(BEST, b"[]"), {"best": True}, NO_BEST),
        (flip, {"best": True}, "of step 2, is damaged: ocdbt"),
        *((prepare, {}, f"{DAMAGED}{text}") for prepare, text in SPOILT),
        (unlisted, {}, DAMAGED),
        (
            edit(experiment="no.such", experiment_file={}),
            {},
            "the run's experiment, no.such, cannot be imported .*start Python where it can",
        ),
        (module("import nothing_of_it"), {}, "catalogued, cannot be imported .No module named 'nothing_of_it'"),
        (config(width=-8), {}, "--width -8: it must be at least 1"),
        (module("def"), {}, "catalogued, cannot be imported"),
        (module("x = 1"), {}, "catalogued.*Config"),
        (nameless, {}, "experiments.gan_ring.*Config"),
        (config(momentum=0.9), {}, "momentum"),
        (networks, {}, "^(?!.*remove).*networks"),
        (put("ring/config.json", b"{"), {}, NO_CONFIG),
        (put("ring/config.json", b"[]"), {}, NO_CONFIG),
        (put("ring/config.json", b"{}"), {}, NO_CONFIG),
        (put("ring/config.json"), {}, NO_CONFIG),
        (edit(config=None), {}, NO_CONFIG),
        (edit(identity=None), {}, NO_CONFIG),
        (edit(experiment=""), {}, NO_CONFIG),
        (edit(experiment=3), {}, NO_CONFIG),
    ],
)
def test_load(prepare, options, text, runs, monkeypatch):
    prepare(monkeypatch)
    before = tree()
    with pytest.raises(UserError, match=text):
        gan_jax.load(**{"workdir": "ring", **options})
    assert tree() == before


def drawn(shape):
    return lambda: gan_jax.load("ring")(np.zeros(shape, np.float32))


def labelled(*label):
    """Two samples of three classes."""
    inputs = lambda key, batch: (jnp.zeros((rows_of(batch), 2)), batch["label"])  # noqa: E731
    played = game.Game(None, None, None, lambda params, stats, z, label: z, None, inputs)
    programs = Programs(lambda values: played, spec_of((2,), 3), False)
    return lambda: Sampler(programs, None, None, 0, {})(np.zeros((2, 2), np.float32), np.array(label))


@pytest.mark.parametrize(
    "call, text",
    [
        (drawn((4, 3)), r"takes \[b 2\] float32, and was given \(4, 3\) .*; sampler.inputs\(n\) makes some"),
        (
            lambda: gan_jax.load("ring")(np.zeros((1, 2), np.float32), np.zeros(1, int)),
            "the generator takes \\[b 2\\] float32; got 2 arrays",
        ),
        (drawn(2), r"\(2,\)"),
        (drawn((2, 3, 2)), r"\(2, 3, 2\)"),
        (drawn(()), r"\(\)"),
        (lambda: gan_jax.load("ring").latents(-1), "-1"),
        (labelled(0, 7), "7"),
        (labelled(0, -1), "-1"),
        (labelled(0, 1, 2), "3"),
    ],
)
def test_samplers(call, text, runs, unchecked):
    with pytest.raises(ValueError, match=text):
        call()


# -- in a program

TX = optax.sgd(0.1)
GEN, DISC = mlp.Generator((2,), widths=(4,)), mlp.Discriminator(widths=(4,))
KEY = jax.random.key(0)
POINTS = np.zeros((4, 2), np.float32)


def rounds(batch, of=None, **options):
    of = of or adversarial(GEN, DISC, losses.hinge(), z_dim=2)
    return game.make_update(of, TX, TX, **options)(game.init(of, TX, TX, KEY, batch), batch, KEY)


def begun(of, batch):
    return game.init(of, TX, TX, KEY, batch)


def played(**change):
    config = gan_ring.Config(width=8, gen_blocks=1, disc_blocks=1, batch_size=16, steps=2, devices=1)
    return training.run(config, gan_ring.build, training.Setup(data.ring(**{"rows": 16, "seed": 0, **change})))


@pytest.mark.parametrize(
    "call, text",
    [
        # the game
        (lambda: rounds({"image": POINTS}, n_disc=0), "n_disc is the discriminator's steps .*at least 1; got 0"),
        (lambda: rounds({"image": POINTS}, n_disc=-1), "at least 1; got -1"),
        (lambda: rounds({"image": POINTS}, n_disc=3), r"a round of 3 D steps needs .*multiple of 3; got \[4\] rows"),
        (lambda: rounds({"image": POINTS, "label": np.zeros(2, int)}, n_disc=2), "got image 4 and label 2 rows"),
        (lambda: rounds({"image": POINTS}, ema_decay=1.5), "1.5"),
        (lambda: rounds({"image": POINTS}, ema_decay=-0.5), "-0.5"),
        (lambda: game.half_life(-1, 64), "a half-life of -1 images with batches of 64 and .*: they must be at least 0"),
        (
            lambda: game.half_life(10, 0),
            "a half-life of 10 images with batches of 0 and .*: they must be at least 0, 1",
        ),
        (lambda: game.half_life(float("nan"), 64), "nan"),
        (lambda: game.half_life(10, 4, ramp_up=-1.0), "-1.0"),
        (
            lambda: begun(
                adversarial(GEN, DISC, losses.hinge(), z_dim=2, classes=3),
                {"image": POINTS},
            ),
            r"the game has classes=3, but the batch has no labels, only \['image'\]",
        ),
        (
            lambda: begun(
                adversarial(
                    GEN, dcgan.Discriminator(width=4), losses.hinge(), z_dim=2, penalties=[(1.0, penalties.r1)]
                ),
                {"image": np.zeros((2, 8, 8, 1), np.float32)},
            ),
            "a gradient penalty needs a discriminator without batch norm: batch_norm=False",
        ),
        (
            lambda: rounds({"image": POINTS}, adversarial(GEN, DISC, losses.hinge(), z_dim=2, accumulate=0)),
            "accumulate.*0",
        ),
        (
            lambda: rounds({"image": POINTS}, adversarial(GEN, DISC, losses.hinge(), z_dim=2, accumulate=3)),
            "accumulate.*3",
        ),
        (lambda: begun(adversarial(GEN, DISC, losses.hinge(), z_dim=0), {"image": POINTS}), "z_dim.*0"),
        # the loop
        (
            lambda: played(rows=4),
            "the source gives 4 rows a step; batch_size x packing x n_disc = 16 x 1 x 1 are needed",
        ),
        (lambda: played(seed=5), "the source's key is not that of the run's seed, 0"),
        # losses, penalties, optimisers
        (lambda: losses.minimax(real_label=0.5), r"real_label .* in \(0.5, 1\]; got 0.5"),
        (lambda: losses.non_saturating(real_label=1.1), r"real_label .* in \(0.5, 1\]; got 1.1"),
        (lambda: losses.least_squares(real_label=float("nan")), r"real_label .* in \(0.5, 1\]; got nan"),
        (lambda: losses.boundary_seeking(real_label=0.0), r"real_label .* in \(0.5, 1\]; got 0.0"),
        (
            lambda: losses.relativistic_paired().gen(real=jnp.zeros(3), fake=jnp.zeros((3, 1))),
            r"real is \(3,\) and fake \(3, 1\); give it equal shapes",
        ),
        (
            lambda: penalties.wgan_gp(lambda x: x.sum(-1), POINTS, POINTS[:3], KEY),
            r"interpolating needs equal shapes: real is \(4, 2\) and fake \(3, 2\)",
        ),
        (
            lambda: penalties.zero_centred(lambda x: x.sum(-1), POINTS, POINTS[:, :1], KEY),
            r"real is \(4, 2\) and fake \(4, 1\)",
        ),
        (lambda: optim.clip_weights(0.0), "limit must be positive, got 0.0; the paper's is 0.01"),
        (lambda: optim.clip_weights(-0.01), "limit must be positive, got -0.01"),
        (lambda: optim.clip_weights(float("nan")), "limit must be positive, got nan"),
        (lambda: optim.clip_weights(0.1).update(POINTS, optax.EmptyState()), "clip_weights needs the parameters"),
        # networks
        (
            lambda: dcgan.Discriminator().init(KEY, np.zeros((2, 64), np.float32), train=False),
            r"takes images \[b h w c\], and was given \(2, 64\); mlp.Discriminator takes any shape",
        ),
        (lambda: require_label(None, 3, "net"), "net has classes=3 and was given no label; they go together"),
        # measures and pictures
        (lambda: pictures.grid(np.zeros((4, 8, 8))), r"a grid is made of images \[b h w c\].*; got \(4, 8, 8\)"),
        (lambda: pictures.grid(np.zeros((0, 8, 8, 1))), r"none of them 0; got \(0, 8, 8, 1\)"),
        (lambda: frechet(POINTS[:1], POINTS), r"real features must be \[n d\] with n at least 2 .* got \(1, 2\)"),
        (lambda: frechet(POINTS, POINTS[:, :1]), "one number of dimensions; got real 2, fake 1"),
        (lambda: frechet(POINTS, POINTS + np.nan), "fake features hold 8 values that are not finite"),
        (lambda: prdc(POINTS, POINTS, k=4), "k = 4 neighbours need more than 4 .*; got 4 real and 4 fake"),
        (lambda: prdc(POINTS, POINTS, k=0), "k = 0"),
        (lambda: modes(POINTS, POINTS[:0], 0.1), "no samples to count modes of"),
        (
            lambda: epoch_index(jnp.zeros(2, jnp.uint32), jnp.zeros(1, jnp.uint32), 0),
            r"size must be in \[1, 2\*\*31\): 0",
        ),
    ],
)
def test_in_a_program(call, text, unchecked):
    with pytest.raises(ValueError, match=text):
        call()
    assert not tree()
