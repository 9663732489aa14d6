"""Shows the latent space of a run: ways between samples, truncation, directions, and the latents of given pictures.

    gan-jax latents runs/dcgan_mnist --out latents/
    gan-jax latents runs/dcgan_mnist --out latents/ --images mine/ --steps 500

The folder has pictures, a film, and latents.html, which shows all of them with what they are. The same seed gives the
same latents. The same is at hand in programs: `gan_jax.evaluation.latents`.
"""

import dataclasses
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from tyro.conf import Positional, arg

from gan_jax import data
from gan_jax.config import Natural
from gan_jax.evaluation import latents
from gan_jax.models import stylegan2
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import curves, pictures, report
from gan_jax.workdir.frames import embedded
from gan_jax.workdir.load import load, saved_run
from gan_jax.workdir.sampler import Sampler

PAIRS, BETWEEN = 6, 9  # rows and columns of interpolations
WALKERS, STOPS, FRAMES = 9, 4, 12  # of the film: samples, latents that each visits, pictures from one to the next
LIMITS = (2.0, 1.0, 0.7, 0.5, 0.3)
PSI = (1.0, 0.7, 0.5, 0.3, 0.0)  # of truncation towards the mean style
MIXED = 5  # rows of the table of mixed styles
COLUMNS = 8  # of the truncation grid
LARGEST = 1_800_000  # bytes of a film that the page holds; a larger one stands beside it
DIRECTIONS, REACH = 5, (-3, -2, -1, 0, 1, 2, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    run: Positional[Annotated[str, arg(metavar="RUN")]] = ""
    """Directory of the run."""
    out: str = ""
    """New folder of what is made."""
    images: str = ""
    """Pictures whose latents are searched, as --data of an experiment reads them. Default: real images of the run's data."""
    count: Natural = 8
    """Number of these pictures: the first ones. 0: none."""
    steps: int = 300
    """Steps of the search."""
    label: str = ""
    """Name of the only class. Default: the classes in turn."""
    seed: int = 0
    """Seed of the latents."""
    raw: bool = False
    """Take the trained generator instead of its average."""
    best: bool = False
    """Take the best checkpoint instead of the last."""
    member: int = 0
    """Index of the member of a population, from 0."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A file, and what the page says of it."""

    name: str
    content: bytes
    title: str
    text: str


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns the numbers it prints. Raises UserError for a run without pictures of noise, and before
    anything is written where `out` exists.
    """
    out = Path(config.out).expanduser()
    if not config.run or not config.out:
        raise UserError("name a run and a folder: gan-jax latents RUN --out DIR")
    if not 0 <= config.seed < 2**32 or config.steps < 1:
        raise UserError(f"--seed {config.seed} --steps {config.steps}: a seed from 0 to 2**32 - 1, and 1 step or more")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"--out {config.out} exists: name a new folder")
    sampler = load(config.run, raw=config.raw, member=config.member, best=config.best)
    _require(sampler, config)
    given = _given(sampler, config)
    drawing = Drawing(sampler, config)
    found: dict[str, Any] = {"step": sampler.step}
    parts = [*drawing.between(), drawing.film()]
    parts += (
        [drawing.styles(found), drawing.mixing()]
        if {"map", "mix"} <= set(sampler.views)
        else [drawing.truncation(found)]
    )
    try:
        parts.append(drawing.directions(found))
    except UserError as error:
        say(f"no directions: {error}")
    drawn: list[dict[str, Any]] = []
    if given is not None:
        projected, drawn = drawing.projection(given, found)
        parts.append(projected)
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        pictures.save(out / part.name, part.content)
    pictures.save(out / "latents.html", report.encoded(_page(config, sampler, out, parts, drawn)))
    say(f"latents of {config.run} at step {sampler.step:,}: {out / 'latents.html'}")
    return found


def _require(sampler: Sampler, config: Config) -> None:
    shape = sampler.spec.shape
    if needs := sampler.programs.kinds.needs:
        raise UserError(f"the generator of {config.run} is given {' and '.join(needs)}, not noise: it has no latents")
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(
            f"samples of shape {list(shape)} are no pictures: gan_jax.evaluation.latents has the functions for a program"
        )
    if config.label and config.label not in sampler.class_names[: sampler.classes]:
        classes = ", ".join(sampler.class_names[: sampler.classes]) or "none"
        raise UserError(f"--label {config.label}: the classes are {classes}")


def _given(sampler: Sampler, config: Config) -> np.ndarray | None:
    """The pictures to be projected, [b h w c] in [-1, 1]; None where there are none."""
    flags = saved_run(config.run).config
    name = config.images or getattr(flags, "data", "")
    if not config.count or not name:
        return None
    size, fit = (
        getattr(flags, "size", 0) or (sampler.spec.shape[0] if config.images else 0),
        getattr(flags, "fit", "crop"),
    )
    if config.images and not Path(config.images).expanduser().is_dir():
        size = 0  # only folders are resized
    images = data.load(name, size=size or None, fit=fit, stream=not config.images and getattr(flags, "stream", False))
    found, wanted = images.spec.shape, sampler.spec.shape
    if found[:2] != wanted[:2]:
        raise UserError(f"{name} has images {found}, and samples are {wanted}: name other --images")
    rows = np.arange(len(images.images))
    if not config.images:
        rows = np.random.default_rng(config.seed).permutation(rows)
    given = images.scaled(rows[: config.count])
    if found[-1] == 3 and wanted[-1] == 1:
        say(f"{name} is in colour and samples are grey: its luminance is taken")
        given = given @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return np.broadcast_to(given, (len(given), *wanted)) if found[-1] == 1 else given


class Drawing:
    """The parts of the page, drawn with one sampler."""

    def __init__(self, sampler: Sampler, config: Config):
        self.sampler, self.config = sampler, config
        drawn = sampler.inputs(max(2 * PAIRS, WALKERS * STOPS, latents.DRAWS), config.seed)
        self.z, *self.rest = (np.asarray(x) for x in drawn)

    def sample(self, z: np.ndarray, which: np.ndarray, psi: float | None = None) -> np.ndarray:
        """Samples for latents [b z]. What else a generator is given, such as codes, is that of the draws `which` [b], so
        that it stays as it is along a way; its classes are these in turn, or --label. `psi` takes the place of its last
        input.
        """
        rest = [x[which] for x in self.rest]
        if psi is not None:
            rest[-1] = np.full(len(which), psi, np.float32)
        place = self.sampler.programs.kinds.label
        if place is not None:
            chosen = (which % self.sampler.classes).astype(np.int32)
            if self.config.label:
                chosen[:] = self.sampler.class_names.index(self.config.label)
            rest[place - 1] = chosen
        return np.asarray(self.sampler(z, *rest))

    def between(self) -> list[Part]:
        """Strips from one latent to another, on two ways between the same ends."""
        ways = {
            "slerp": (latents.slerp, "On the great circle, where latents keep their length."),
            "lerp": (latents.lerp, "On the straight line: in its middle latents are shorter, and pictures more alike."),
        }
        parts = []
        for name, (way, text) in ways.items():
            z = [latents.between(self.z[2 * i], self.z[2 * i + 1], BETWEEN, way) for i in range(PAIRS)]
            made = self.sample(np.concatenate(z), np.repeat(np.arange(PAIRS), BETWEEN))
            parts.append(Part(f"{name}.png", _sheet(made, BETWEEN), f"From left to right: {name}", text))
        return parts

    def film(self) -> Part:
        """A film of samples whose latents go round."""
        stops = self.z[: WALKERS * STOPS].reshape(WALKERS, STOPS, -1)
        z = np.stack([latents.round_trip(one, FRAMES) for one in stops], 1)  # [frames walkers z]
        made = self.sample(z.reshape(-1, z.shape[-1]), np.tile(np.arange(WALKERS), len(z)))
        sheets = [pictures.grid(one, columns=3) for one in made.reshape(len(z), WALKERS, *made.shape[1:])]
        first, *others = [Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet) for sheet in sheets]
        file = io.BytesIO()
        first.save(file, format="GIF", save_all=True, append_images=others, duration=80, loop=0)
        text = f"Each latent visits {STOPS} others on great circles, and comes back."
        return Part("walk.gif", file.getvalue(), "A walk", text)

    def truncation(self, found: dict[str, Any]) -> Part:
        """Samples of the same latents, cut off closer and closer."""
        rows, spreads = [], {}
        for limit in (0.0, *LIMITS):
            z = latents.truncated(self.z[: latents.DRAWS], limit) if limit else self.z[: latents.DRAWS]
            made = self.sample(z, np.arange(len(z)))
            rows.append(made[:COLUMNS])
            spreads[limit] = float(made.std(0).mean())
        shares = {limit: spread / max(spreads[0.0], 1e-12) for limit, spread in spreads.items() if limit}
        found["truncation"] = shares
        listed = ", ".join(f"{limit:g} ({share:.0%})" for limit, share in shares.items())
        text = (
            f"The same latents in every row: as they are, then cut off at {listed}. In brackets the standard deviation of pixels "
            f"over {latents.DRAWS} samples, as a share of the first row's."
        )
        return Part("truncation.png", _sheet(np.concatenate(rows), COLUMNS), "Truncation", text)

    def styles(self, found: dict[str, Any]) -> Part:
        """Samples of the same latents, whose w are moved closer and closer to the mean of w."""
        rows, spreads = [], {}
        for psi in PSI:
            made = self.sample(self.z[: latents.DRAWS], np.arange(latents.DRAWS), psi)
            rows.append(made[:COLUMNS])
            spreads[psi] = float(made.std(0).mean())
        found["truncation"] = {psi: spread / max(spreads[PSI[0]], 1e-12) for psi, spread in spreads.items()}
        listed = ", ".join(f"{psi:g} ({share:.0%})" for psi, share in found["truncation"].items())
        text = (
            f"The same latents in every row, with psi {listed}: w is m + psi (w - m), with m its mean. In brackets the standard "
            f"deviation of pixels over {latents.DRAWS} samples, as a share of the first row's."
        )
        return Part("truncation.png", _sheet(np.concatenate(rows), COLUMNS), "Truncation", text)

    def mixing(self) -> Part:
        """A table of samples whose first layers have the style of their row, and the later ones that of their column."""
        down, across = self.z[:MIXED], self.z[MIXED : MIXED + COLUMNS]
        blank = np.full((1, *self.sampler.spec.shape), 1, np.float32)
        which = np.zeros(COLUMNS, int)
        layers = stylegan2.styles(self.sampler.spec.shape)
        rows = [blank, self.sample(across, which)]
        for one in down:
            z, rest = np.tile(one, (COLUMNS, 1)), [x[which] for x in self.rest[:-1]]
            cutoff = np.full(COLUMNS, layers // 2, np.int32)
            rows += [self.sample(one[None], which[:1]), np.asarray(self.sampler.ask("mix", z, across, cutoff, *rest))]
        text = f"Layers 1 to {layers // 2} of {layers} have the style of the sample at the left, the later ones that of the sample above."
        return Part("mixing.png", _sheet(np.concatenate(rows), COLUMNS + 1), "Mixed styles", text)

    def directions(self, found: dict[str, Any]) -> Part:
        """One sample along the directions that move the first layer most."""
        weights = latents.first_layer(self.sampler)
        vectors, strengths = latents.sefa(weights, DIRECTIONS)
        z = self.z[0] + np.array(REACH, np.float32)[:, None] * vectors[:, None]  # [directions steps z]
        flat = z.reshape(-1, z.shape[-1])
        made = self.sample(flat, np.zeros(len(flat), int))
        usual = float(np.sqrt((weights**2).sum() / len(weights)))  # of a direction drawn at random
        found["sefa"] = [float(one) / usual for one in strengths]
        times = ", ".join(f"{one:.2f}" for one in found["sefa"])
        text = (
            f"One sample, in the middle, moved by {REACH[0]} to {REACH[-1]} along each of the directions that move the first layer's output "
            f"most (SeFa, closed form). They move it {times} times as far as one drawn at random."
        )
        return Part("sefa.png", _sheet(made, len(REACH)), "Directions", text)

    def projection(self, given: np.ndarray, found: dict[str, Any]) -> tuple[Part, list[dict[str, Any]]]:
        """Given pictures, where their search began, what it came to, and the curve of its loss."""
        result = latents.project(self.sampler, given, self.config.steps, seed=self.config.seed)
        made = np.concatenate([given, result.begun, result.images])
        first, last = (float(np.mean(result.losses[i])) for i in (0, -1))
        found["projection"] = {"begun": first, "found": last}
        text = (
            f"First row: the pictures. Second: the nearest of {latents.DRAWS} samples, where the search began. Third: what it came to, "
            f"in {self.config.steps} steps of Adam. Mean squared error of pixels in [-1, 1]: {first:.3g}, then {last:.3g}."
        )
        x = [*range(len(result.losses))]
        spread = [(step, float(row.mean()), float(row.std())) for step, row in zip(x, result.losses, strict=True)]
        kept = curves.thinned(spread)
        line = {
            "name": "mean over the pictures",
            "x": [p[0] for p in kept],
            "y": [p[1] for p in kept],
            "std": [p[2] for p in kept],
        }
        drawn = {
            **{"title": "squared error of the search", "hidden": False, "better": "lower is better", "events": []},
            "lines": [{**line, "floor": None, "hue": 0}],
        }
        title = f"Latents of {'given pictures' if self.config.images else 'real images'}"
        return Part("projection.png", _sheet(made, len(given)), title, text), [drawn]


def _sheet(images: np.ndarray, columns: int) -> bytes:
    return pictures.png(pictures.grid(images, columns))


def _page(config: Config, sampler: Sampler, out: Path, parts: Sequence[Part], drawn: list[dict[str, Any]]) -> str:
    title = f"Latents of {Path(config.run).name}"
    body = [
        f"<h1>{html.escape(title)}</h1><p class=soft>Step {sampler.step:,}, weights {sampler.how['weights']}, seed {config.seed}.</p>"
    ]
    for part in parts:
        figure = f"<figure class=broad>{report.file_html(embedded(out / part.name, LARGEST))}</figure>"
        body.append(f"<h2>{html.escape(part.title)}</h2><p class=soft>{html.escape(part.text)}</p>{figure}")
    return report.document(
        title,
        [*body, report.curves_html(drawn, "Band: one standard deviation over the pictures.")],
        {"runs": [], "curves": drawn},
    )
