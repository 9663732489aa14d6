"""CycleGAN's and CUT's generator: residual blocks between two halvings and two doublings, from images to images of the same
size (Zhu et al. 2017, arXiv:1703.10593, appendix 7.2; Johnson et al. 2016, arXiv:1603.08155).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.conv import fir
from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, precision
from gan_jax.models.unet import norm
from gan_jax.types import Array, UserError, at_least_float32


class ResnetTranslator(nn.Module):
    """images [b h w c] -> images [b h w c] in [-1, 1].

    A 7x7 convolution, two 3x3 that halve, `blocks` residual ones, two that double, 7x7, tanh; instance norm without
    parameters, ReLU; borders mirrored, but where sizes change. 9 blocks (for 256 pixels) have 11,378,179 parameters, 6 (for
    128) 7,837,699. `smooth`: sizes change by the filter [1, 3, 3, 1] beside 3x3 convolutions of stride 1, as in CUT
    (whose filter on the way down is [1, 2, 1]), which leaves no checkerboards.

    With `features` the result is a list of five instead, what contrastive losses compare: the images, what each of the two
    halvings' convolutions gives before its norm, and what the first and the middle block give. Computes in `dtype`;
    parameters and images are float32 (float64 with dtype float64). Raises UserError unless both sides are multiples of 4
    and at least 16.
    """

    width: int = 64
    blocks: int = 9
    smooth: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool, features: bool = False) -> Any:
        if any(side % 4 or side < 16 for side in x.shape[1:3]):
            raise UserError(
                f"a translator that halves images twice needs sides that are multiples of 4, from 16 on, and these are"
                f" {x.shape[1]}x{x.shape[2]}: give --size"
            )
        channels = x.shape[-1]
        conv = functools.partial(Conv, kernel_init=dcgan_init, **precision(self.dtype))
        valid = functools.partial(conv, padding="VALID")
        same = functools.partial(norm, dtype=self.dtype, affine=False)
        found = [jnp.asarray(x)]
        h = nn.relu(same(valid(self.width, (7, 7))(mirrored(x, 3))))
        for i in (2, 4):
            h = conv(i * self.width, (3, 3))(h) if self.smooth else conv(i * self.width, (3, 3), (2, 2))(h)
            found.append(h)
            h = nn.relu(same(h))
            h = fir.downsample(h) if self.smooth else h
        for i in range(self.blocks):
            y = nn.relu(same(valid(4 * self.width, (3, 3))(mirrored(h, 1))))
            h = h + same(valid(4 * self.width, (3, 3))(mirrored(y, 1)))
            found += [h] * ((i == 0) + (i == self.blocks // 2))
        if features:
            return [at_least_float32(one) for one in found]
        for i in (2, 1):
            if self.smooth:
                h = conv(i * self.width, (3, 3))(fir.upsample(h))
            else:
                up = ConvTranspose(i * self.width, (3, 3), (2, 2), kernel_init=dcgan_init, **precision(self.dtype))
                h = up(h)
            h = nn.relu(same(h))
        return jnp.tanh(at_least_float32(valid(channels, (7, 7))(mirrored(h, 3))))


def mirrored(x: Any, by: int) -> jax.Array:
    """[b h w c] -> [b h+2by w+2by c], the image mirrored around it, without its edge ("reflect")."""
    return jnp.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="reflect")
