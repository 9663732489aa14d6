"""BigGAN, SAGAN and their layers: published numbers of parameters, attention row by row, conditional norms, spectral norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import RNG
from rounding import float32
from test_models import leaves

from gan_jax.models import biggan, biggan_deep, sagan
from gan_jax.models.attention import SelfAttention, attend
from gan_jax.types import UserError

Z, CLASSES, ROWS = 12, 3, 4


def numbers(module, *given):
    made = jax.eval_shape(lambda *given: module.init(jax.random.key(0), *given, train=False), *given)
    return sum(leaf.size for leaf in jax.tree.leaves(made["params"]))


def times(width, *factors):
    return tuple(width * factor for factor in factors)


G, D, DEEP_G, DEEP_D = biggan.Generator, biggan.Discriminator, biggan_deep.Generator, biggan_deep.Discriminator
# side, z, G, D, and the parameters of both: compare_gan's tests for 128 to 512 pixels, StudioGAN's logs for CIFAR-10.
# The former's D has no 1x1 convolution in shortcuts between equal widths: one of 768 channels at 256 and 512 pixels, and
# one of 96 at 512; the authors' has.
PUBLISHED = {
    "128": (
        128, 120, G((128, 128, 3), times(96, 16, 16, 8, 4, 2, 1), 1_000, attend=(3,)),
        D(times(96, 1, 2, 4, 8, 16, 16), 5, 1_000, (0,)), 70_433_988, 87_982_370,
    ),
    "256": (
        256, 140, G((256, 256, 3), times(96, 16, 16, 8, 8, 4, 2, 1), 1_000, attend=(4,)),
        D(times(96, 1, 2, 4, 8, 8, 16, 16), 6, 1_000, (1,)), 82_097_604, 98_635_298 + 768 * 769,
    ),
    "512": (
        512, 160, G((512, 512, 3), times(96, 16, 16, 8, 8, 4, 2, 1, 1), 1_000, attend=(3,)),
        D(times(96, 1, 1, 2, 4, 8, 8, 16, 16), 7, 1_000, (2,)), 82_468_068, 98_801_378 + 768 * 769 + 96 * 97,
    ),
    "CIFAR-10": (
        32, 80, G((32, 32, 3), times(96, 4, 4, 4, 4), 10, attend=(1,)), D(times(96, 2, 2, 2, 2), 2, 10, (0,)),
        9_416_196, 2_415_170,
    ),
    "deep 128": (
        128, 128, DEEP_G((128, 128, 3), times(128, 16, 16, 8, 4, 2, 1), 1_000, attend=(3,)),
        DEEP_D(times(128, 1, 2, 4, 8, 16, 16), 1_000, (0,)), 50_244_484, 34_590_210,
    ),
    "deep CIFAR-10": (
        32, 80, DEEP_G((32, 32, 3), times(96, 4, 4, 4, 4), 10, attend=(1,)), DEEP_D(times(96, 2, 2, 2, 2), 10, (0,)),
        4_599_876, 415_010,
    ),
    "SAGAN CIFAR-10": (
        32, 128, sagan.Generator((32, 32, 3), times(256, 1, 1, 1, 1), 10, (1,)), D(times(128, 1, 1, 1, 1), 2, 10, (0,)),
        4_386_308, 1_075_586,
    ),
    "small": (
        32, 64, G((32, 32, 3), (32,) * 4, 10, 32), D((32,) * 4, 2, 10), 87_043, 67_169,
    ),
    "small with attention": (
        32, 64, G((32, 32, 3), (32,) * 4, 10, 32, (1,)), D((32,) * 4, 2, 10, (0,)), 88_324, 68_450,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count(name):
    side, z, gen, disc, of_gen, of_disc = PUBLISHED[name]
    label, shape = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct
    assert numbers(gen, shape((2, z), jnp.float32), label) == of_gen
    assert numbers(disc, shape((2, side, side, 3), jnp.float32), label) == of_disc


# ---- attention


@pytest.mark.usefixtures("x64")
def test_attention_row_by_row():
    query, key, value = RNG.normal(size=(2, 6, 3)), RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 4, 5))
    found = attend(query, key, value)
    for b in range(2):
        for q in range(6):
            weights = np.exp([query[b, q] @ key[b, k] for k in range(4)])
            np.testing.assert_allclose(found[b, q], weights / weights.sum() @ value[b], rtol=1e-12)
    same = attend(query, key, np.ones((2, 4, 1)))
    np.testing.assert_allclose(same, 1, rtol=1e-12)  # the weights of a query sum to 1


@pytest.mark.usefixtures("x64")
def test_attention_begins_as_the_identity_and_knows_no_place():
    layer, x = SelfAttention("float64"), RNG.normal(size=(2, 6, 4, 8))
    variables = layer.init(jax.random.key(0), x, False)
    np.testing.assert_array_equal(layer.apply(variables, x, False), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 1.25 * 64 + 1
    variables["params"]["gamma"] = jnp.float64(0.7)
    out = layer.apply(variables, x, False)
    assert float(jnp.abs(out - x).max()) > 1e-3

    def moved(x):  # whole cells of 2x2 pixels change places
        cells = np.asarray(x).reshape(2, 3, 2, 2, 2, 8).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 2, 2, 8)
        cells = cells[:, np.random.default_rng(0).permutation(6)]
        return cells.reshape(2, 3, 2, 2, 2, 8).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 4, 8)

    np.testing.assert_allclose(layer.apply(variables, moved(x), False), moved(out), rtol=1e-10, atol=1e-12)
    with pytest.raises(UserError, match="even sides and multiples of 8 channels; got 3x4 of 8"):
        layer.init(jax.random.key(0), np.zeros((1, 3, 4, 8)), False)


# ---- norms


@pytest.mark.usefixtures("x64")
def test_a_conditional_norm_is_a_plain_one_without_its_condition():
    """The gain is 1 more than what is linear, which catches one that begins near 0."""
    layer, x = biggan.ConditionalBatchNorm("float64"), 3 + 2 * RNG.normal(size=(ROWS, 4, 4, 5))
    condition = RNG.normal(size=(ROWS, 7))
    variables = layer.init(jax.random.key(0), x, condition, True)
    plain = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)

    def out(variables, condition):
        return layer.apply(variables, x, condition, True, mutable=["batch_stats"])[0]

    np.testing.assert_allclose(out(variables, 0 * condition), plain, rtol=1e-9, atol=1e-9)
    stats = variables["batch_stats"]
    for _ in range(200):  # the power iteration settles
        stats = layer.apply(variables | {"batch_stats": stats}, x, condition, True, mutable=["batch_stats"])[1][
            "batch_stats"
        ]
    gain, bias = (np.asarray(variables["params"][name]["kernel"]) for name in ("gain", "bias"))
    gain, bias = (condition @ matrix / np.linalg.svd(matrix)[1][0] for matrix in (gain, bias))
    expected = plain * (1 + gain[:, None, None]) + bias[:, None, None]
    found = out(variables | {"batch_stats": stats}, condition)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)  # EPSILON stands in the norms, of about 1


NETWORKS = {
    "BigGAN": (G((8, 12, 2), (16, 8, 8), CLASSES, 4, (0,)), D((8, 16, 16), 2, CLASSES, (0,))),
    "BigGAN without classes": (G((8, 8, 2), (16, 8, 8)), D((8, 8), 2)),
    "SAGAN": (sagan.Generator((8, 12, 2), (16, 8, 8), CLASSES, (0,)), D((8, 8), 2, CLASSES, (0,))),
    "BigGAN-deep": (DEEP_G((8, 12, 2), (16, 8), CLASSES, 4, (0,)), DEEP_D((8, 16), CLASSES, (0,))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    """Ranges, where gradients reach, labels that matter, and rows that do not: all matrices but embeddings in G are
    divided by their largest singular value.
    """
    gen, disc = NETWORKS[name]
    label = jnp.arange(ROWS) % CLASSES if gen.classes else None
    z, x = jnp.float32(RNG.normal(size=(ROWS, Z))), jnp.float32(RNG.normal(size=(ROWS, *gen.shape)))
    gen_vars = jax.jit(lambda: gen.init(jax.random.key(0), z, label, train=False))()
    disc_vars = jax.jit(lambda: disc.init(jax.random.key(1), x, label, train=False))()
    gen_vars, disc_vars = jax.tree.map(lambda leaf: leaf if leaf.ndim else leaf + 0.5, (gen_vars, disc_vars))  # gamma
    weight = jnp.float32(RNG.normal(size=ROWS))

    @jax.jit
    def play(params):
        options = {"train": True, "mutable": ["batch_stats"]}
        images, _ = gen.apply(gen_vars | {"params": params[0]}, z, label, **options)
        logits, stats = disc.apply(disc_vars | {"params": params[1]}, images, label, **options)
        return jnp.sum(weight * logits), (images, logits, stats)

    slopes, (images, logits, _) = jax.jit(jax.grad(play, has_aux=True))((gen_vars["params"], disc_vars["params"]))
    assert images.shape == (ROWS, *gen.shape) and logits.shape == (ROWS,)
    assert float(jnp.abs(images).max()) <= 1 and float(jnp.std(images)) > 0.05
    # A bias before a norm is taken away again.
    for path, slope in leaves(slopes).items():
        before_norm = path.startswith("0/") and path.endswith("bias") and "BatchNorm" not in path
        assert np.isfinite(slope).all() and (before_norm or np.abs(slope).max() > 1e-6), path

    @jax.jit
    def evaluate(z, x, label):
        return gen.apply(gen_vars, z, label, train=False), disc.apply(disc_vars, x, label, train=False)

    once = evaluate(z, x, label)
    for alone, out in zip(evaluate(z[2:3], x[2:3], None if label is None else label[2:3]), once, strict=True):
        np.testing.assert_allclose(alone[0], out[2], rtol=0, atol=float32(500, max(1, np.abs(out).max())))
    if label is not None:
        for other, out in zip(evaluate(z, x, (label + 1) % CLASSES), once, strict=True):
            assert (np.abs(other - out).reshape(ROWS, -1).max(1) > 1e-4).all()
    for variables in (gen_vars, disc_vars):
        matrices = {path for path, leaf in leaves(variables["params"]).items() if leaf.ndim > 1}
        normed = {path for path in leaves(variables["batch_stats"]) if path.endswith("sigma")}
        embedded = variables is gen_vars and "Embed_0" in variables["params"]
        assert len(normed) == len(matrices) - embedded


@pytest.mark.usefixtures("x64")
def test_swapping_the_label_changes_the_logit_by_a_product():
    disc = D((8, 8), 1, CLASSES, dtype="float64", head=None)
    x, label = RNG.normal(size=(ROWS, 4, 4, 1)), jnp.arange(ROWS) % CLASSES
    variables = disc.init(jax.random.key(0), x, label, train=False)
    rows = variables["params"]["Embed_0"]["embedding"]
    with_none = D((8, 8), 1, dtype="float64")
    bare = {
        "params": {k: v for k, v in variables["params"].items() if k != "Embed_0"},
        "batch_stats": variables["batch_stats"],
    }
    projected = disc.apply(variables, x, label, train=False) - with_none.apply(bare, x, train=False)
    _, seen = disc.apply(variables, x, label, train=False, capture_intermediates=True, mutable=["intermediates"])
    h = np.maximum(seen["intermediates"]["DownBlock_1"]["__call__"][0], 0).sum((1, 2))
    ratio = projected / jnp.sum(rows[label] * h, -1)
    # One over the largest singular value, which is 1 at the start, but for EPSILON in the norms of the estimate.
    np.testing.assert_allclose(ratio, 1 / np.linalg.svd(rows)[1][0], rtol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="halves images 2 times needs sides that are multiples of 4, and they are 6x8"):
        jax.eval_shape(lambda: G((6, 8, 1), (8, 8, 8)).init(jax.random.key(0), jnp.zeros((2, Z)), train=False))
    with pytest.raises(UserError, match="2 blocks splits z into 3 parts; it has 10 numbers: try 9"):
        jax.eval_shape(lambda: G((8, 8, 1), (8, 8, 8)).init(jax.random.key(0), jnp.zeros((2, 10)), train=False))
