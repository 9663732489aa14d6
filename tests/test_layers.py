"""The convolutions that are fast on the CPU against flax's own: parameters, values, and derivatives of the first three
orders.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparing import RNG, close, exact, image, one_of_each, orders, same
from jax import lax
from rounding import float32

from gan_jax.models import layers
from gan_jax.models.conv import convolution
from gan_jax.models.conv.geometry import Geometry
from gan_jax.models.layers import Conv, ConvDown, ConvTranspose, ConvUp

# space, kernel, strides, padding
CONV = [
    ((9,), (3,), (1,), "SAME"),
    ((10,), (4,), (2,), "SAME"),
    ((7,), (5,), (3,), "VALID"),
    ((7,), (3,), (2,), "CAUSAL"),
    ((8, 8), (4, 4), (2, 2), "SAME"),
    ((7, 9), (4, 4), (2, 2), "SAME"),
    ((7, 5), (3, 3), (1, 1), "SAME"),
    ((9, 8), (3, 5), (2, 3), "VALID"),
    ((6, 7), (1, 1), (1, 1), "SAME"),
    ((6, 7), (1, 1), (2, 2), "SAME"),  # pixels that no tap reads
    ((8, 8), (2, 2), (3, 3), "VALID"),  # the same, at the end too
    ((4, 4), (7, 7), (1, 1), "SAME"),  # taps that read nothing but padding
    ((7, 6), (4, 3), (2, 2), "SAME_LOWER"),
    ((6, 6), (4, 4), (2, 2), 1),
    ((6, 5), (3, 3), (2, 2), ((2, 0), (0, 3))),
    ((8, 7), (3, 3), (2, 2), ((-1, 0), (0, -2))),  # negative padding cuts
    ((6, 6), (3, 3), (2, 2), "CIRCULAR"),
    ((6, 6), (3, 3), (1, 1), "REFLECT"),
    ((5, 4, 6), (3, 3, 3), (2, 1, 2), "SAME"),
    ((4, 4, 4), (1, 1, 1), (1, 1, 1), "SAME"),
    ((5, 6), (1, 1), (1, 1), 1),  # 1x1, but with a border
]

# space, kernel, strides, dilation, channels in and out: each way that the gradient with respect to the kernel is computed
WAYS = [
    ((9,), (3,), (1,), (2,), 1, 9),  # narrow in front
    ((25,), (9,), (4,), (1,), 3, 5),  # by phases
    ((11,), (4,), (3,), (1,), 3, 5),
    ((9,), (2,), (3,), (1,), 3, 5),
    ((9, 8), (3, 4), (2, 1), (2, 3), 1, 8),
    ((6, 5), (4, 4), (2, 2), (1, 1), 2, 16),
    ((9,), (3,), (1,), (2,), 3, 4),  # both narrow
    ((9, 8), (3, 4), (2, 1), (2, 3), 3, 4),
    ((6, 5), (3, 3), (1, 1), (1, 1), 10, 3),
    ((6, 5), (4, 4), (1, 1), (1, 1), 10, 3),
    ((6, 5), (4, 4), (2, 2), (1, 1), 2, 12),
    ((8, 8), (3, 3), (1, 1), (2, 2), 10, 12),
    ((9, 8), (3, 3), (2, 2), (2, 2), 10, 12),
    ((6, 5), (3, 3), (1, 1), (1, 1), 16, 2),  # narrow behind
    ((6, 5), (4, 4), (1, 1), (1, 1), 24, 3),
    ((6, 7), (4, 3), (2, 2), (1, 1), 10, 3),
    ((6, 6), (1, 1), (1, 1), (1, 1), 10, 12),
    ((4, 4, 5), (3, 2, 3), (1, 2, 1), (1, 1, 2), 9, 10),
]

# space, kernel, strides
TRANSPOSE = [
    ((4,), (4,), (2,)),
    ((5,), (3,), (1,)),
    ((5,), (16,), (8,)),
    ((4,), (25,), (4,)),
    ((4,), (3,), (5,)),
    ((4, 4), (4, 4), (2, 2)),
    ((3, 5), (5, 5), (2, 2)),
    ((3, 5), (3, 3), (2, 2)),
    ((3, 3), (4, 4), (1, 1)),
    ((3, 3), (2, 2), (2, 2)),
    ((2, 3), (6, 2), (3, 2)),
    ((3, 4), (1, 1), (2, 2)),  # a stride that is longer than the kernel leaves zeros between
    ((3, 3), (2, 2), (3, 3)),
    ((2, 3), (5, 2), (3, 5)),
    ((1, 1), (4, 4), (2, 2)),
    ((2, 3, 2), (4, 3, 2), (2, 2, 1)),
]


def named(geometries, ours, theirs):
    """(ours, theirs, x) of each."""
    return [(ours(4, *rest), theirs(4, *rest), image(*space)) for space, *rest in geometries]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_is_flaxs(rank):
    exact(named([row for row in CONV if len(row[0]) == rank], Conv, nn.Conv), one_of_each)


@pytest.mark.parametrize("part", [2**20, 4_000], ids=["whole", "parts"])
def test_every_way_to_the_kernel(monkeypatch, part):
    monkeypatch.setattr(convolution, "PART", part)
    pairs = []
    for space, kernel, strides, dilation, inside, outside in WAYS:
        options = {"strides": strides, "kernel_dilation": dilation}
        x = image(*space, channels=inside, rows=6)
        pairs.append((Conv(outside, kernel, **options), nn.Conv(outside, kernel, **options), x))
    exact(pairs, one_of_each)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("channels", "groups"), [(32, 4), (12, 3)], ids=["one by one", "by XLA"])
def test_convolutions_in_groups(channels, groups, monkeypatch):
    options = {"feature_group_count": groups}
    x = RNG.normal(size=(2, 6, 5, channels))
    same(Conv(24, (3, 3), **options), nn.Conv(24, (3, 3), **options), x)
    text = str(jax.make_jaxpr(lambda x: Conv(24, (3, 3), **options).init_with_output(jax.random.key(0), x)[0])(x))
    assert (f"feature_group_count={groups}" in text) == (groups == 3)
    monkeypatch.setattr(convolution, "GROUPS", 2)
    text = str(jax.make_jaxpr(lambda x: Conv(24, (3, 3), **options).init_with_output(jax.random.key(0), x)[0])(x))
    assert f"feature_group_count={groups}" in text


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_derivatives_of_the_family_are_the_family(rank):
    """Each operation's gradients are the other two, whatever the geometry: so to the third order, of both layers."""
    space, kernel, strides = ((5, 4, 5), (3, 2, 3), (2, 1, 2))
    geometry = (space[:rank], kernel[:rank], strides[:rank])
    pairs = [*named([geometry], Conv, nn.Conv), *named([geometry], ConvTranspose, nn.ConvTranspose)]
    exact(pairs, lambda layer, params, x: [fn((params, x)) for fn in orders(layer, x)])


class ConvThenMean(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return nn.avg_pool(nn.Conv(self.features, (3, 3), name="same")(x), (2, 2), (2, 2))


class UpThenConv(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.features, (3, 3), name="same")(x.repeat(2, 1).repeat(2, 2))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("ours", "theirs"), [(ConvDown, ConvThenMean), (ConvUp, UpThenConv)])
@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (4, 8, 8, 12)], ids=str)
def test_two_layers_in_one(ours, theirs, shape):
    """Equal to the two in value and in the first two derivatives, with the parameters of the convolution."""
    ours, theirs = ours(10), theirs(10)
    x = RNG.normal(size=shape)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: RNG.normal(size=p.shape), shapes)
    nested = {"same": params}
    assert jax.tree.map(jnp.shape, theirs.init(jax.random.key(0), x)["params"]) == jax.tree.map(jnp.shape, nested)
    for mine, other in zip(orders(ours, x)[:3], orders(theirs, x)[:3], strict=True):
        got, expected = jax.jit(mine)(({"params": params}, x)), jax.jit(other)(({"params": nested}, x))
        if isinstance(expected, tuple):
            expected = ({"params": expected[0]["params"]["same"]}, expected[1])
        close(got, expected, 1e-11)


def test_an_odd_side_cannot_be_halved():
    with pytest.raises(ValueError, match=r"\(5, 4\): they must be even"):
        ConvDown(4).init(jax.random.key(0), image(5, 4))


# Which operands are of each member's own.
@pytest.mark.parametrize("own", [(0, 0), (0, None), (None, 0)], ids=str)
def test_under_vmap_every_operation_is_the_members_one_by_one(own):
    """Of one row of each rank: the rules do not look at the geometry."""
    given, chosen = [], [WAYS[0], WAYS[1], WAYS[12], WAYS[17]]
    for space, kernel, strides, dilation, inside, outside in chosen:
        x, w = image(*space, channels=inside), np.float32(RNG.normal(size=(*kernel, inside, outside)))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        pads = lax.padtype_to_pads(space, reach, strides, "SAME")
        m = tuple(-(-n // s) for n, s in zip(space, strides, strict=True))
        g = Geometry(space, kernel, strides, dilation, tuple(low for low, _ in pads), m)
        y = image(*m, channels=outside)
        for operation, a, b in [
            (convolution.conv, x, w), (convolution.conv_to_input, y, w), (convolution.conv_to_kernel, x, y)
        ]:  # fmt: skip
            members = [
                np.stack([v, 2 * v[::-1], v - 1]) if axis == 0 else v for v, axis in zip((a, b), own, strict=True)
            ]
            given.append((lambda a, b, operation=operation, g=g: operation(a, b, g), members))

    def together(inputs):
        return [jax.vmap(act, own)(*members) for (act, _), members in zip(given, inputs, strict=True)]

    def apart(inputs):
        return [
            jnp.stack(
                [act(*(v[i] if axis == 0 else v for v, axis in zip(members, own, strict=True))) for i in range(3)]
            )
            for (act, _), members in zip(given, inputs, strict=True)
        ]

    with jax.enable_x64(True):
        inputs = [[jnp.float64(v) for v in members] for _, members in given]
        close(jax.jit(together)(inputs), jax.jit(apart)(inputs), 1e-11)


def test_no_grouped_convolution_is_made_of_members():
    """Neither forwards nor in the second derivatives: XLA's CPU backend runs them several times slower."""
    layer, x = Conv(12, (3, 3)), image(6, 6, channels=10, rows=6).reshape(3, 2, 6, 6, 10)
    params = jax.vmap(layer.init)(jax.random.split(jax.random.key(0), 3), x)

    def penalised(params, x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(layer.apply(params, x))))(x) ** 2)

    text = jax.jit(jax.vmap(jax.grad(penalised))).lower(params, x).as_text()
    assert "stablehlo.convolution" in text
    assert set(re.findall(r"feature_group_count = (\d+)|batch_group_count = (\d+)", text)) <= {("1", ""), ("", "1")}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_transpose_is_flaxs(rank):
    exact(named([row for row in TRANSPOSE if len(row[0]) == rank], ConvTranspose, nn.ConvTranspose), one_of_each)


@pytest.mark.parametrize(("ours", "theirs"), [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)])
def test_without_bias_and_with_another_init(ours, theirs):
    options = {"use_bias": False, "kernel_init": layers.dcgan_init}
    same(ours(4, (3, 3), (2, 2), **options), theirs(4, (3, 3), (2, 2), **options), image(4, 5))


@pytest.mark.parametrize(
    ("options", "space"),
    [
        ({"feature_group_count": 3}, (6, 5)),
        ({"input_dilation": 2, "padding": 1}, (3, 4)),
        ({"precision": "highest"}, (5, 5)),
    ],
    ids=str,
)
def test_the_other_convolutions_are_left_to_lax(options, space):
    x = image(*space)
    ours, theirs = Conv(6, (3, 3), **options), nn.Conv(6, (3, 3), **options)
    same(ours, theirs, x)
    params = ours.init(jax.random.key(0), x)
    if "precision" in options:
        return
    forward = [jax.jvp(lambda x, layer=layer: layer.apply(params, x), (x,), (x[::-1],)) for layer in (ours, theirs)]
    close(*forward)


def test_forward_mode_says_that_it_is_not_there():
    layer, x = Conv(6, (3, 3)), image(4, 4)
    params = layer.init(jax.random.key(0), x)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: layer.apply(params, x), (x,), (x,))


def test_other_layouts_are_left_to_lax():
    x, w = image(3, 6), jnp.float32(RNG.normal(size=(4, 3, 3, 3)))  # without dimension numbers: [b c h w] and [o i h w]
    close(layers.conv_general_dilated(x, w, (1, 1), "SAME"), lax.conv_general_dilated(x, w, (1, 1), "SAME"))


@pytest.mark.parametrize(("ours", "theirs"), [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)])
def test_under_vmap_over_weights(ours, theirs):
    """A population: every member has its own kernel and its own images."""
    ours, theirs = (layer(4, (4, 4), (2, 2)) for layer in (ours, theirs))
    x = image(6, 6, rows=6).reshape(3, 2, 6, 6, 3)  # [members b h w c]
    params = jax.vmap(ours.init)(jax.random.split(jax.random.key(0), 3), x)

    def slopes(layer):
        def fn(params, x):
            return jnp.sum(jnp.sin(layer.apply(params, x)))

        def penalised(params, x):
            return fn(params, x) + jnp.sum(jax.grad(fn, argnums=1)(params, x) ** 2)

        return jax.value_and_grad(penalised, argnums=(0, 1))

    one = jax.jit(slopes(theirs))
    members = [one(jax.tree.map(lambda p, i=i: np.asarray(p)[i], params), np.asarray(x)[i]) for i in range(3)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    close(jax.jit(jax.vmap(slopes(ours)))(params, x), expected)


@pytest.mark.parametrize(("ours", "theirs"), [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)])
def test_inside_scan(ours, theirs):
    """Three steps of gradient descent in a loop are three steps without one."""
    ours, theirs = (layer(3, (4, 4), (2, 2)) for layer in (ours, theirs))
    x = image(6, 6, rows=6).reshape(3, 2, 6, 6, 3)  # [steps b h w c]
    start = ours.init(jax.random.key(0), x[0])

    def step(layer, params, x):
        value, slope = jax.value_and_grad(lambda params: jnp.mean(jnp.sin(layer.apply(params, x)) ** 2))(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, slope), value

    looped = jax.jit(lambda params: lax.scan(lambda params, x: step(ours, params, x), params, x))(start)
    params, values = start, []
    for batch in x:
        params, value = step(theirs, params, batch)
        values.append(value)
    close(looped, (params, jnp.stack(values)))


@pytest.mark.parametrize("ours", [Conv, ConvTranspose])
def test_jit_compiles_once(ours):
    layer, x = ours(4, (4, 4), (2, 2)), image(6, 6)
    params = layer.init(jax.random.key(0), x)
    traces = []

    @jax.jit
    def slope(params, x):
        traces.append(1)
        return jax.grad(lambda params: jnp.sum(layer.apply(params, x) ** 2))(params)

    close(slope(params, x), slope(params, x + 0))
    assert len(traces) == 1


def test_the_fast_form_is_used(monkeypatch):
    """Or the whole table above compares lax with itself."""
    used = []
    for name in ("conv", "conv_to_input"):
        real = getattr(convolution, name)
        monkeypatch.setattr(convolution, name, lambda *args, name=name, real=real: used.append(name) or real(*args))
    x = image(6, 6)
    Conv(4, (4, 4), (2, 2)).init(jax.random.key(0), x)
    ConvTranspose(4, (4, 4), (2, 2)).init(jax.random.key(0), x)
    assert used == ["conv", "conv_to_input"]


def test_elsewhere_it_is_laxs_own(monkeypatch):
    """The branch of GPUs and TPUs, which this machine can compute too."""
    x = image(5, 4)
    pairs = [
        (Conv(4, (4, 4), (2, 2)), nn.Conv(4, (4, 4), (2, 2))),
        (ConvTranspose(4, (4, 4), (2, 2)), nn.ConvTranspose(4, (4, 4), (2, 2))),
        (ConvUp(4), UpThenConv(4)),
        (ConvDown(4), ConvThenMean(4)),
        (ConvUp(64), UpThenConv(64)),  # for which minimal filtering is the CPU's way
        (ConvDown(64), ConvThenMean(64)),
        (Conv(64, (3, 3)), nn.Conv(64, (3, 3))),
    ]
    inputs = [image(6, 4)] * 4 + [image(6, 64)] * 3
    params = [theirs.init(jax.random.key(0), x) for (_, theirs), x in zip(pairs, inputs, strict=True)]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for name in ("conv", "conv_to_input", "conv_to_kernel"):
        monkeypatch.setattr(convolution, name, None)
    for name in ("forward", "to_input", "to_kernel"):
        monkeypatch.setattr(convolution.winograd, name, None)
    for (ours, theirs), variables, x in zip(pairs, params, inputs, strict=True):
        own = {"params": variables["params"].get("same", variables["params"])}
        close(ours.apply(own, x), theirs.apply(variables, x))


@pytest.mark.parametrize(("label", "classes", "given"), [(None, 10, "no label"), (jnp.zeros(3, int), 0, "labels")])
def test_require_label(label, classes, given):
    with pytest.raises(ValueError, match=f"someone has classes={classes} and was given {given}; they go together"):
        layers.require_label(label, classes, "someone")
    layers.require_label(jnp.zeros(3, int) if label is None else None, classes, "someone")


def test_leaky_relu_is_the_papers():
    np.testing.assert_allclose(layers.leaky_relu(jnp.float32([-2, 0, 3])), [-0.4, 0, 3], rtol=float32(2))
