"""What the monitors of a round say to a person: which stay out of the line on the terminal, and when something looks
wrong.
"""

from collections.abc import Mapping
from typing import Any

from gan_jax.spread import mean_std

QUIET = ("accuracy", "norm", "gap", "diversity", "sigma")  # how the names of monitors end; they are in the rows only
ALONE = 0.1  # of the real images' variance
CERTAIN = 0.99  # share of real and of fake images that D tells apart


def main_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values for the terminal."""
    return {name: value for name, value in row.items() if not name.endswith(QUIET)}


def warnings(row: Mapping[str, Any]) -> dict[str, str]:
    """What a row of the log gives reason to say, by kind; of a population by the mean of its members."""
    found = {}

    def of(name: str) -> float | None:
        return mean_std(row[name])[0] if name in row else None

    diversity, real, fake = of("gen/diversity"), of("disc/real_accuracy"), of("disc/fake_accuracy")
    if diversity is not None and diversity < ALONE:
        found["diversity"] = (
            f"the fakes of a batch vary {diversity:.2g} times as much as real images: the generator may have collapsed"
        )
    if real is not None and fake is not None and min(real, fake) >= CERTAIN:
        found["certain"] = (
            f"the discriminator tells {real:.1%} of real and {fake:.1%} of fake images: "
            "it may have learnt the images by heart, or the generator has fallen behind"
        )
    return found
