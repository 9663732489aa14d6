"""HiFi-GAN: sounds of mels, and discriminators that look at every p-th sample (Kong et al. 2020, arXiv:2010.05646, section
2 and appendix A.1), without weight norm: kernels begin as PyTorch's, which is how the published ones do.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, ConvTranspose, precision
from gan_jax.types import Array, at_least_float32

torch_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's: U(-a, a), a = 1 / sqrt(fan in)
PERIODS = (2, 3, 5, 7, 11)
Dilations = tuple[tuple[int, ...], ...]


class Generator(nn.Module):
    """log-mels [b f m], perhaps scaled, -> sounds [b t 1] in [-1, 1], t = f times the product of `rates`: the hop of the mels.

    A convolution of 7 to `width` channels; for each of `rates` a transposed convolution, of `kernels`, to half as many
    channels, and the mean of residual stacks of several `blocks`, kernels with their `dilations`; leaky ReLU 0.1, 0.01 before
    the last. A stack is, with `deep`, for each dilation a convolution with it and one without before it is added (V1 and
    V2), or else a single one (V3). V1 is width 512, rates 8 8 2 2, kernels 16 16 4 4, blocks 3 7 11 of dilations 1 3 5, deep:
    13,926,017 parameters of 80 mels. Computes in `dtype`; parameters and sounds are float32 (float64 with dtype float64).
    """

    width: int = 64
    rates: tuple[int, ...] = (8, 4, 4)
    kernels: tuple[int, ...] = (16, 8, 8)
    blocks: tuple[int, ...] = (3, 7)
    dilations: Dilations = ((1, 3, 5), (1, 3, 5))
    deep: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f m"], *, train: bool) -> Float[Array, "b t 1"]:
        if any((k - s) % 2 for k, s in zip(self.kernels, self.rates, strict=True)):
            raise ValueError(f"kernels {self.kernels} of rates {self.rates}: each must be longer by an even number")
        conv = functools.partial(Conv, kernel_init=torch_init, **precision(self.dtype))
        h: Any = conv(self.width, (7,))(x)
        for i, (rate, kernel) in enumerate(zip(self.rates, self.kernels, strict=True)):
            # PyTorch takes the outputs of a transposed convolution for its inputs.
            init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")
            up = ConvTranspose(self.width >> (i + 1), (kernel,), (rate,), kernel_init=init, **precision(self.dtype))
            h = up(nn.leaky_relu(h, 0.1))
            stacks = [
                self._stack(h, size, dilated, conv) for size, dilated in zip(self.blocks, self.dilations, strict=True)
            ]
            h = sum(stacks[1:], stacks[0]) / len(stacks)
        return jnp.tanh(at_least_float32(conv(1, (7,))(nn.leaky_relu(h, 0.01))))

    def _stack(self, x: jax.Array, size: int, dilations: Sequence[int], conv: Any) -> jax.Array:
        for dilation in dilations:
            y = conv(x.shape[-1], (size,), kernel_dilation=(dilation,))(nn.leaky_relu(x, 0.1))
            if self.deep:
                y = conv(x.shape[-1], (size,))(nn.leaky_relu(y, 0.1))
            x = x + y
        return x


class PeriodDiscriminators(nn.Module):
    """sounds [b t 1] -> for each of `periods` its logits [b*p n] and its hidden layers, of every p-th sample from each
    of p places on.

    Sounds are mirrored up to a multiple of p. Convolutions of 5, four of stride 3 and one without, of `widths`; leaky ReLU
    0.1; then one of 3 to the logits. 41,092,165 parameters as published. Computes in `dtype`; parameters and what is
    returned are float32 (float64 with dtype float64).
    """

    widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    periods: tuple[int, ...] = PERIODS
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(self, x: Float[Array, "b t 1"], *, train: bool) -> list[tuple[Any, list[Any]]]:
        found = []
        for period in self.periods:
            h, hidden = folded(x, period), []
            for i, width in enumerate(self.widths):
                stride = 1 if i == len(self.widths) - 1 else 3
                conv = Conv(width, (5,), (stride,), padding=((2, 2),), kernel_init=torch_init, **precision(self.dtype))
                h = nn.leaky_relu(conv(h), 0.1)
                hidden.append(at_least_float32(h))
            logits = Conv(1, (3,), kernel_init=torch_init, **precision(self.dtype))(h)
            found.append((at_least_float32(logits[..., 0]), hidden))
        return found


def folded(x: Float[Array, "b t 1"], period: int) -> Float[Array, "bp n 1"]:
    """Returns each sound as `period` rows, of every period-th sample: [b t 1] -> [b*p ceil(t / p) 1]."""
    b, t = x.shape[:2]
    more = -t % period
    x = jnp.pad(jnp.asarray(x)[..., 0], ((0, 0), (0, more)), mode="reflect") if more else jnp.asarray(x)[..., 0]
    return x.reshape(b, -1, period).swapaxes(1, 2).reshape(b * period, -1, 1)  # [b t] -> [b n p] -> [bp n 1]
