"""Every pair of networks: shapes, ranges, where gradients reach, what is remembered, and the sizes that papers and
tutorials print.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import float32

from gan_jax.models import dcgan, mlp, residual_mlp, resnet
from gan_jax.models.layers import leaky_relu

RNG = np.random.default_rng(0)
Z, ROWS, CLASSES = 5, 6, 3


def networks(kind, shape, classes, batch_norm, dropout):
    if kind == "dcgan":
        gen = dcgan.Generator(shape, 8, batch_norm, classes)
        return gen, dcgan.Discriminator(8, batch_norm, dropout, classes)
    if kind.startswith("resnet"):
        return resnet.Generator(shape, 4), resnet.Discriminator(4, "sn" in kind)
    if kind == "residual":
        return residual_mlp.Generator(shape, 8, 2), residual_mlp.Discriminator(8, 2)
    gen = mlp.Generator(shape, (8, 8), leaky_relu, batch_norm=batch_norm, classes=classes)
    return gen, mlp.Discriminator((8, 8), leaky_relu, dropout, classes)


# kind, shape, classes, batch norm, dropout
TABLE = [
    ("dcgan", (8, 8, 1), 0, True, 0.0),
    ("dcgan", (8, 8, 1), CLASSES, False, 0.0),
    ("dcgan", (28, 28, 1), 0, True, 0.3),
    ("dcgan", (28, 28, 1), CLASSES, True, 0.0),
    ("dcgan", (32, 32, 3), 0, False, 0.0),
    ("dcgan", (32, 32, 3), CLASSES, True, 0.3),
    ("dcgan", (12, 20, 1), CLASSES, True, 0.0),
    ("dcgan", (4, 4, 2), 0, True, 0.0),
    ("resnet", (8, 8, 1), 0, True, 0.0),
    ("resnet sn", (8, 12, 3), 0, True, 0.0),
    ("mlp", (8, 8, 1), 0, False, 0.3),
    ("mlp", (28, 28, 1), CLASSES, True, 0.0),
    ("mlp", (12, 20, 1), 0, True, 0.0),
    ("mlp", (4, 4, 2), CLASSES, False, 0.0),
    ("mlp", (2,), 0, True, 0.0),
]
every = pytest.mark.parametrize("row", TABLE, ids=lambda row: "-".join(map(str, row)).replace(" ", ""))


def inputs(classes):
    z = jnp.float32(RNG.normal(size=(ROWS, Z)))
    return z, jnp.arange(ROWS) % classes if classes else None


def leaves(tree):
    """By name, as NumPy: of JAX's arrays each comparison would be a program of its own."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def start(network, x, label=None):
    return jax.jit(lambda x, label: network.init(jax.random.key(1), x, label, train=False))(
        x, label
    )  # compiled once, not operation by operation


def wider(variables):
    """Kernels four times as large: through several layers of the initial 0.02, at width 8, gradients and differences
    would be near rounding.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf) * (4 if leaf.ndim > 1 else 1), variables)


def count(module, *args):
    """Learnt numbers, without making them."""
    variables = jax.eval_shape(lambda *args: module.init(jax.random.key(0), *args, train=False), *args)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


@every
def test_pair(row):
    _, shape, classes, batch_norm, dropout = row
    gen, disc = networks(*row)
    z, label = inputs(classes)

    @jax.jit
    def init():
        images = jnp.zeros((ROWS, *shape))
        return (
            gen.init(jax.random.key(1), z, label, train=False),
            disc.init(jax.random.key(1), images, label, train=False),
        )

    gen_vars, disc_vars = map(wider, init())
    assert set(gen_vars) == ({"params", "batch_stats"} if batch_norm else {"params"})
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves((gen_vars, disc_vars)))
    image_weight = np.float32(RNG.normal(size=(ROWS, *shape)))
    logit_weight = np.float32(RNG.normal(size=ROWS))

    def play(train):
        def fn(gen_params, disc_params, key):
            options = {"train": train, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
            images, gen_stats = gen.apply(gen_vars | {"params": gen_params}, z, label, **options)
            logits, disc_stats = disc.apply(disc_vars | {"params": disc_params}, images, label, **options)
            total = jnp.sum(image_weight * images) + jnp.sum(logit_weight * logits)
            return total, (images, logits, gen_stats, disc_stats)

        return fn

    params = gen_vars["params"], disc_vars["params"]
    train = jax.jit(jax.grad(play(True), argnums=(0, 1), has_aux=True))
    slopes, (images, logits, gen_stats, disc_stats) = jax.device_get(train(*params, jax.random.key(4)))
    assert images.shape == (ROWS, *shape) and images.dtype == np.float32
    assert logits.shape == (ROWS,) and logits.dtype == np.float32
    assert (np.abs(images) <= 1).all() and np.std(images) > 0
    for name, slope in leaves(slopes).items():
        # A thousandth of the usual one: a bias that batch norm takes away again has a slope of rounding, 1e-7.
        assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-4, name
        if "Embed" in name:
            assert (np.abs(slope).max(1) > 1e-6).all(), "a class that no gradient reaches"

    # A step in training changes every running average, and nothing in evaluation does.
    for variables, stats in ((gen_vars, gen_stats), (disc_vars, disc_stats)):
        before, after = leaves(variables.get("batch_stats", {})), leaves(stats.get("batch_stats", {}))
        assert before.keys() == after.keys()
        assert all((before[name] != after[name]).any() for name in before)
    _, (_, _, gen_still, disc_still) = jax.jit(play(False))(*params, jax.random.key(4))
    for variables, stats in ((gen_vars, gen_still), (disc_vars, disc_still)):
        now = leaves(stats)
        assert all((x == now[name]).all() for name, x in leaves(variables).items() if name.startswith("batch_stats"))

    # In evaluation a row is by itself, whatever stands beside it, and dropout is off; in training batch norm and
    # dropout make it otherwise.
    @jax.jit
    def evaluate(z, images, label):
        made = gen.apply(gen_vars | gen_stats, z, label, train=False)
        return made, disc.apply(disc_vars | disc_stats, images, label, train=False)

    made, judged = jax.device_get(evaluate(z, images, label))
    others = np.arange(ROWS) != 2
    beside = (np.where(others.reshape(-1, *[1] * (np.ndim(x) - 1)), x[::-1], x) for x in (z, images))
    for again, once in zip(evaluate(*beside, label), (made, judged), strict=True):
        np.testing.assert_array_equal(again[2], once[2])
        assert (np.asarray(again)[others] != once[others]).any()
    if batch_norm:
        assert np.abs(made - images).max() > 1e-3
    if dropout:
        _, (_, other, _, _) = train(*params, jax.random.key(9))
        assert np.abs(other - logits).max() > 1e-3
    if classes:  # labels matter
        for out, other in zip((made, judged), evaluate(z, images, (label + 1) % classes), strict=True):
            assert (np.abs(out - other).reshape(ROWS, -1).max(1) > 1e-6).all()


def test_no_bias_before_batch_norm():
    """It would be taken away again, and Adam would turn the rounding of its gradient into steps."""
    z, images = jnp.ones((2, Z)), jnp.ones((2, 16, 16, 3))

    def biases(network, x):
        params = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), x)["params"]
        return {name for name in leaves(params) if name.endswith("/bias") and "BatchNorm" not in name}

    assert biases(dcgan.Generator((16, 16, 3), 8), z) == {"ConvTranspose_1/bias"}
    assert biases(dcgan.Generator((16, 16, 3), 8, batch_norm=False), z) == {
        "Dense_0/bias",
        "ConvTranspose_0/bias",
        "ConvTranspose_1/bias",
    }
    assert biases(dcgan.Discriminator(8), images) == {"Conv_0/bias", "Dense_0/bias"}
    assert biases(dcgan.Discriminator(8, batch_norm=False), images) == {"Conv_0/bias", "Conv_1/bias", "Dense_0/bias"}
    assert biases(mlp.Generator((2,), (4, 4), batch_norm=True), z) == {"Dense_2/bias"}
    assert biases(mlp.Generator((2,), (4, 4)), z) == {"Dense_0/bias", "Dense_1/bias", "Dense_2/bias"}


@pytest.mark.parametrize(
    ("gen", "momentum"),
    [(mlp.Generator((4, 4, 1), (8,), batch_norm=True), 0.99), (dcgan.Generator((4, 4, 1), 8), 0.9)],
    ids=["mlp", "dcgan"],
)
def test_running_averages_follow_the_batch(gen, momentum):
    z = jnp.float32(RNG.normal(size=(ROWS, Z)))
    variables = gen.init(jax.random.key(0), z, train=False)
    _, stats = gen.apply(variables, z, train=True, mutable=["batch_stats"])
    first = variables["params"]["Dense_0"]
    hidden = np.asarray(z, np.float64) @ np.asarray(first["kernel"], np.float64)  # no bias
    hidden = hidden.reshape(-1, stats["batch_stats"]["BatchNorm_0"]["mean"].shape[0])  # [b h w c] -> [bhw c]
    rounded = float32(2 * (Z + len(hidden)), size=(1 - momentum) * max(1, np.abs(hidden).max() ** 2))
    np.testing.assert_allclose(
        stats["batch_stats"]["BatchNorm_0"]["mean"], (1 - momentum) * hidden.mean(0), rtol=0, atol=rounded
    )
    np.testing.assert_allclose(
        stats["batch_stats"]["BatchNorm_0"]["var"],
        momentum + (1 - momentum) * hidden.var(0),
        rtol=0,
        atol=rounded + float32(4),
    )


# What others print, or the sum by hand.
COUNTS = {
    # The tutorials' 100-256-512-1024-784: 25,856 + 131,584 + 525,312 + 803,600, and back: 803,840 + 524,800 + 131,328 +
    # 257.
    "mlp_gen": (mlp.Generator((28, 28, 1)), (ROWS, 100), 1_486_352),
    # 2*128 + 128, 12 and 4 of 128*128 + 128, and 128*2 + 2 or 128 + 1.
    "residual_gen": (residual_mlp.Generator((2,)), (ROWS, 2), 384 + 12 * 16_512 + 258),
    "residual_disc": (residual_mlp.Discriminator(), (ROWS, 2), 384 + 4 * 16_512 + 129),
    "mlp_disc": (mlp.Discriminator(), (ROWS, 28, 28, 1), 1_460_225),
    # PacGAN's generator of points: 2*400 + 3 * 400*400 without biases, 4 * 2*400 of batch norm, 400*2 + 2.
    "pacgan_gen": (mlp.Generator((2,), (400,) * 4, nn.relu, None, batch_norm=True), (ROWS, 2), 484_802),
    # PyTorch's DCGAN example at 64x64 has 3,576,704 and 2,765,568, without any bias; here the last layer's 3, and the
    # first's 64 and the logit's 1, come on top.
    # G: 100*8192 + 16 (512*256 + 256*128 + 128*64 + 64*3) + 2 (512 + 256 + 128 + 64).
    "dcgan_gen_64": (dcgan.Generator((64, 64, 3)), (ROWS, 100), 3_576_704 + 3),
    # D: 16 (3*64 + 64*128 + 128*256 + 256*512) + 2 (128 + 256 + 512) + 4*4*512.
    "dcgan_disc_64": (dcgan.Discriminator(), (ROWS, 64, 64, 3), 2_765_568 + 65),
    # 28 -> 14 -> 7. G: 100 * 7*7*128 + 2*128 + 16*128*64 + 2*64 + 16*64 + 1. D: 16*64 + 64 + 16*64*128 + 2*128 +
    # 7*7*128 + 1.
    "dcgan_gen_28": (dcgan.Generator((28, 28, 1)), (ROWS, 100), 1_066_881),
    "dcgan_disc_28": (dcgan.Discriminator(), (ROWS, 28, 28, 1), 661_313),
    # 32 -> 16 -> 8 -> 4. G: 100 * 4*4*256 + 16 (256*128 + 128*64 + 64*3) + 3 + 2 (256 + 128 + 64). D: 16 (3*64 + 64*128
    # + 128*256) + 64 + 2 (128 + 256) + 4*4*256 + 1.
    "dcgan_gen_32": (dcgan.Generator((32, 32, 3)), (ROWS, 100), 1_068_931),
    "dcgan_disc_32": (dcgan.Discriminator(), (ROWS, 32, 32, 3), 663_361),
    # PyTorch transcriptions of the papers' tables have 1,204,483, 4,276,739 and 1,053,825; here without the biases that
    # the generator's batch norm takes away, three of each of its three blocks.
    "wgan_gp_gen": (resnet.Generator((32, 32, 3)), (ROWS, 128), 1_204_483 - 9 * 128),
    "sngan_gen": (resnet.Generator((32, 32, 3), 256), (ROWS, 128), 4_276_739 - 9 * 256),
    "sngan_disc": (resnet.Discriminator(spectral_norm=True), (ROWS, 32, 32, 3), 1_053_825),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    module, shape, number = COUNTS[name]
    assert count(module, jax.ShapeDtypeStruct(shape, jnp.float32)) == number


def test_spectral_norm_bounds_every_layer():
    """After some iterations the largest singular value that NumPy finds in what each layer computes with is 1."""
    disc, x = resnet.Discriminator(8, spectral_norm=True), jnp.float32(RNG.normal(size=(2, 8, 8, 3)))
    variables = start(disc, x)
    step = jax.jit(lambda variables: disc.apply(variables, x, train=True, mutable=["batch_stats"])[1])
    for _ in range(100):
        variables = variables | step(variables)
    stats = leaves(variables["batch_stats"])
    kernels = {name: leaf for name, leaf in leaves(variables["params"]).items() if leaf.ndim > 1}
    sigmas = {name: leaf for name, leaf in stats.items() if name.endswith("sigma")}
    assert len(kernels) == len(sigmas) == 11
    largest = [
        np.linalg.svd(np.float64(kernel.reshape(-1, kernel.shape[-1])), compute_uv=False)[0]
        for kernel in kernels.values()
    ]
    np.testing.assert_allclose(
        sorted(sigmas.values()), sorted(largest), rtol=1e-3
    )  # a hundred power steps: (s2 / s1)^200
    still = disc.apply(variables, x, train=False, mutable=["batch_stats"])[1]
    jax.tree.map(np.testing.assert_array_equal, still["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("side", ["gen", "disc"])
def test_remat_changes_nothing_but_the_memory(side, x64):
    def network(remat):
        options = {"remat": remat, "dtype": "float64"}
        return resnet.Generator((8, 8, 3), 4, **options) if side == "gen" else resnet.Discriminator(4, True, **options)

    x = jnp.float64(RNG.normal(size=(2, Z) if side == "gen" else (2, 8, 8, 3)))
    variables = jax.tree.map(np.float64, start(network(False), x))
    assert jax.tree.structure(variables) == jax.tree.structure(start(network(True), x))

    def slope(remat):
        def fn(params):
            out, stats = network(remat).apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(3 * out)), stats

        return jax.jit(jax.value_and_grad(fn, has_aux=True))

    (plain, again) = (slope(remat)(variables["params"]) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), again, plain)
    count = str(jax.make_jaxpr(slope(True))(variables["params"])).count("remat")
    assert count >= 2, "nothing is computed again"


def test_parameters_of_labels():
    """An embedding as wide as z beside z; one more channel beside the image's; 64 numbers beside the flattened image."""
    z, x, label = (
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in (((2, 100), "float32"), ((2, 28, 28, 1), "float32"), ((2,), "int32"))
    )
    assert count(dcgan.Generator((28, 28, 1), classes=10), z, label) == 1_066_881 + 10 * 100 + 100 * 4 * 4 * 256
    assert count(dcgan.Discriminator(classes=10), x, label) == 661_313 + 10 * 28 * 28 + 16 * 64
    assert count(mlp.Generator((28, 28, 1), classes=10), z, label) == 1_486_352 + 10 * 100 + 100 * 256
    assert count(mlp.Discriminator(classes=10), x, label) == 1_460_225 + 10 * 64 + 64 * 1024


@pytest.mark.parametrize("shape", [(64, 64, 3), (128, 128, 3), (64, 48, 1)], ids=str)
def test_larger_shapes(shape):
    gen, disc = dcgan.Generator(shape, 8), dcgan.Discriminator(8)

    def play(z):
        images, _ = gen.init_with_output(jax.random.key(0), z, train=False)
        return images, disc.init_with_output(jax.random.key(0), images, train=False)[0]

    images, logits = jax.eval_shape(play, jnp.zeros((2, Z)))
    assert images.shape == (2, *shape) and logits.shape == (2,)


def test_dcgan_starts_as_the_paper_says():
    """Weights N(0, 0.02^2), batch-norm scales N(1, 0.02^2) as in the authors' code, all other numbers 0."""
    gen, disc = dcgan.Generator((16, 16, 3), 32), dcgan.Discriminator(32)
    trees = (start(gen, jnp.zeros((1, 20)))["params"], start(disc, jnp.zeros((1, 16, 16, 3)))["params"])
    for name, leaf in (item for tree in trees for item in leaves(tree).items()):
        if name.endswith("bias"):
            np.testing.assert_array_equal(leaf, 0)
            continue
        spread = 5 * 0.02 / np.sqrt(leaf.size)  # 5 standard errors of the mean, and more of the deviation
        np.testing.assert_allclose(np.mean(leaf), 1 if name.endswith("scale") else 0, atol=spread)
        np.testing.assert_allclose(np.std(leaf), 0.02, atol=spread)


@pytest.mark.parametrize("last", [None, nn.sigmoid])
def test_the_last_activation_is_chosen(last):
    gen = mlp.Generator((2,), (64,), last=last)
    points, _ = gen.init_with_output(jax.random.key(0), 50 * jnp.float32(RNG.normal(size=(40, Z))), train=False)
    assert (
        (np.abs(points).max() > 5)
        if last is None
        else (np.min(points) >= 0 and np.max(points) <= 1 and np.min(points) < 0.1)
    )


@pytest.mark.parametrize("module", [mlp, dcgan])
@pytest.mark.parametrize("side", ["Generator", "Discriminator"])
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_labels_and_classes_go_together(module, side, classes):
    network = getattr(module, side)(**({"shape": (4, 4, 1)} if side == "Generator" else {}), classes=classes)
    x = jnp.zeros((2, Z)) if side == "Generator" else jnp.zeros((2, 4, 4, 1))
    label = None if classes else jnp.zeros(2, int)
    who = f"{module.__name__.rsplit('.', 1)[1]}.{side}"
    with pytest.raises(
        ValueError, match=rf"{who} has classes={classes} and was given {'no label' if classes else 'labels'}"
    ):
        network.init(jax.random.key(0), x, label, train=False)
