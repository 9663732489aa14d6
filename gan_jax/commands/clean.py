"""Finds what is wrong with a set of images before a GAN is trained on it, and writes the set without it.

    pip install -e '.[clean]'
    gan-jax clean photos/ --report clean.html
    gan-jax clean photos/ --out photos_clean/ --remove outlier
    gan-jax clean faces.npz --test other.npz --json found.json

DATA is a folder (flat, or a sub-folder for each class, or train/ and test/), an .npz or an .npy. Nothing of it is ever
changed. Damaged files, wrong suffixes, images that are too small or show nothing, duplicates and near duplicates, also
across train and test, outliers, mixtures of grey and colour, of shapes and transparency, and small classes are told by
name. --out has the rest: files as they are, or a file of the same kind with the rest of the rows.
"""

import base64
import dataclasses
import html
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tqdm
from PIL import Image
from tyro.conf import Positional, arg

from gan_jax.config import Natural
from gan_jax.data.clean import alike, checks, look
from gan_jax.data.clean.kinds import KINDS, LEFT_OUT, MENDED, MENTIONED, NEVER, Finding, grouped, shown
from gan_jax.data.clean.reading import Collection
from gan_jax.evaluation import features
from gan_jax.metrics.two_sample import nearest
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import pictures, report

NEIGHBOURS, DEVIATIONS = 5, 5.0  # of outliers: so many of the nearest images, and how far beyond the median
FEWEST, KEYS, CHUNK = 20, 10_000, 1_000  # images for outliers to be sought; images they are compared with; at a time
EXAMPLES, CLASSES = 3, 8  # in a line of the terminal
MARK = "<meta name=generator content='gan-jax clean'>"  # of a page that may be written over
HEAD = 200_000  # bytes of a file, in which that stands
MADE_BY = "gan-jax clean"  # in a list that may be written over
BUDGET = 2_700_000  # bytes of a page's pictures and names
SHOWN, GROUPS, MEMBERS = 60, 40, 8  # pictures of a kind, groups of a kind, pictures of a group
THUMB = 112  # pixels of the longer side of a picture
STYLE = """<style>
.tiles,.group{display:flex;flex-wrap:wrap;gap:.8em;align-items:flex-start}.groups{display:flex;flex-wrap:wrap;gap:1em}
.group{border:1px solid var(--line);border-radius:6px;padding:.6em;max-width:100%}
.tiles figure,.group figure{width:112px}.tiles img,.group img{width:auto;max-width:112px;min-width:32px;image-rendering:auto}
.tiles img.whole,.group img.whole{image-rendering:pixelated;min-width:64px}
figcaption{font-size:.75em;line-height:1.3;margin-top:.3em}.kept{font-weight:600}
td{overflow-wrap:break-word}th{white-space:normal}.tiles img,.group img{outline:1px solid var(--line)}a{color:var(--mark)}
</style>"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    data: Positional[Annotated[str, arg(metavar="DATA")]] = ""
    """Folder of images, .npz or .npy. It is only read."""
    test: str = ""
    """Another folder, .npz or .npy with the test images. Those that are in DATA, or nearly, are told and left out."""
    out: str = ""
    """New folder for what is left. With --test it has train/ and test/."""
    report: str = ""
    """File of a page with pictures of what was found: --report clean.html"""
    json: str = ""
    """File of a list of all that was found, with the names."""
    least: Natural = 0
    """Pixels of the shorter side below which an image is too small. 0: 32, or half of the median where that is less."""
    near: Natural = 6
    """Bits of the perceptual hash's 64 by which near duplicates differ at most. 6 finds copies that were compressed again,
    halved, brightened or cut by 1 % at the border; of 400 photographs no two differ by less than 14.
    """
    alike: float = 0.99
    """Correlation that their pixels, at 16x16, have at least, which tells figures of one outline apart."""
    keep: tuple[str, ...] = ()
    """Kinds that are not left out: --keep near-duplicate too-small"""
    remove: tuple[str, ...] = ()
    """Kinds that are left out too: --remove outlier grey"""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns the counts by kind, and how many images there are and are left. Raises UserError for flags
    and data that cannot be used, before anything is written.
    """
    _require(config)
    hashed = look.hasher()
    images = Collection(config.data, config.test)
    _require_apart(config, images)
    checked = Checked(config, images, hashed)
    checked.tell()
    _require_some(config, checked)
    try:
        if config.out:
            forms = {f.item: checked.seen[f.item].form for f in checked.findings if f.kind == "wrong-suffix"}
            for line in images.write(Path(config.out).expanduser(), checked.left, forms):
                say(line)
            say(f"{len(checked.left):,} images are in {config.out}")
        if config.json:
            pictures.save(Path(config.json).expanduser(), (json.dumps(checked.listed(), indent=1) + "\n").encode())
            say(f"all that was found: {config.json}")
        if config.report:
            pictures.save(Path(config.report).expanduser(), report.encoded(Page(checked).text()))
            say(f"page: {config.report}")
    except OSError as error:
        raise UserError(
            f"{error.filename or config.out} cannot be copied or written: {error.strerror or error}"
        ) from error
    return {
        "images": len(images.entries),
        "left": len(checked.left),
        **{k: len(v) for k, v in checked.by_kind().items()},
    }


def _require(config: Config) -> None:
    if not config.data:
        raise UserError("name a folder of images, an .npz or an .npy: gan-jax clean DATA --report clean.html")
    if config.near > alike.MOST or not 0 < config.alike <= 1:
        raise UserError(
            f"--near {config.near} --alike {config.alike:g}: at most {alike.MOST} bits, and a correlation in (0, 1]"
        )
    for flag, kinds in (("keep", config.keep), ("remove", config.remove)):
        fate = LEFT_OUT if flag == "keep" else MENTIONED
        known = [kind for kind in KINDS if KINDS[kind].fate == fate and kind not in (*NEVER, "folder", "few")]
        if unknown := [kind for kind in kinds if kind not in known]:
            raise UserError(f"--{flag} {' '.join(unknown)}: the kinds are {', '.join(known)}")
    out = Path(config.out).expanduser()
    if config.out and out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"--out {config.out} exists: name a new folder")
    if config.out:
        _require_place("out", out)
    _require_own("report", config.report, MARK, "clean.html")
    _require_own("json", config.json, MADE_BY, "clean.json")
    if config.report and Path(config.report).expanduser().resolve() == Path(config.json).expanduser().resolve():
        raise UserError(f"--report and --json are both {config.json}: name two files")


def _require_own(flag: str, name: str, mark: str, example: str) -> None:
    """Raises UserError for a file that this command has not written, or cannot write."""
    path = Path(name).expanduser()
    if not name:
        return
    if path.is_dir():
        raise UserError(f"--{flag} {name} is a directory: name a file, such as {path / example}")
    try:
        with path.open("rb") as file:
            if mark.encode() not in file.read(HEAD):
                raise UserError(f"--{flag} {name} exists, and this command has not written it: name another file")
    except FileNotFoundError:
        _require_place(flag, path)
    except OSError as error:
        raise UserError(f"--{flag} {name} cannot be written: {error.strerror or error}") from error


def _require_place(flag: str, path: Path) -> None:
    """Raises UserError where a new file or folder cannot be made, before the images are read, which takes long."""
    above = next(one for one in path.absolute().parents if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(
            f"--{flag} {path} cannot be written: {above} is {'not writable' if above.is_dir() else 'no folder'}"
        )


def _require_apart(config: Config, images: Collection) -> None:
    """Raises UserError where a file would be written into a folder of the data."""
    for flag, name in (("out", config.out), ("report", config.report), ("json", config.json)):
        for source in images.sources:
            place = Path(name).expanduser().resolve()
            if name and source.path.is_dir() and place.is_relative_to(source.path.resolve()):
                raise UserError(
                    f"--{flag} {name} is in the folder of the data, {source.path}, where nothing is written: name another"
                )


def _require_some(config: Config, checked: "Checked") -> None:
    for split in dict.fromkeys(entry.split for entry in checked.images.entries):
        if config.out and not any(checked.images.entries[i].split == split for i in checked.left):
            raise UserError(f"--out {config.out}: no image of {split} is left; keep a kind by --keep, of those above")


class Checked:
    """A collection, what was found in it, and what is left of it."""

    def __init__(self, config: Config, images: Collection, hashed: Callable[[Any], int]):
        self.config, self.images = config, images
        self.seen: dict[int, look.Seen] = {}
        broken: list[tuple[int, look.Broken]] = []
        with tqdm.tqdm(total=len(images.entries), unit="image", leave=False, disable=None) as bar:
            for i, one in enumerate(images.look(hashed)):
                bar.update()
                if isinstance(one, look.Broken):
                    broken.append((i, one))
                else:
                    self.seen[i] = one
        entries, bounds = images.entries, checks.Bounds(config.least, config.near, config.alike)
        self.findings = [*images.faults(), *checks.broken(entries, broken)]
        self.findings += checks.alone(entries, self.seen, bounds)
        self.findings += checks.copies(entries, self._left(), bounds)
        self.findings += checks.mixed(entries, self._left())
        self.findings += outliers([f.name for f in entries], self._left())
        self.left = sorted(self._left())
        self.findings += checks.classes(entries, self.left)

    def goes(self, kind: str) -> bool:
        """Returns whether images with such a finding are left out."""
        return (KINDS[kind].fate == LEFT_OUT and kind not in self.config.keep) or kind in self.config.remove

    def _left(self) -> dict[int, look.Seen]:
        gone = {f.item for f in self.findings if self.goes(f.kind)}
        return {i: one for i, one in self.seen.items() if i not in gone}

    def by_kind(self) -> dict[str, list[Finding]]:
        """Returns the findings of each kind that occurs, in the order of KINDS."""
        held: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
        for finding in self.findings:
            held[finding.kind].append(finding)
        return {kind: found for kind, found in held.items() if found}

    def fate(self, kind: str) -> str:
        """Returns what becomes of the images of a kind, as the flags have it."""
        return LEFT_OUT if self.goes(kind) else MENDED if KINDS[kind].fate == MENDED else MENTIONED

    def tell(self) -> None:
        """Says a line for each kind, and what would be left."""
        described = checks.summary(self.images.entries, self.seen, CLASSES)
        say(f"{shown(self.config.data)}: " + "; ".join(f"{name} {text}" for name, text in described.items()))
        for text in self.images.others():
            say(f"not looked at: {shown(text)}")
        for fate in (LEFT_OUT, MENDED, MENTIONED):
            kinds = {kind: found for kind, found in self.by_kind().items() if self.fate(kind) == fate}
            if kinds:
                say(f"{fate}:")
            for kind, found in kinds.items():
                say(f"{len(found):>7,}  {KINDS[kind].title}{grouped(found)}: {_examples(found)}")
        if not self.findings:
            say("nothing was found")
        say(
            f"{len(self.left):,} of {len(self.images.entries):,} images are left"
            + ("" if self.config.out else "; --out DIR writes them")
        )

    def listed(self) -> dict[str, Any]:
        """Returns all that was found, as JSON."""
        found = []
        for finding in sorted(self.findings, key=lambda f: (f.item < 0, f.item)):
            place = (
                self.images.where(finding.item)
                if finding.item >= 0
                else {"class" if finding.kind == "few" else "path": finding.name}
            )
            split = {"split": self.images.entries[finding.item].split} if finding.item >= 0 else {}
            like = {"group": finding.group, "like": self.images.where(finding.like)} if finding.like >= 0 else {}
            found.append(
                {
                    **place,
                    **split,
                    "kind": finding.kind,
                    "detail": finding.detail,
                    "fate": self.fate(finding.kind),
                    **like,
                }
            )
        summary = {
            "data": checks.summary(self.images.entries, self.seen), "images": len(self.images.entries), "left": len(self.left),
            "kinds": {kind: len(each) for kind, each in self.by_kind().items()}, "flags": dataclasses.asdict(self.config),
        }  # fmt: skip
        return {"made_by": MADE_BY, "summary": summary, "findings": found}


def outliers(names: Sequence[str], seen: Mapping[int, look.Seen]) -> list[Finding]:
    """Returns the images whose mean distance to the NEIGHBOURS nearest is more than DEVIATIONS robust standard deviations
    (1.4826 x the median absolute deviation) beyond the median. Distances are of pixels at 16x16; of more than KEYS
    images that many, drawn at random, are those to which distances are measured.
    """
    if len(seen) < FEWEST:
        return []
    items = np.array([*seen])
    small, apply = checks.pixels(seen, seen).reshape(-1, look.SIDE, look.SIDE, 3), features.pixels()
    chosen = np.sort(np.random.default_rng(0).permutation(len(items))[:KEYS])
    keys = apply(small[chosen])[0]
    distances = np.empty(len(items))
    for begin in range(0, len(items), CHUNK):
        rows = np.arange(begin, min(begin + CHUNK, len(items)))
        away, which = nearest(apply(small[rows])[0], keys, NEIGHBOURS + 1)
        away[chosen[which] == rows[:, None]] = np.inf  # itself
        distances[rows] = np.sort(away, axis=1)[:, :NEIGHBOURS].mean(1)
    middle = float(np.median(distances))
    deviation = 1.4826 * float(np.median(np.abs(distances - middle)))
    far = np.flatnonzero(distances > middle + DEVIATIONS * max(deviation, 1e-6))
    order = far[np.argsort(-distances[far], kind="stable")]
    return [
        Finding(
            "outlier",
            names[items[i]],
            f"{distances[i] / max(middle, 1e-6):.1f} times the median distance",
            int(items[i]),
        )
        for i in order
    ]


def _examples(found: Sequence[Finding]) -> str:
    told = [f"{shown(finding.name)} ({shown(finding.detail)})" for finding in found[:EXAMPLES]]
    return ", ".join(told) + (", ..." if len(found) > EXAMPLES else "")


class Page:
    """The page: counts, then pictures by kind, as far as they fit."""

    def __init__(self, checked: Checked):
        self.checked, self.images = checked, checked.images
        self.kinds = checked.by_kind()
        self.room = 0  # bytes that the kind at hand may take yet

    def text(self) -> str:
        """Returns the HTML."""
        checked, entries = self.checked, self.images.entries
        title = f"Clean {Path(shown(checked.config.data)).name}"
        cells = {
            kind: (f"<a href=#{kind}>{KINDS[kind].title}</a>", f"{len(found):,}", grouped(found), checked.fate(kind))
            for kind, found in self.kinds.items()
        }
        rows = "".join(
            f"<tr><th>{a}</th><td class=n>{b}</td><td>{c}</td><td>{d}</td></tr>" for a, b, c, d in cells.values()
        )
        facts = {name: shown(text) for name, text in checks.summary(entries, checked.seen).items()}
        ignored = "".join(
            f"<p class=soft>Not looked at: {html.escape(shown(text))}.</p>" for text in self.images.others()
        )
        body = [
            f"{MARK}{STYLE}<h1>{html.escape(title)}</h1><p>{len(checked.left):,} of {len(entries):,} images are left. The data were not changed.</p>",
            f"<div class=wide><table>{rows}</table></div>" if rows else "<p>Nothing was found.</p>",
            f"<h2>The images</h2><div class=wide>{report.table(facts)}</div>{ignored}",
        ]
        left = BUDGET
        for number, (kind, found) in enumerate(self.kinds.items()):
            self.room = left // (len(self.kinds) - number)
            part = self._kind(kind, found)
            left -= len(part.encode("utf-8", "surrogateescape"))
            body.append(part)
        return report.document(title, body, {"runs": [], "curves": []})

    def _kind(self, kind: str, found: Sequence[Finding]) -> str:
        groups: dict[int, list[Finding]] = {}
        for finding in found:
            groups.setdefault(finding.group, []).append(finding)
        grown, told = [], 0
        if [*groups] == [-1]:
            for finding in found[:SHOWN]:
                if self.room > 0:
                    grown.append(self._tile(finding.item, finding.name, finding.detail))
                    told += 1
        else:
            for group in sorted(groups.values(), key=len, reverse=True)[:GROUPS]:
                if self.room > 0:
                    grown.append(self._group(group))
                    told += min(len(group), MEMBERS - 1)
        layout = "tiles" if [*groups] == [-1] else "groups"
        missing = (
            f"<p class=soft>{told:,} of {len(found):,} are shown; --json lists all.</p>" if told < len(found) else ""
        )
        about = f"{KINDS[kind].text} {self.checked.fate(kind).capitalize()}."
        head = f"<h2 id={kind}>{KINDS[kind].title.capitalize()}: {len(found):,}{grouped(found)}</h2><p class=soft>{about}</p>{missing}"
        return f"{head}<div class={layout}>{''.join(grown)}</div>"

    def _group(self, group: Sequence[Finding]) -> str:
        kept = group[0].like
        tiles = [self._tile(kept, self.images.entries[kept].name, "<span class=kept>kept</span>", safe=True)]
        tiles += [self._tile(finding.item, finding.name, finding.detail) for finding in group[: MEMBERS - 1]]
        more = f"<p class=soft>and {len(group) - MEMBERS + 1:,} more</p>" if len(group) >= MEMBERS else ""
        return f"<div class=group>{''.join(tiles)}{more}</div>"

    def _tile(self, item: int, name: str, detail: str, safe: bool = False) -> str:
        """HTML of a picture with its name; of one that cannot be decoded the name alone."""
        text = f"{html.escape(shown(name))}<br>{detail if safe else html.escape(shown(detail))}"
        picture = "" if item < 0 or self.room < 0 else thumbnail(self.images.picture(item))
        tile = f"<figure>{picture}<figcaption>{text}</figcaption></figure>"
        self.room -= len(tile)
        return tile


def thumbnail(picture: Image.Image | None) -> str:
    """Returns the HTML of a small picture, PNG where it is small already, else JPEG; "" where there is none."""
    if picture is None:
        return ""
    whole = max(picture.size) <= THUMB
    file = io.BytesIO()
    if not whole:
        picture.thumbnail((THUMB, THUMB))
    picture.save(file, format="PNG" if whole else "JPEG", quality=75)
    kind, held = ("png", " class=whole") if whole else ("jpeg", "")
    return f'<img alt=""{held} src="data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}">'
