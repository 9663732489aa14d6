"""What the page about a run shows, read from the files of its work directory."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_jax.training import monitors
from gan_jax.training.saving import SUFFIXES, sample_files
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
