"""R3GAN: published numbers of parameters, and what is true of the networks before the first step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import RNG, begin

from experiments import best_mnist, r3gan_fashion
from gan_jax import losses, penalties
from gan_jax.models import r3gan
from gan_jax.types import UserError, spec_of

Z, CLASSES = 6, 3


def numbers(module, shape, classes):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    label = (jax.ShapeDtypeStruct(shape[:1], jnp.int32),) if classes else ()
    made = jax.eval_shape(lambda *given: module.init(jax.random.key(0), *given, train=False), x, *label)
    return sum(leaf.size for leaf in jax.tree.leaves(made["params"]))


# side, widths, blocks, group, classes, and the parameters of G and of D: of the authors' settings, z of 64 numbers.
PUBLISHED = {
    "CIFAR-10 with classes": (32, (768,) * 4, 2, 16, 10, 20_781_952, 21_280_512),
    "CIFAR-10": (32, (768,) * 4, 2, 16, 0, 20_732_160, 20_683_776),
    "FFHQ-64": (64, (768, 768, 768, 768, 384), 2, 16, 0, 22_429_824, 22_381_440),
    "FFHQ-256": (256, (768, 768, 768, 768, 384, 192, 96), 2, 16, 0, 23_057_952, 23_009_568),
    "ImageNet-32": (32, (1536,) * 4, 2, 32, 1_000, 82_914_304, 86_548_992),
    "ImageNet-64": (64, (1536,) * 5, 2, 32, 1_000, 103_570_432, 107_205_120),
    "small": (32, (64,) * 4, 1, 16, 0, 145_600, 141_568),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count(name):
    side, widths, blocks, group, classes, gen, disc = PUBLISHED[name]
    made = r3gan.Generator((side, side, 3), widths, blocks, group, classes)
    assert numbers(made, (2, 64), classes) == gen
    assert numbers(r3gan.Discriminator(widths, blocks, group, classes), (2, side, side, 3), classes) == disc


def networks(shape=(8, 12, 2), widths=(16, 8), classes=0):
    gen = r3gan.Generator(shape, widths, 2, 8, classes, dtype="float64")
    disc = r3gan.Discriminator(widths, 2, 8, classes, dtype="float64")
    label = jnp.arange(4) % classes if classes else None
    z, x = RNG.normal(size=(4, Z)), RNG.normal(size=(4, *shape))
    gen_vars = gen.init(jax.random.key(0), z, label, train=False)
    disc_vars = disc.init(jax.random.key(1), x, label, train=False)
    return (
        lambda z: gen.apply(gen_vars, z, label, train=True),
        lambda x: disc.apply(disc_vars, x, label, train=True),
        z,
        x,
        label,
        (gen, gen_vars, disc, disc_vars),
    )


@pytest.mark.usefixtures("x64")
def test_blocks_begin_as_the_identity():
    """So G is linear in z, and D in its images: the gradient is the same everywhere, and R1 is R2."""
    gen, disc, z, x, _, _ = networks()
    other = RNG.normal(size=z.shape)
    assert gen(z).shape == x.shape and float(jnp.std(gen(z))) > 0.1
    np.testing.assert_allclose(gen(z) + gen(other), gen(z + other), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(disc(jnp.zeros_like(x)), 0, atol=1e-12)
    np.testing.assert_allclose(disc(2 * x), 2 * disc(x), rtol=1e-10)
    np.testing.assert_allclose(disc(x) + disc(-0.5 * x), 0.5 * disc(x), rtol=1e-10)
    key = jax.random.key(2)
    values = [penalty(lambda x, rows=slice(None): disc(x), x, gen(z), key) for penalty in (penalties.r1, penalties.r2)]
    np.testing.assert_allclose(*values, rtol=1e-10)
    assert float(values[0]) > 0
    same = losses.relativistic_paired().disc(real=disc(x), fake=disc(x))
    np.testing.assert_allclose(same, np.log(2), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_every_number_is_learnt():
    """Gradients reach all of both networks, once the last layer of each block is not 0; labels and rows matter."""
    _, _, z, x, label, (gen, gen_vars, disc, disc_vars) = networks(classes=CLASSES)
    moved = jax.tree.map(lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape), (gen_vars, disc_vars))
    weight = RNG.normal(size=4)

    def total(variables):
        images = gen.apply(variables[0], z, label, train=True)
        return jnp.sum(weight * disc.apply(variables[1], images, label, train=True))

    slopes = jax.jit(jax.grad(total))(moved)
    for path, slope in jax.tree.leaves_with_path(slopes):
        assert float(jnp.abs(slope).max()) > 1e-6, jax.tree_util.keystr(path)
    for network, variables, given in ((gen, moved[0], z), (disc, moved[1], x)):
        out = network.apply(variables, given, label, train=False)
        others = network.apply(variables, given, (label + 1) % CLASSES, train=False)
        assert (jnp.abs(out - others).reshape(4, -1).max(1) > 1e-6).all()
        alone = network.apply(variables, given[2:3], label[2:3], train=False)
        np.testing.assert_allclose(alone[0], out[2], rtol=1e-10)


@pytest.mark.parametrize(
    ("blocks", "depth", "expected"),
    [(1, 3, 1.05370), (1, 4, 0.98058), (2, 8, 0.82457), (2, 10, 0.77983), (2, 14, 0.71691)],
)
def test_the_first_layers_of_a_block_begin_smaller_in_deeper_networks(blocks, depth, expected):
    stages = depth // blocks
    made = r3gan.Discriminator((64,) * stages, blocks)
    side = 2 ** (stages - 1)
    params = jax.jit(lambda: made.init(jax.random.key(0), jnp.zeros((1, side, side, 1)), train=False))()["params"]
    first, second = (params["Block_0"][f"Conv_{i}"]["kernel"] for i in (0, 1))
    inputs = [np.prod(kernel.shape[:-1]) for kernel in (first, second)]
    found = [float(jnp.std(kernel)) * np.sqrt(n) for kernel, n in zip((first, second), inputs, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert not params["Block_0"]["Conv_2"]["kernel"].any()


@pytest.mark.parametrize("module", [r3gan_fashion, best_mnist], ids=lambda module: module.__name__)
def test_schedules(module):
    """Rate, b2 and gamma begin and end where they should, at four fifths of the run, and are half way at two fifths."""
    config, spec = module.Config(steps=100, width=8, lr=0.01, gamma=2.0), spec_of((8, 8, 1), 10)
    recipe = module.build(config, spec)
    batch = {name: x + 0.1 for name, x in spec.blank(4).items()} | {"label": jnp.arange(4)}
    state = begin(recipe.game, recipe.gen_tx, recipe.disc_tx, jax.random.key(0), batch)
    fake = recipe.game.fakes(state.gen.params, state, batch, jax.random.key(1))[0]
    loss = jax.jit(recipe.game.disc_loss)
    still, opt = jax.tree.map(jnp.zeros_like, state.gen.params), state.gen.opt
    move = jax.jit(lambda opt: recipe.gen_tx.update(still, opt, state.gen.params)[1])
    seen = {}
    for step in range(96):
        opt = move(opt)
        if step in (0, 40, 80, 95):
            now = state.replace(step=jnp.int32(step))
            total, (_, _, told) = loss(state.disc.params, now, batch, jax.random.key(2), fake)
            weight = (total - told["disc/loss"]) / (told["disc/r1"] + told["disc/r2"])
            seen[step] = [float(opt.hyperparams["learning_rate"]), float(opt.hyperparams["b2"]), float(2 * weight)]
    expected = {0: [0.01, 0.9, 2.0], 40: [0.00625, 0.945, 1.1], 80: [0.0025, 0.99, 0.2], 95: [0.0025, 0.99, 0.2]}
    for step, values in expected.items():
        np.testing.assert_allclose(seen[step], values, rtol=1e-3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="3 stages needs sides that are multiples of 4, and the images are 30x28"):
        networks((30, 28, 1), (16, 16, 16))
    with pytest.raises(UserError, match="multiples of half a group of 8 channels"):
        networks((8, 8, 1), (16, 6))
