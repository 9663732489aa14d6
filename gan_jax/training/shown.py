"""What is shown of a run: samples by its recipe, and on its page what the files of its work directory have."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.training import monitors
from gan_jax.training.recipe import Recipe, Setup
from gan_jax.training.saving import SUFFIXES, sample_files
from gan_jax.types import Batch, PyTree
from gan_jax.workdir.report import Shown


def shown_of(
    workdir: Path,
    rows: Sequence[Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, Any]],
    stems: Collection[str],
    last: float = float("inf"),
) -> Shown:
    """Returns it for a run whose members, if it is a population, have `stems`; samples after step `last` are left out.
    Raises OSError and ValueError where config.json cannot be read.
    """
    saved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    files = [path for step, path in sample_files(workdir, stems) if step <= last]
    named = [workdir / f"{stem}.{suffix}" for stem in ("real", "neighbours") for suffix in SUFFIXES]
    return Shown(
        name=workdir.name or str(workdir),
        config=saved,
        rows=rows,
        samples=files,
        beside=[path for path in named if path.exists()],
        measured=measured,
        events=monitors.episodes(rows, [start["step"] for start in saved["starts"]]),
    )


def show(recipe: Recipe, samples: PyTree, setup: Setup) -> Mapping[str, bytes]:
    """Returns the files that show samples, {suffix: bytes}, by the recipe's `show`.

    That is given what is known of the rows (`known`): the batch `setup.shown` or, where it is a number of rows, the
    labels, which are the classes in turn. Raises ValueError for a suffix that is not in SUFFIXES.
    """
    files = recipe.show(samples, known(setup))
    if unknown := {*files} - {*SUFFIXES}:
        raise ValueError(f"show gave a file .{min(unknown)}: there are {', '.join(SUFFIXES)}")
    return files


def known(setup: Setup) -> Batch:
    """Returns what is known of the rows that are shown."""
    if not isinstance(setup.shown, int):
        return setup.shown
    return {name: np.asarray(x) for name, x in setup.source.spec.blank(setup.shown).items() if name == "label"}
