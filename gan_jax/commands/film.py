"""Makes a film of a run's samples, the same latents or inputs at every step, as a GIF.

    gan-jax film runs/dcgan_mnist --out film.gif
    gan-jax film runs/pix2pix_facades --out film.gif --seconds 12 --width 600

Each frame says its step. Of more than 120 steps some are left out, never the last one, which stands longest.
"""

import dataclasses
import io
import re
from pathlib import Path
from typing import Annotated, Any

from PIL import Image, ImageDraw
from tyro.conf import Positional, arg

from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import pictures
from gan_jax.workdir.load import saved_run

MOST = 120  # frames of a film
PAUSE = 2.0  # seconds for which the last frame stands


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    run: Positional[Annotated[str, arg(metavar="RUN")]] = ""
    """Directory of the run."""
    out: str = ""
    """New file, .gif."""
    seconds: float = 8.0
    """Length, without the last frame, which stands for two seconds more."""
    width: int = 0
    """Pixels; 0: as the samples are, at most 800."""
    member: int = 0
    """Index of the member of a population, from 0."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns where the film is and its steps. Raises UserError where there are fewer than two pictures,
    and where `out` exists.
    """
    out = Path(config.out).expanduser()
    if not config.run or out.suffix.lower() != ".gif":
        raise UserError("name a run and where its film goes: gan-jax film RUN --out FILE.gif")
    if out.exists():
        raise UserError(f"--out {config.out} exists: name a new file")
    if not config.seconds > 0 or config.width < 0:
        raise UserError(f"--seconds {config.seconds:g} --width {config.width}: more than 0 seconds, and pixels")
    run = saved_run(config.run)
    members = run.config.members()
    if not 0 <= config.member < len(members):
        raise UserError(f"--member {config.member}: {config.run} has {len(members)}, from 0")
    end = f"_{members[config.member].stem}" if run.config.population else ""
    steps = {}
    for path in sorted((run.workdir / "samples").glob(f"*{end}.png")):
        if found := re.fullmatch(rf"(\d+){re.escape(end)}", path.stem):
            steps[int(found[1])] = path
    if len(steps) < 2:
        raise UserError(
            f"{config.run} has {len(steps)} pictures of samples, and a film needs two: --sample-every sets how many"
        )
    every = -(-len(steps) // MOST)
    chosen = sorted(steps)[::-1][::every][::-1]  # the last one is always there
    frames = [_frame(steps[step], step, config.width) for step in chosen]
    if len({frame.size for frame in frames}) > 1:
        raise UserError(f"{config.run}: its pictures have several sizes, of which no film can be made")
    shown = max(20, round(1e3 * config.seconds / len(frames)))
    times = [shown] * (len(frames) - 1) + [shown + round(1e3 * PAUSE)]
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures.save(out, _gif(frames, times))
    say(f"{len(frames)} steps of {config.run}, {chosen[0]:,} to {chosen[-1]:,}: {out}")
    return {"out": str(out), "steps": chosen}


def _frame(path: Path, step: int, width: int) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    wide = width or min(image.width, 800)
    image = image.resize((wide, max(1, round(image.height * wide / image.width))), Image.Resampling.LANCZOS)
    framed = Image.new("RGB", (image.width, image.height + 16), "white")
    framed.paste(image, (0, 0))
    ImageDraw.Draw(framed).text((4, image.height + 2), f"step {step:,}", fill="black")
    return framed


def _gif(frames: list[Image.Image], times: list[int]) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    return file.getvalue()
