"""What the monitors of a round say to a person: which stay out of the line on the terminal, and when something looks
wrong. Their names begin with PREFIX, and nothing else hangs on a metric's name.
"""

from collections.abc import Mapping
from typing import Any

PREFIX = "monitor/"  # of metrics that are in the rows only, and that need not be finite
ALONE = 0.1  # of the real images' variance
CERTAIN = 0.99  # share of real and of fake images that D tells apart


def main_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values for the terminal."""
    return {name: value for name, value in row.items() if not name.startswith(PREFIX)}


def warnings(row: Mapping[str, Any]) -> dict[str, str]:
    """What a row of the log gives reason to say, by kind; of a population of how many of its members."""
    found = {}

    def of(name: str) -> list[float | None]:
        value = row.get(name)
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def who(those: list[Any], all_of_them: list[Any]) -> str:
        return f" (of {len(those)} of {len(all_of_them)} members)" if len(all_of_them) > 1 else ""

    spread = of(f"{PREFIX}gen/diversity")
    if alike := [one for one in spread if one is not None and one < ALONE]:
        found["diversity"] = (
            f"the fakes of a batch vary {min(alike):.2g} times as much as real images{who(alike, spread)}: the generator may have collapsed"
        )
    # Not strict: a game may tell one of them alone, and no warning is worth a run.
    both = list(zip(of(f"{PREFIX}disc/real_accuracy"), of(f"{PREFIX}disc/fake_accuracy"), strict=False))
    if sure := [pair for pair in both if min(-1 if one is None else one for one in pair) >= CERTAIN]:
        found["certain"] = (
            f"the discriminator tells {sure[0][0]:.1%} of real and {sure[0][1]:.1%} of fake images{who(sure, both)}: "
            "it may have learnt the images by heart, or the generator has fallen behind"
        )
    return found
