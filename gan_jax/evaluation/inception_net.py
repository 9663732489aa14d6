"""Inception-v3 as used by the Fréchet inception distance: TensorFlow's graph of 2015-12-05, with its published weights.

The network is that of Szegedy et al. 2016, arXiv:1512.00567, section 6, with three differences: average pools do not
count their padding, the last block (Mixed_7c) has a max pool in place of its average pool, and there are 1008 logits,
of which 1000 are ImageNet's classes. Layers are named as in PyTorch's copy of the weights.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from gan_jax.models.layers import Conv
from gan_jax.types import Array, PyTree, UserError

SIDE = 299  # pixels
EPSILON = 1e-3  # of batch norm


def _unit(x: Array, name: str, features: int, kernel: tuple[int, int], **options) -> jax.Array:
    """Convolution, batch norm and ReLU; batch norm is folded into kernel and bias (`variables`)."""
    return nn.relu(Conv(features, kernel, name=name, **options)(x))


def _inside(x: jax.Array) -> jax.Array:
    """Crops the output of a padded 3x3 convolution to that of an unpadded one, which XLA's CPU backend runs at half the
    speed or less.
    """
    return x[:, 1:-1, 1:-1]


def _shrink(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2))


def _pool_unit(x: jax.Array, features: int) -> jax.Array:
    """3x3 average pooling that does not count the padding, and a 1x1 unit. Pooling and convolution commute, since the
    mean of the bias is the bias; pooling after the convolution has fewer channels.
    """
    x = Conv(features, (1, 1), name="branch_pool")(x)
    return nn.relu(nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False))


class BlockA(nn.Module):
    """Block [b 35 35 c] -> [b 35 35 224 + pooled]."""

    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = _unit(x, "branch1x1", 64, (1, 1))
        five = _unit(x, "branch5x5_1", 48, (1, 1))
        five = _unit(five, "branch5x5_2", 64, (5, 5))
        three = _unit(x, "branch3x3dbl_1", 64, (1, 1))
        three = _unit(three, "branch3x3dbl_2", 96, (3, 3))
        three = _unit(three, "branch3x3dbl_3", 96, (3, 3))
        return jnp.concatenate([one, five, three, _pool_unit(x, self.pooled)], -1)


class BlockB(nn.Module):
    """Block [b 35 35 c] -> [b 17 17 480 + c]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _unit(x, "branch3x3", 384, (3, 3), strides=2, padding="VALID")
        double = _unit(x, "branch3x3dbl_1", 64, (1, 1))
        double = _unit(double, "branch3x3dbl_2", 96, (3, 3))
        double = _unit(double, "branch3x3dbl_3", 96, (3, 3), strides=2, padding="VALID")
        return jnp.concatenate([three, double, _shrink(x)], -1)


class BlockC(nn.Module):
    """Block [b 17 17 c] -> [b 17 17 768], with 7x7 convolutions split into 1x7 and 7x1."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = _unit(x, "branch1x1", 192, (1, 1))
        seven = _unit(x, "branch7x7_1", self.width, (1, 1))
        seven = _unit(seven, "branch7x7_2", self.width, (1, 7))
        seven = _unit(seven, "branch7x7_3", 192, (7, 1))
        double = _unit(x, "branch7x7dbl_1", self.width, (1, 1))
        double = _unit(double, "branch7x7dbl_2", self.width, (7, 1))
        double = _unit(double, "branch7x7dbl_3", self.width, (1, 7))
        double = _unit(double, "branch7x7dbl_4", self.width, (7, 1))
        double = _unit(double, "branch7x7dbl_5", 192, (1, 7))
        return jnp.concatenate([one, seven, double, _pool_unit(x, 192)], -1)


class BlockD(nn.Module):
    """Block [b 17 17 c] -> [b 8 8 512 + c]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = _unit(x, "branch3x3_1", 192, (1, 1))
        three = _unit(three, "branch3x3_2", 320, (3, 3), strides=2, padding="VALID")
        seven = _unit(x, "branch7x7x3_1", 192, (1, 1))
        seven = _unit(seven, "branch7x7x3_2", 192, (1, 7))
        seven = _unit(seven, "branch7x7x3_3", 192, (7, 1))
        seven = _unit(seven, "branch7x7x3_4", 192, (3, 3), strides=2, padding="VALID")
        return jnp.concatenate([three, seven, _shrink(x)], -1)


class BlockE(nn.Module):
    """Block [b 8 8 c] -> [b 8 8 2048]. The last block of the graph has a max pool in place of the average pool."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = _unit(x, "branch1x1", 320, (1, 1))
        three = _unit(x, "branch3x3_1", 384, (1, 1))
        wide, high = (_unit(three, f"branch3x3_2{part}", 384, kernel) for part, kernel in CROSS)
        double = _unit(x, "branch3x3dbl_1", 448, (1, 1))
        double = _unit(double, "branch3x3dbl_2", 384, (3, 3))
        wide2, high2 = (_unit(double, f"branch3x3dbl_3{part}", 384, kernel) for part, kernel in CROSS)
        if self.max_pool:
            pool = _unit(nn.max_pool(x, (3, 3), padding="SAME"), "branch_pool", 192, (1, 1))
            return jnp.concatenate([one, wide, high, wide2, high2, pool], -1)
        return jnp.concatenate([one, wide, high, wide2, high2, _pool_unit(x, 192)], -1)


CROSS = (("a", (1, 3)), ("b", (3, 1)))


class Inception(nn.Module):
    """Inception-v3: images [b 299 299 3] in [-1, 1] -> features [b 2048], means of ReLUs, and logits [b 1008].

    Without `logit_bias` the logits have no bias, as in most reported Inception Scores (Salimans et al. 2016,
    arXiv:1606.03498), since the published code left it out. The variables are the same with and without it.
    """

    logit_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b 299 299 3"]) -> tuple[Float[Array, "b 2048"], Float[Array, "b 1008"]]:
        x = _unit(x, "Conv2d_1a_3x3", 32, (3, 3), strides=2, padding="VALID")  # [b 149 149 32]
        x = _inside(_unit(x, "Conv2d_2a_3x3", 32, (3, 3)))  # [b 147 147 32]
        x = _unit(x, "Conv2d_2b_3x3", 64, (3, 3))
        x = _shrink(x)  # [b 73 73 64]
        self.sow("intermediates", "maxpool1", x)
        x = _unit(x, "Conv2d_3b_1x1", 80, (1, 1))
        x = _inside(_unit(x, "Conv2d_4a_3x3", 192, (3, 3)))  # [b 71 71 192]
        x = _shrink(x)  # [b 35 35 192]
        self.sow("intermediates", "maxpool2", x)
        x = BlockA(32, name="Mixed_5b")(x)
        x = BlockA(64, name="Mixed_5c")(x)
        x = BlockA(64, name="Mixed_5d")(x)  # [b 35 35 288]
        x = BlockB(name="Mixed_6a")(x)  # [b 17 17 768]
        x = BlockC(128, name="Mixed_6b")(x)
        x = BlockC(160, name="Mixed_6c")(x)
        x = BlockC(160, name="Mixed_6d")(x)
        x = BlockC(192, name="Mixed_6e")(x)
        x = BlockD(name="Mixed_7a")(x)  # [b 8 8 1280]
        x = BlockE(False, name="Mixed_7b")(x)
        x = BlockE(True, name="Mixed_7c")(x)  # [b 8 8 2048]
        features = x.mean((1, 2))
        return features, nn.Dense(1008, use_bias=self.logit_bias, name="fc")(features)


def variables(state_dict: Mapping[str, np.ndarray]) -> PyTree:
    """Converts the published tensors to variables of `Inception`.

    The batch norm of each unit is folded into its convolution in float64: kernel * s and beta - mean * s, with s =
    gamma / sqrt(var + 0.001). Raises UserError, with their names, where tensors are missing, unexpected, of another
    shape, or not finite.
    """
    images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    params = flatten_dict(jax.eval_shape(Inception().init, jax.random.key(0), images)["params"], sep=".")
    sizes = {name.removesuffix(".kernel"): leaf.shape for name, leaf in params.items() if name.endswith(".kernel")}
    expected = {
        f"{layer}.{part}": shape for layer, size in sizes.items() for part, shape in _tensors(layer, size).items()
    }
    # Ignores counts of training steps, which files of PyTorch before 0.4.1 do not have.
    given = {name: tensor for name, tensor in state_dict.items() if not name.endswith(".bn.num_batches_tracked")}
    wrong = {
        "lacks": expected.keys() - given.keys(),
        "has beyond them": given.keys() - expected.keys(),
        "has of another shape": {
            f"{name} {given[name].shape}, not {shape}"
            for name, shape in expected.items()
            if name in given and given[name].shape != shape
        },
        "has not finite": {name for name, tensor in given.items() if not np.isfinite(tensor).all()},
    }
    if any(wrong.values()):
        faults = [
            f"{what} {len(names)} of them, {', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''}"
            for what, names in wrong.items()
            if names
        ]
        raise UserError(f"not the tensors of the FID Inception, {len(expected)} of them: it {'; it '.join(faults)}")
    folded: dict[str, jax.Array] = {}
    for layer in sizes:
        part = {name: given[f"{layer}.{name}"].astype(np.float64) for name in _tensors(layer, sizes[layer])}
        if layer == "fc":
            kernel, bias = part["weight"].T, part["bias"]
        else:
            scale = part["bn.weight"] / np.sqrt(part["bn.running_var"] + EPSILON)
            kernel = part["conv.weight"].transpose(2, 3, 1, 0) * scale  # [o i h w] -> [h w i o]
            bias = part["bn.bias"] - part["bn.running_mean"] * scale
        folded |= {f"{layer}.kernel": jnp.asarray(kernel, jnp.float32), f"{layer}.bias": jnp.asarray(bias, jnp.float32)}
    return {"params": unflatten_dict(folded, sep=".")}


def _tensors(layer: str, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Published names and shapes of the tensors of one layer, whose kernel is [h w i o], or [i o] for "fc"."""
    *taps, i, o = size
    if layer == "fc":
        return {"weight": (o, i), "bias": (o,)}
    norm = {f"bn.{part}": (o,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {"conv.weight": (o, i, *taps), **norm}
