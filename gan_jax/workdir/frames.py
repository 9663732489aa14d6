"""The sample files of a run as a page embeds them: pictures, sounds and text, thinned to a number of bytes."""

import base64
import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

BUDGET = 1_700_000  # bytes of all files on a page; base64 makes them a third longer
LARGE = 120_000  # bytes of a picture beyond which the page has a JPEG of it instead
WIDEST = 1_000  # pixels of that
MOST = 60  # steps behind the slider
MEMBERS = 8  # of a population


class Frames(NamedTuple):
    """What a page shows of samples/: the frames of each member, and what was left out."""

    members: Mapping[str, Sequence[Mapping[str, Any]]]  # by name, "" for a single run: [{step, files: [{kind, src}]}]
    note: str  # "" where all is shown as it is


def frames(files: Sequence[Path], budget: int = BUDGET, members: int = MEMBERS, most: int = MOST) -> Frames:
    """Returns frames of sample files STEP.suffix or STEP_member.suffix, which are in the order of the steps.

    Where there are more than `members` or more than `most` steps, or more than fit into `budget`, they are thinned: the
    first members, and steps at equal distances with the first and the last. Of a file that is too large by itself the
    page has only the name. Raises OSError for a file that cannot be read.
    """
    found = _sorted(files)
    kept_members = [*found][:members]
    steps = sorted({step for member in kept_members for step in found[member]})
    if not steps:
        return Frames({}, "")
    kept = {*spread(steps, min(most, fitting(files, budget, members)))}
    made: dict[str, list[dict[str, Any]]] = {
        member: [
            {"step": step, "files": [embedded(path, budget // 4) for path in paths]}
            for step, paths in found[member].items()
            if step in kept
            or (step == max(found[member]) and not kept & {*found[member]})  # of one that diverged before
        ]
        for member in kept_members
    }
    left_out = [f"{len(kept_members)} of {len(found)} members"] if len(kept_members) < len(found) else []
    left_out += [f"{len(kept)} of {len(steps)} steps"] if len(kept) < len(steps) else []
    shown = f"This page has {' and '.join(left_out)}; all are in samples/." if left_out else ""
    smaller = any(file.get("smaller") for member in made.values() for frame in member for file in frame["files"])
    return Frames(made, " ".join(filter(None, [shown, "Large pictures are JPEG here." if smaller else ""])))


def fitting(files: Sequence[Path], budget: int = BUDGET, members: int = MEMBERS) -> int:
    """Returns how many steps of sample files fit into a number of bytes, at least 1; MOST where there are none."""
    found = _sorted(files)
    sizes: dict[int, int] = {}
    for member in [*found][:members]:
        for step, paths in found[member].items():
            sizes[step] = sizes.get(step, 0) + sum(map(size_of, paths))
    return max(1, budget // max(1, *sizes.values())) if sizes else MOST


def _sorted(files: Sequence[Path]) -> dict[str, dict[int, list[Path]]]:
    """The files of each step of each member, "" for a single run."""
    found: dict[str, dict[int, list[Path]]] = {}
    for path in files:
        number, _, member = path.stem.partition("_")
        found.setdefault(member, {}).setdefault(int(number), []).append(path)
    return found


def spread(values: Sequence[int], count: int) -> list[int]:
    """Returns `count` of the values at equal distances, with the first and the last; all where there are not more. A
    single one is the last.
    """
    if count >= len(values):
        return [*values]
    if count == 1:
        return [values[-1]]
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def embedded(path: Path, largest: int = BUDGET // 4) -> dict[str, Any]:
    """Returns one file: {"kind": "img", "audio", "text" or "name", "src": data URI, text or file name}."""
    content, suffix = path.read_bytes(), path.suffix[1:]
    if suffix == "png" and len(content) > LARGE:
        with contextlib.suppress(OSError, Image.DecompressionBombError):  # of more pixels than Pillow takes
            return {"kind": "img", "src": _uri("image/jpeg", _smaller(content)), "smaller": True}
    if len(content) > largest:
        return {"kind": "name", "src": f"{path.parent.name}/{path.name}"}
    if suffix == "txt":
        return {"kind": "text", "src": content.decode("utf-8", "replace")}
    kind = "audio" if suffix == "wav" else "image"
    return {"kind": "audio" if suffix == "wav" else "img", "src": _uri(f"{kind}/{suffix}", content)}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _smaller(content: bytes) -> bytes:
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        opened = Image.open(io.BytesIO(content))
    with opened as picture:
        kept = picture.convert("L" if picture.mode == "L" else "RGB")
    for side, quality in (
        (WIDEST, 88),
        (WIDEST, 70),
        (700, 70),
        (480, 60),
        (300, 40),
    ):  # the last fits whatever it shows
        kept.thumbnail((side, side))
        file = io.BytesIO()
        kept.save(file, format="JPEG", quality=quality)
        if file.tell() <= LARGE:
            break
    return file.getvalue()


def size_of(path: Path) -> int:
    """Returns the bytes that a page has of a file, at most."""
    size = path.stat().st_size
    return min(size, LARGE) if path.suffix == ".png" else size
