"""StyleGAN2 with the changes of StyleGAN2-ADA (Karras et al. 2020, arXiv:1912.04958 and 2006.06676, appendix C).

A mapping makes w of z; G begins with a learnt constant, and w scales the input channels of every convolution, which is then
divided by the norm of each of its filters ("demodulated"). Noise is added after every 3x3 convolution, and images of
all sizes are summed (skip). D is residual, or plain ("orig"). Sides are halved as in `layers.halvings`: 32 to 4, 28 to 7.
Layers have equalised learning rates (`equalised`), images are resampled by [1, 3, 3, 1] (`conv.fir`).
"""

import itertools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.conv.convolution import channels_last, conv_general_dilated, conv_transpose
from gan_jax.models.conv.fir import blur, downsample, upsample
from gan_jax.models.conv.geometry import Geometry
from gan_jax.models.equalised import Conv, Dense, normalised
from gan_jax.models.layers import MinibatchStd, halvings, leaky_relu, precision, require_label
from gan_jax.types import Array, UserError, at_least_float32

KEPT = 0.995  # decay of the mean of w
ROOT = math.sqrt(2)


def activated(x: Any) -> Any:
    """Leaky ReLU 0.2 times sqrt 2."""
    return leaky_relu(x) * ROOT


def sides(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Returns the sizes inside the networks, from the smallest on."""
    count = halvings(shape[0], shape[1], "StyleGAN2")
    return [(shape[0] >> i, shape[1] >> i) for i in reversed(range(count + 1))]


def noises(shape: tuple[int, ...]) -> int:
    """Returns how many numbers of noise an image has: one a pixel of each layer."""
    sizes = [h * w for h, w in sides(shape)]
    return 2 * sum(sizes) - sizes[0]


def styles(shape: tuple[int, ...]) -> int:
    """Returns how many w an image has: one for each 3x3 convolution, and one for the last image. 32 pixels: 8."""
    return 2 * len(sides(shape))


def channels(sizes: list[tuple[int, int]], base: int, most: int) -> list[int]:
    """Returns min(base / r, most) for sizes of r pixels. Raises UserError where there are none."""
    largest = max(map(max, sizes))
    if base < largest:
        raise UserError(f"a base of {base} channels leaves none at {largest} pixels: take smaller images")
    return [min(base // max(size), most) for size in sizes]


class Mapping(nn.Module):
    """z [b z], label [b] -> w [b features]: z, beside it an embedding of the label, both normalised, then dense layers,
    which learn a hundred times slower. Without z, [b 0], it is a mapping of labels.
    """

    features: int = 512
    layers: int = 8
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Any, label: Any = None) -> Any:
        x = normalised(z)
        if label is not None:
            embedded = Dense(self.features, dtype=self.dtype, name="embed")(jax.nn.one_hot(label, self.classes))
            x = jnp.concatenate([x, normalised(embedded)], -1)
        for i in range(self.layers):
            x = activated(Dense(self.features, rate=0.01, dtype=self.dtype, name=f"layer_{i}")(x))
        return x


class Modulated(nn.Module):
    """x [b h w i], w [b d] -> [b h w features], with `up` [b 2h 2w features]: a convolution whose kernel W is
    W s, with s a linear function of w, divided by the norm of each filter, sqrt(sum (W s)^2 + 1e-8).

    Computed as the convolution of x s, times one over the norm: the same, with one kernel for the whole batch. Without
    `demodulate`, s is scaled by 1/sqrt(i k^2) in its place. arXiv:1912.04958, section 2.2.
    """

    features: int
    kernel: int = 3
    up: bool = False
    demodulate: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, w: Any) -> Any:
        channels = x.shape[-1]
        shape = (self.kernel, self.kernel, channels, self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, precision(self.dtype)["param_dtype"])
        style = Dense(channels, bias=1.0, dtype=self.dtype, name="style")(w)  # [b i]
        if not self.demodulate:
            style = style / math.sqrt(channels * self.kernel**2)
        y = x * style[:, None, None]
        y = _up(y, kernel.astype(y.dtype)) if self.up else _conv(y, kernel.astype(y.dtype))
        if not self.demodulate:
            return y
        power = at_least_float32(style) ** 2 @ jnp.sum(kernel**2, (0, 1))  # [b features]
        return y * jax.lax.rsqrt(power + 1e-8).astype(y.dtype)[:, None, None]


def _conv(x: Any, kernel: Any) -> Any:
    return conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=channels_last(2))


def _up(x: Any, kernel: Any) -> Any:
    """[b h w i] -> [b 2h 2w o]: zeros between the pixels, the 3x3 kernel, then [1, 3, 3, 1]."""
    small = x.shape[1:3]
    geometry = Geometry((2 * small[0] + 1, 2 * small[1] + 1), (3, 3), (2, 2), (1, 1), (0, 0), small)
    # The kernel of the convolution whose transpose this is.
    return 4 * blur(conv_transpose(x, jnp.flip(kernel, (0, 1)).swapaxes(-1, -2), geometry), 1)


class Synthesis(nn.Module):
    """w [b L d], noise [b n] -> images [b h w c]; L is `styles`, n is `noises`."""

    shape: tuple[int, ...]
    base: int
    most: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, w: Any, noise: Any) -> Any:
        kind, sizes = precision(self.dtype)["param_dtype"], sides(self.shape)
        widths = channels(sizes, self.base, self.most)
        constant = self.param("constant", nn.initializers.normal(1.0), (*sizes[0], widths[0]), kind)
        x: Any = jnp.broadcast_to(constant.astype(self.dtype)[None], (w.shape[0], *constant.shape))
        image: Any = None
        used, index = 0, 0  # of noise, of w

        def layer(x: Any, width: int, size: tuple[int, int], up: bool) -> Any:
            nonlocal used, index
            x = Modulated(width, up=up, dtype=self.dtype)(x, w[:, index])
            strength = self.param(f"strength_{index}", nn.initializers.zeros, (), kind)
            plane = noise[:, used : used + size[0] * size[1]].reshape(-1, *size, 1)
            bias = self.param(f"bias_{index}", nn.initializers.zeros, (width,), kind)
            used, index = used + size[0] * size[1], index + 1
            x = x + (strength * plane).astype(x.dtype)
            return activated(x + bias.astype(x.dtype).reshape(1, 1, 1, -1))

        for i, (width, size) in enumerate(zip(widths, sizes, strict=True)):
            x = layer(x, width, size, up=True) if i else x
            x = layer(x, width, size, up=False)
            bias = self.param(f"image_bias_{i}", nn.initializers.zeros, (self.shape[-1],), kind)
            to_image = Modulated(self.shape[-1], 1, demodulate=False, dtype=self.dtype, name=f"to_image_{i}")
            now = at_least_float32(to_image(x, w[:, index])) + bias.reshape(1, 1, 1, -1)
            image = now if image is None else upsample(image) + now
        return image


class Generator(nn.Module):
    """z [b z], label [b], noise [b n], psi [b] -> images [b h w c], not bounded.

    Without `noise` there is none. `psi` is that of truncation: w is moved to m + psi (w - m), with m the mean of w, which
    is kept in training (decay 0.995). Where `other` z [b z] are given, layers from `cutoff` [b] on have their w: mixed
    styles, in training. A size of r pixels has min(base / r, most) channels: the authors' have 32,768 and 512. `gen.map` and
    `gen.synthesise` are the two halves. Computes in `dtype`; parameters and images are float32 (float64 with dtype
    float64).
    """

    shape: tuple[int, ...]  # (h, w, c)
    base: int = 1_024
    most: int = 64
    features: int = 128  # of w
    layers: int = 2  # of the mapping
    classes: int = 0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.mapping = Mapping(self.features, self.layers, self.classes, self.dtype)
        self.synthesis = Synthesis(self.shape, self.base, self.most, self.dtype)
        self.mean = self.variable("buffers", "mean", jnp.zeros, (self.features,), precision(self.dtype)["param_dtype"])

    def map(self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None) -> Any:
        """z, label -> w [b features]"""
        require_label(label, self.classes, "stylegan2.Generator")
        return self.mapping(jnp.asarray(z, precision(self.dtype)["param_dtype"]), label)

    def synthesise(self, w: Float[Array, "b L d"], noise: Float[Array, "b n"] | None = None) -> Any:
        """w of each layer, noise -> images"""
        noise = jnp.zeros((w.shape[0], noises(self.shape)), w.dtype) if noise is None else noise
        return self.synthesis(w, noise)

    def __call__(
        self,
        z: Float[Array, "b z"],
        label: Int[Array, " b"] | None = None,
        noise: Float[Array, "b n"] | None = None,
        psi: Float[Array, " b"] | None = None,
        other: Float[Array, "b z"] | None = None,
        cutoff: Int[Array, " b"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        w = self.map(z, label)
        if train and not self.is_initializing():
            now = jax.lax.stop_gradient(at_least_float32(w)).mean(0)
            self.mean.value = (KEPT * self.mean.value + (1 - KEPT) * now).astype(self.mean.value.dtype)
        if psi is not None:
            mean = self.mean.value.astype(w.dtype)[None]
            w = mean + jnp.asarray(psi, w.dtype)[:, None] * (w - mean)
        each = jnp.broadcast_to(w[:, None], (w.shape[0], styles(self.shape), w.shape[1]))  # [b L d]
        if other is not None and cutoff is not None:
            later = jnp.arange(each.shape[1])[None] >= jnp.asarray(cutoff)[:, None]  # [b L]
            each = jnp.where(later[..., None], self.map(other, label)[:, None], each)
        return self.synthesise(each, noise)


class Discriminator(nn.Module):
    """images [b h w c], label [b] -> logits [b].

    Blocks of two 3x3 convolutions, the second of which halves the sides, with a shortcut of [1, 3, 3, 1] and a 1x1
    convolution; without `residual` there is none. At the smallest size minibatch standard deviation over `group` rows,
    3x3, and two dense layers. With `classes` the last has as many outputs as the smallest size has channels, and the
    logit is their mean product, times the root of their number, with a mapping of the label of `mapped` layers.
    Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    base: int = 1_024
    most: int = 64
    residual: bool = True
    group: int = 4
    classes: int = 0
    mapped: int = 8
    dtype: Any = jnp.float32

    couples_rows = True
    coupling = MinibatchStd  # its logits hang on what else is asked

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, self.classes, "stylegan2.Discriminator")
        sizes = sides(x.shape[1:])[::-1]
        widths = channels(sizes, self.base, self.most)
        h: Any = activated(Conv(widths[0], 1, dtype=self.dtype)(x))
        for now, following in itertools.pairwise(widths):
            y = activated(Conv(now, dtype=self.dtype)(h))
            y = activated(Conv(following, stride=2, padding="VALID", dtype=self.dtype)(blur(y, 2)))
            if self.residual:
                y = (y + Conv(following, 1, use_bias=False, dtype=self.dtype)(downsample(h))) / ROOT
            h = y
        h = activated(Conv(widths[-1], dtype=self.dtype)(MinibatchStd(self.group)(h)))
        h = activated(Dense(widths[-1], dtype=self.dtype)(h.reshape(h.shape[0], -1)))  # [b h w c] -> [b c]
        h = at_least_float32(Dense(widths[-1] if self.classes else 1, dtype=self.dtype)(h))
        if label is None:
            return h[:, 0]  # [b 1] -> [b]
        none = jnp.zeros((h.shape[0], 0), h.dtype)
        wanted = Mapping(widths[-1], self.mapped, self.classes, self.dtype)(none, label)
        return jnp.sum(h * at_least_float32(wanted), -1) / math.sqrt(widths[-1])
