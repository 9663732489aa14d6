"""gan_jax: generative adversarial networks in JAX, as games of a few pure functions.

A notebook samples from a trained generator in three lines:

    sample = gan_jax.load("runs/dcgan_digits")
    z = sample.latents(16, seed=0)
    images = sample(z)  # [16 h w c], in [-1, 1]
"""

import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    raise ImportError("gan_jax runs on Linux and macOS, and not on Windows: use the Windows Subsystem for Linux (WSL)")

if TYPE_CHECKING:
    from gan_jax.workdir.load import Sampler

__version__ = "0.1.0"


def load(workdir: str, raw: bool = False, member: int = 0, best: bool = False) -> "Sampler":
    """Loads the generator of a finished or stopped run, ready to sample; see `gan_jax.workdir.load.load`."""
    from gan_jax.workdir import load  # imported only when needed, as it imports orbax

    return load.load(workdir, raw=raw, member=member, best=best)
