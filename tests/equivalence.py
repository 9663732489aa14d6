"""One round of every kind of game on some devices, in float64 unless asked otherwise: what the tables of devices and
processes compare.

As a program, one of several processes: python tests/equivalence.py COORDINATOR PROCESSES ID OUT.npz GAME ...
"""

import dataclasses
import functools
import re
import sys
from collections import Counter

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils

from gan_jax import augment, losses, penalties
from gan_jax.config import Run
from gan_jax.games import controls, entropy, growing
from gan_jax.games.adversarial import adversarial
from gan_jax.games.auxiliary import auxiliary, data_to_data
from gan_jax.games.contrastive import Contrasted, Heads, contrastive
from gan_jax.games.cycle import Pair, cycle
from gan_jax.games.entropy import entropic
from gan_jax.games.info import info
from gan_jax.games.motion import motion
from gan_jax.games.paired import Term, l1, paired
from gan_jax.games.sequence import reinforce, soft
from gan_jax.games.style import style
from gan_jax.games.vocoder import vocoder
from gan_jax.models import biggan, dcgan, hifigan, infogan, mlp, mocogan, progressive, stylegan2, text_cnn, wavegan
from gan_jax.models.heads import Proxies
from gan_jax.models.lstm import LanguageModel
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.resnet_translator import ResnetTranslator
from gan_jax.models.translator import Patches, Translator
from gan_jax.models.unet import UNet
from gan_jax.optim import clip_weights
from gan_jax.system import processes
from gan_jax.system.mesh import make
from gan_jax.system.numerics import arithmetic
from gan_jax.training.program import Program
from gan_jax.training.recipe import Recipe
from gan_jax.types import Source, Spec, spec_of

ROWS = 16
SHAPE = (8, 8, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    batch_size: int = ROWS
    lr: float = 0.1


def source(rows, classes=0):
    images = np.random.default_rng(0).uniform(-1, 1, (rows, *SHAPE)).astype(np.float32)
    labels = np.arange(rows, dtype=np.int32) % max(classes, 1)
    held = {"image": images} | ({"label": labels} if classes else {})
    return Source(
        lambda key, step, which=slice(None): held, lambda fetched, key, step: fetched, jax.random.key(0), rows,
        spec_of(SHAPE, classes), rows, True,
    )  # fmt: skip


def two_domains(side):
    return held({name: (side, side, 1) for name in "ab"})


def held(shapes):
    """A source of the same arrays, of these names and shapes, in each step."""
    rng = np.random.default_rng(1)
    same = {name: rng.uniform(-1, 1, (ROWS, *shape)).astype(np.float32) for name, shape in shapes.items()}
    arrays = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    return Source(
        lambda key, step, which=slice(None): same, lambda fetched, key, step: fetched, jax.random.key(0), ROWS,
        Spec(arrays), ROWS, True,
    )  # fmt: skip


def written(length):
    tokens = np.random.default_rng(2).integers(0, 5, (ROWS, length)).astype(np.int32)
    same = {"tokens": tokens}
    return Source(
        lambda key, step, which=slice(None): same, lambda fetched, key, step: fetched, jax.random.key(0), ROWS,
        Spec({"tokens": jax.ShapeDtypeStruct((length,), np.int32)}), ROWS, True,
    )  # fmt: skip


def _mlp(loss, dropout=0.0, n_disc=1, tx=lambda lr: optax.sgd(lr), smooth=()):
    def build(config, spec):
        gen = mlp.Generator(spec.shape, (32,), dtype=config.precision)
        disc = mlp.Discriminator((32,), dropout=dropout, dtype=config.precision)
        weighted = [(1.0, penalty) for penalty in smooth]
        game = adversarial(gen, disc, loss, z_dim=4, accumulate=config.accumulate, penalties=weighted)
        return Recipe(game, optax.sgd(config.lr), tx(config.lr), n_disc=n_disc, ema_decay=0.9)

    return build


def _dcgan(loss, batch_norm=True, classes=0, penalty=None):
    def build(config, spec):
        gen = dcgan.Generator(spec.shape, 8, batch_norm=batch_norm, classes=classes, dtype=config.precision)
        disc = dcgan.Discriminator(8, batch_norm=batch_norm, classes=classes, dtype=config.precision)
        smooth = [] if penalty is None else [(1.0, penalty)]
        game = adversarial(gen, disc, loss, z_dim=4, accumulate=config.accumulate, classes=classes, penalties=smooth)
        return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)

    return build


def _info(config, spec):
    gen = infogan.Generator(spec.shape, 3, 2, dtype=config.precision)
    disc = infogan.Discriminator(3, 2, 2, dtype=config.precision)
    game = info(gen, disc, losses.non_saturating(), z_dim=4, codes=3, continuous=2, accumulate=config.accumulate)
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _cycle(config, spec):
    gen, disc = (
        Pair(*(network(4, dtype=config.precision, **options) for _ in range(2)))
        for network, options in ((Translator, {"blocks": 1}), (Patches, {}))
    )
    game = cycle(gen, disc, losses.least_squares(), pool=8, accumulate=config.accumulate)
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _few(config, spec):
    """All that keeps D from learning by heart, far from its beginning."""
    gen = dcgan.Generator(spec.shape, 8, batch_norm=False, dtype=config.precision)
    disc = dcgan.Discriminator(8, batch_norm=False, dtype=config.precision)
    changed, told = (
        control._replace(init=lambda control=control, name=name: {**control.init(), name: jax.numpy.float32(0.5)})
        for control, name in ((controls.ada(ROWS, every=1), "p"), (controls.apa(ROWS, every=1), "deceive"))
    )
    smooth = [(1.0, penalties.r1_jvp(share=0.5)), (1.0, penalties.lazy(penalties.r2, 2))]
    game = adversarial(
        gen, disc, losses.non_saturating(), z_dim=4, accumulate=config.accumulate, penalties=smooth,
        augment=augment.diffaugment, controls=[changed, told, controls.lecam()],
    )  # fmt: skip
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _auxiliary(config, spec):
    """Spectral norm in both, conditional norms, and a classifier that compares rows."""
    gen = biggan.Generator(spec.shape, (8, 8), 3, 4, dtype=config.precision)
    disc = biggan.Discriminator((8, 8), 1, head=Proxies(3, 6, config.precision), dtype=config.precision)
    game = auxiliary(gen, disc, losses.hinge(), data_to_data(), z_dim=4, accumulate=config.accumulate)
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _styled(config, spec):
    """Path lengths due, mixed styles, and what compares rows."""
    sizes = {"base": 32, "most": 8, "dtype": config.precision}
    gen = stylegan2.Generator(spec.shape, features=6, layers=1, **sizes)
    game = style(
        gen, stylegan2.Discriminator(**sizes), losses.non_saturating(), z_dim=4, noises=stylegan2.noises(SHAPE),
        layers=stylegan2.styles(SHAPE), accumulate=config.accumulate,
    )  # fmt: skip
    return Recipe(game, optax.sgd(config.lr / 10), optax.sgd(config.lr / 10), ema_decay=0.9)


def _grown(config, spec):
    """In the middle of a fade."""
    gen, disc = (
        progressive.Generator(1, 1, 16, 4, dtype=config.precision),
        progressive.Discriminator(1, 16, 4, dtype=config.precision),
    )

    def at(level):
        def game(fade):
            networks = growing.At(gen, level, fade), growing.At(disc, level, fade)
            return adversarial(*networks, losses.wasserstein(), z_dim=4, penalties=[(1.0, penalties.wgan_gp)])

        return game

    game = growing.growing([at(0), at(1)], lambda step: (jax.numpy.int32(1), jax.numpy.float32(0.5)), SHAPE[0])
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _entropic(config, spec):
    gen, disc = (
        mlp.Generator(spec.shape, (32,), dtype=config.precision),
        mlp.Discriminator((32,), dtype=config.precision),
    )
    how = {"z_dim": 4, "weight": 0.1, "noise": 0.3, "accumulate": config.accumulate}
    game = entropic(gen, disc, losses.non_saturating(), entropy.mixture(), **how)
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _paired(config, spec):
    gen, disc = UNet(1, 4, 2, dtype=config.precision), PatchGAN(1, 4, affine=True, dtype=config.precision)
    game = paired(gen, disc, losses.non_saturating(), [Term("l1", 10.0, l1)], noise=True, accumulate=config.accumulate)
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _contrasted(config, spec):
    gen = Contrasted(ResnetTranslator(4, 1, dtype=config.precision), Heads(8))
    game = contrastive(gen, PatchGAN(1, 4, dtype=config.precision), losses.least_squares(), positions=8)
    return Recipe(game, optax.sgd(config.lr / 10), optax.sgd(config.lr), ema_decay=0.9)


def _vocoder(config, spec):
    gen = hifigan.Generator(4, (4, 2), (8, 4), dtype=config.precision)
    disc = hifigan.PeriodDiscriminators((2, 2, 3), (2, 3), dtype=config.precision)
    game = vocoder(gen, disc, losses.least_squares(), l1, accumulate=config.accumulate)
    return Recipe(game, optax.sgd(config.lr / 100), optax.sgd(config.lr / 10), ema_decay=0.9)


def _wavegan(config, spec):
    gen, disc = wavegan.Generator(80, 2, dtype=config.precision), wavegan.Discriminator(2, dtype=config.precision)
    game = adversarial(
        gen, disc, losses.non_saturating(), z_dim=4, penalties=[(1.0, penalties.r1)], accumulate=config.accumulate
    )
    return Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def _mocogan(config, spec):
    gen = mocogan.Generator(spec.shape, 2, dtype=config.precision)
    disc = mocogan.Discriminator(2, noise=0.1, dtype=config.precision)
    game = motion(
        gen, disc, losses.non_saturating(), content=4, moving=3, length=spec.shape[0], accumulate=config.accumulate
    )
    return Recipe(game, optax.sgd(config.lr / 100), optax.sgd(config.lr / 100), ema_decay=0.9)


def _written(make):
    """Symbols drawn one after another: in its first round already G is rewarded, or judged softly."""

    def build(config, spec):
        gen = LanguageModel(5, 6, 4, start=5, end=4, dtype=config.precision)
        disc = text_cnn.Discriminator(5, ((1, 4), (2, 4)), dtype=config.precision)
        return Recipe(make(gen, disc), optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)

    return build


_rewarded = _written(
    lambda gen, disc: reinforce(gen, disc, losses.non_saturating(), likely=0, rollouts=2, baseline=0.9)
)
_soft = _written(lambda gen, disc: soft(gen, disc, losses.relativistic_paired(), likely=0, sharpness=lambda step: 2.0))


PENALTIES = (penalties.r1, penalties.r2, penalties.wgan_gp, penalties.wgan_lp, penalties.dragan, penalties.zero_centred)
CLIPPED = dict(n_disc=2, tx=lambda lr: optax.chain(optax.sgd(lr), clip_weights(0.5)))
GAMES = {
    "MLP, minimax": _mlp(losses.minimax()),
    "MLP, non-saturating, dropout": _mlp(losses.non_saturating(), dropout=0.2),
    "MLP, relativistic average": _mlp(losses.relativistic_average()),
    "MLP, weight clipping, 2 D steps": _mlp(losses.wasserstein(), **CLIPPED),
    "MLP, relativistic paired, every penalty": _mlp(losses.relativistic_paired(), smooth=PENALTIES),
    "DCGAN, batch norm, least squares": _dcgan(losses.least_squares()),
    "conditional DCGAN, batch norm, hinge": _dcgan(losses.hinge(), classes=3),
    "DCGAN, Wasserstein, wgan_gp": _dcgan(losses.wasserstein(), batch_norm=False, penalty=penalties.wgan_gp),
    "DCGAN, ADA, DiffAugment, LeCam, APA, R1 along directions": _few,
    "MLP, entropy": _entropic,
    "conditional BigGAN, batch norm, ReACGAN": _auxiliary,
    "StyleGAN2, minibatch deviation, path length": _styled,
    "progressive growing, minibatch deviation": _grown,
    "InfoGAN, batch norm": _info,
    "CycleGAN, pool": _cycle,
    "pix2pix": _paired,
    "CUT, patches": _contrasted,
    "HiFi-GAN": _vocoder,
    "WaveGAN, phase shuffle": _wavegan,
    "MoCoGAN, batch norm": _mocogan,
    "SeqGAN, dropout": _rewarded,
    "soft symbols, dropout": _soft,
}


# What is equal in exact arithmetic, after one round in float64: the sums of a round have up to some thousand terms, each
# rounded by 1e-16, and where norms stand one behind another, with weights from N(0, .02^2), each divides by a deviation of
# about .02 and so multiplies the rounding before it by 50: 2,500 for two. 1e-11 leaves a factor of ten above that.
EXACT = 1e-11


def setting(name):
    classes = 3 if "conditional" in name else 0
    n_disc = 2 if "2 D" in name else 1
    if any(word in name for word in ("CycleGAN", "pix2pix", "CUT")):
        return two_domains(16 if "CUT" in name else 8)
    if "HiFi" in name:
        return held({"mel": (4, 3), "image": (32, 1)})
    if "MoCoGAN" in name:
        return held({"image": (10, 16, 16, 1)})
    if "dropout" in name and "MLP" not in name:
        return written(8)
    if "WaveGAN" in name:
        return held({"image": (80, 1)})
    return source(ROWS * n_disc, classes)


@functools.cache
def play(name, devices, rounds=1, precision="float64", **flags):
    """(the state and the metrics after `rounds`, as NumPy; the Program; the state as it lay)."""
    config = Config(devices=devices, precision=precision, **flags)
    mesh = make(devices, ROWS, len(config.members()))
    with jax.set_mesh(mesh), arithmetic(config.precision, config.matmul_precision):
        program = Program(config, GAMES[name], setting(name), mesh)
        state, watch, metrics = program.fresh(), program.no_fault(), {}
        for step in range(rounds):
            state, watch, metrics, _ = program.play(state, watch, step, 1)
        return jax.tree.map(np.asarray, (state, metrics)), program, state


def compiled(program):
    """The executable that `play` has compiled."""
    config = program._config
    with jax.set_mesh(program._mesh), arithmetic(config.precision, config.matmul_precision):
        return program.lower(program.fresh()).compile()


def difference(a, b):
    """The largest difference of two trees, each array's beside its own largest entry, or beside the learning rate where
    that is larger: the last bias of D hardly moves, because what pulls it cancels but for rounding. A metric's, a single
    number, beside 1 at least: the logits that it is the mean of are of that size, and cancel as well.
    """
    worst = 0.0
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y))  # monitors of rounds that do not compute them
        x, y = np.nan_to_num(x), np.nan_to_num(y)
        scale = max(np.abs(x).max(), 0.1 if x.ndim else 1.0)
        worst = max(worst, float(np.abs(np.float64(x) - np.float64(y)).max() / scale))
    return worst


def collectives(text):
    """How often each collective stands in a compiled program."""
    kinds = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    return Counter(re.findall(rf"= .*? ({kinds})(?:-start)?\(", text))


if __name__ == "__main__":
    jax.config.update("jax_numpy_rank_promotion", "raise")
    processes.initialize(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    leaves = {name: jax.tree.leaves(play(name, 0)[0]) for name in sys.argv[5:]}
    if jax.process_index() == 0:
        np.savez(sys.argv[4], **{f"{name}|{i}": x for name in leaves for i, x in enumerate(leaves[name])})
    multihost_utils.sync_global_devices("done")
