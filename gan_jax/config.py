"""The flags that every experiment has. An experiment's own configuration inherits them; the text under a field is its
`--help`.
"""

import dataclasses
import math
from typing import Literal

from gan_jax.types import UserError

MAY_BE_ZERO = frozenset(
    {"seed", "devices", "size", "sample_every", "evaluate_every", "checkpoint_every"}
)  # every other whole number is at least 1
POSITIVE = frozenset({"lr", "clip"})
FRACTIONS = frozenset({"b1", "b2", "dropout"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run is kept, how long it is, and what it leaves behind on the way."""

    workdir: str = ""
    """Directory of the run (default: runs/NAME of the experiment). Starting again with the same one goes on where it
    stopped.
    """
    seed: int = 0
    """Weights, data order and noise are all functions of (seed, step)."""
    steps: int = 10_000
    """Rounds of the game: each some discriminator steps and one generator step."""
    batch_size: int = 64
    """Real images of one discriminator step."""
    devices: int = 0
    """Devices the batch is split over; 0 for all there are."""
    log_every: int = 100
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 1_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: int = 1_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), "--" + field.name.replace("_", "-")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            least = 1 if isinstance(value, int) and field.name not in MAY_BE_ZERO else 0
            if not least <= value < math.inf:
                raise UserError(
                    f"{flag} {value}: it must be at least {least}{'' if isinstance(value, int) else ' and finite'}"
                )
            if field.name in POSITIVE and value == 0:
                raise UserError(f"{flag} {value}: it must be more than 0")
            if field.name in FRACTIONS and value >= 1:
                raise UserError(f"{flag} {value}: it must be in [0, 1)")
        if self.seed >= 2**32:
            raise UserError(f"--seed {self.seed}: it must be less than 2^32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRun(Run):
    """And where the images come from."""

    data: str = "digits"
    """digits (bundled); a TFDS name such as mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or
    .npy; a folder of images.
    """
    size: int = 0
    """Side, in pixels, that a folder's images are brought to; 0: they have one size already."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """How they are brought to it: shorter side then centre crop, both sides, or longer side then padding."""
    flip: bool = False
    """Mirror each image left to right with probability 1/2."""


# A run may be continued with other values of these; every other field is what makes it this run.
MAY_DIFFER = frozenset(
    {"workdir", "steps", "devices", "log_every", "sample_every", "evaluate_every", "checkpoint_every", "data"}
)
