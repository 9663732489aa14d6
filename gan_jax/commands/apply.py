"""Applies a generator that is given images, such as a translator, to a folder of pictures of any size.

    gan-jax apply runs/pix2pix photos/ --out results/
    gan-jax apply runs/superres photos/ --out large/ --tile 256
    gan-jax apply runs/inpaint photos/ --out mended/ --masks masks/     # white, or transparent in the picture: missing

Results have the names of the pictures, and 8 bits. Sides that the network does not take are mirrored up to the next that it does,
and cut back. Transparency is carried over, but for in-painting without masks, where it is what is missing. Of a picture
that is left out a line tells why; of an animation the first frame is taken. Nothing is written over.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm
from tyro.conf import Positional, arg

from gan_jax.data import folders
from gan_jax.system.numerics import arithmetic
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import any_size, pictures
from gan_jax.workdir.load import load
from gan_jax.workdir.sampler import Sampler

KEPT = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # kinds of files that are written as they were
OPAQUE = (".jpg", ".jpeg", ".bmp")  # kinds of files without transparency
SAME = ("low", "image")  # a generator that is given one of these makes images of the same kind: grey ones of grey ones


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    run: Positional[Annotated[str, arg(metavar="RUN")]] = ""
    """Directory of the run."""
    pictures: Positional[Annotated[str, arg(metavar="IN")]] = ""
    """Folder of pictures, or one picture."""
    out: str = ""
    """New folder for the results."""
    reverse: bool = False
    """From b to a, by a run that learnt both directions."""
    masks: str = ""
    """For in-painting: folder of masks with the names of the pictures; white is missing."""
    side_by_side: bool = False
    """Write each picture beside its result."""
    tile: int = 0
    """Compute in tiles of so many pixels, to save memory; 0: whole pictures. Refused where tiles would not fit together."""
    overlap: int = 0
    """Pixels around each tile that are computed with it; 0: as many as the result depends on, so that no seam is seen."""
    seed: int = 0
    """Seed of what the generator draws, if it draws."""
    raw: bool = False
    """Apply the trained generator instead of its average."""
    best: bool = False
    """Apply that of the best checkpoint instead of the last."""
    member: int = 0
    """Index of the member of a population, from 0."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns where and how many pictures were written, and which were left out. Raises UserError for a
    run that is not given images, for tiles that would not fit together, and where `out` exists.
    """
    if not (config.run and config.pictures and config.out):
        raise UserError("name a run, pictures, and where results go: gan-jax apply RUN IN --out DIR")
    out, files = Path(config.out).expanduser(), _files(Path(config.pictures).expanduser())
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"--out {config.out} exists: name a new folder")
    if min(config.tile, config.overlap, config.seed) < 0 or (config.overlap and not config.tile):
        raise UserError(f"--tile {config.tile} --overlap {config.overlap}: pixels, and an overlap is that of tiles")
    sampler = load(config.run, raw=config.raw, member=config.member, best=config.best)
    needs = _needs(sampler, config)
    channels = tuple(int(sampler.spec.arrays[name].shape[-1]) for name in needs)
    apply = _applied(sampler, needs, config)
    fit = any_size.fit_of(apply, channels, sampler.spec.arrays[needs[0]].shape[:2])
    overlap = _overlap(sampler, apply, channels, fit, config)
    left_out, written = [], 0
    # Where nobody watches, a line for each picture instead.
    bar = tqdm(files, unit="picture", disable=None)
    for i, file in enumerate(bar):
        try:
            given, opened = _read(file, channels, needs, config)
            if config.tile and max(given[0].shape[:2]) > config.tile:
                made = any_size.tiled(apply, given, fit, config.tile, overlap)
            else:
                made = any_size.whole(apply, given, fit)
        except (UserError, *folders.DAMAGED) as error:
            left_out.append(file.name)
            say(f"{file.name} is left out: {str(error).splitlines()[0] if str(error) else repr(error)}", error=True)
            continue
        _write(out / _name(file), pictures.to_uint8(made), given, opened, needs, fit, config)
        written += 1
        if bar.disable:
            say(f"{i + 1:>{len(str(len(files)))}}/{len(files)}  {file.name}  {made.shape[1]}x{made.shape[0]}")
    left = f"; left out: {', '.join(left_out)}" if left_out else ""
    say(f"{written:,} pictures by {config.run} at step {sampler.step:,}, {sampler.how['weights']}: {out}{left}")
    if not written:
        raise UserError(f"none of the {len(files)} pictures of {config.pictures} could be made")
    return {"out": str(out), "count": written, "left_out": left_out, "step": sampler.step}


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such folder or picture ({path.absolute()})")
    found, deeper, _ = folders.entries(path)
    if not found:
        more = f"; perhaps you mean {deeper[0]}" if deeper else ""
        raise UserError(f"{path}: no pictures ({', '.join(folders.SUFFIXES)}){more}")
    if len({_name(file) for file in found}) < len(found):
        raise UserError(f"{path}: two pictures would have one name when they are written: rename one")
    if deeper:
        say(f"{len(deeper)} sub-folders of {path} are not read, such as {deeper[0].name}")
    return found


def _needs(sampler: Sampler, config: Config) -> tuple[str, ...]:
    """The arrays that the generator is given: an image, and for in-painting a mask."""
    needs = ("b",) if config.reverse else sampler.programs.kinds.needs
    if not needs:
        raise UserError(f"the generator of {config.run} is given noise, not pictures: gan-jax sample {config.run}")
    if config.reverse and "to_a" not in sampler.views:
        raise UserError(f"--reverse: {config.run} learnt one direction only")
    if len(needs) > 1 + ("mask" in needs):
        raise UserError(f"the generator of {config.run} is given {' and '.join(needs)}: use gan_jax.load in a program")
    if config.masks and "mask" not in needs:
        raise UserError(f"--masks {config.masks}: the generator of {config.run} takes none: leave it out")
    if (channels := int(sampler.spec.arrays[needs[0]].shape[-1])) not in (1, 3):
        raise UserError(
            f"the generator of {config.run} is given images of {channels} channels, and pictures have 1 or 3"
        )
    return needs


def _applied(sampler: Sampler, needs: tuple[str, ...], config: Config) -> Callable:
    """Function from images [1 h w c] to the result, whose programs are kept for each size."""
    if config.reverse:
        return lambda x: sampler.programs.view("to_a")(sampler.asked, np.int32(sampler.member), sampler.values, x)
    rest = sampler.inputs({name: _blank(sampler, name) for name in needs}, config.seed)[len(needs) :]
    return lambda *images: sampler.programs.sample(
        sampler.generator, np.int32(sampler.member), sampler.values, *images, *rest
    )


def _blank(sampler: Sampler, name: str) -> np.ndarray:
    kind = sampler.spec.arrays[name]
    return np.zeros((1, *kind.shape), kind.dtype)


def _overlap(sampler: Sampler, apply: Callable, channels: tuple[int, ...], fit: any_size.Fit, config: Config) -> int:
    if not config.tile:
        return 0
    if config.reverse or len(channels) > 1:
        raise UserError("--tile: only for a generator of one image in its own direction: leave it out")
    game = sampler.programs.game_of(sampler.values)
    own, kinds = sampler.own, sampler.programs.kinds.arrays
    rest = [np.zeros((1, *kind.shape[1:]), kind.dtype) for kind in kinds[1:]]
    with arithmetic("float32", "float32"):
        reach = any_size.reach_of(
            lambda params, x: game.sample(params, own.stats, x, *rest), own.params, channels[0], fit
        )
    if reach < 0:
        raise UserError(
            f"--tile {config.tile}: a result of this generator depends on the whole picture (as by instance norm), or on more than "
            f"{any_size.PROBES[-1] // 2} pixels around it, so tiles would not fit together: leave it out, or make pictures smaller first"
        )
    if config.overlap and config.overlap < reach:
        say(f"--overlap {config.overlap}: a result depends on pixels up to {reach} away, so seams may show", error=True)
    return config.overlap or reach


class Opened(NamedTuple):
    """What a picture has beside its colours."""

    alpha: np.ndarray | None  # uint8 [h w], 0: transparent
    grey: bool
    profile: bytes | None  # ICC, of its colours


def _read(
    file: Path, channels: tuple[int, ...], needs: tuple[str, ...], config: Config
) -> tuple[tuple[np.ndarray, ...], Opened]:
    """The images for the generator in [-1, 1], and what else the picture has."""
    with folders.opened(file) as picture:
        picture.load()
        alpha = None
        if picture.has_transparency_data:
            alpha = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))[..., 3]
        profile = picture.info.get("icc_profile")
        image = folders.upright(picture)
    grey = image.mode == "L"
    pixels = np.asarray(image.convert("L" if channels[0] == 1 else "RGB"))
    given = [pixels.reshape(*pixels.shape[:2], channels[0]).astype(np.float32) / 127.5 - 1]
    if "mask" in needs:
        given.append(_mask(file, pixels.shape[:2], alpha, config))
        alpha = alpha if config.masks else None
    return tuple(given), Opened(alpha, grey, profile)


def _mask(file: Path, shape: tuple[int, ...], alpha: np.ndarray | None, config: Config) -> np.ndarray:
    """[h w 1]: 1 where the picture is missing."""
    if not config.masks:
        if alpha is None:
            raise UserError("nothing is missing: give --masks DIR (white is missing), or make pixels transparent")
        # Where it is transparent in part, its colours are mixed with white already.
        mask = alpha < 255
    else:
        found = [one for one in folders.entries(Path(config.masks).expanduser())[0] if one.stem == file.stem]
        if len(found) != 1:
            raise UserError(f"{config.masks} has {len(found)} masks of its name: one is needed")
        with folders.opened(found[0]) as picture:
            drawn = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"), np.float32)
        # On a transparent layer what is not drawn is not white.
        mask = drawn[..., :3].mean(-1) * drawn[..., 3] / 255 >= 128
        if mask.shape != shape:
            raise UserError(
                f"its mask is {mask.shape[1]}x{mask.shape[0]}, and it is {shape[1]}x{shape[0]}: they must be of one size"
            )
    if mask.all():
        raise UserError("all of it is missing: in masks white is missing, and black is known")
    return mask.astype(np.float32)[..., None]


def _name(file: Path) -> str:
    return file.name if file.suffix.lower() in KEPT else f"{file.stem}.png"


def _write(
    path: Path,
    made: np.ndarray,
    given: tuple[np.ndarray, ...],
    opened: Opened,
    needs: tuple[str, ...],
    fit: any_size.Fit,
    config: Config,
) -> None:
    if "mask" in needs:
        missing = given[1][..., 0] > 0
        dead = missing & (made == pictures.to_uint8(np.zeros(1))).all(-1)
        if dead.sum() > 0.01 * missing.sum() > 0:
            say(
                f"{path.name}: {dead.sum() / missing.sum():.0%} of what is missing lies too far from what is known, and stays grey: "
                "make the picture smaller first",
                error=True,
            )
    image = Image.fromarray(made[..., 0] if made.shape[-1] == 1 else made)
    if opened.grey and needs[0] in SAME:
        image = image.convert("L")
    if opened.alpha is not None and path.suffix.lower() not in OPAQUE:
        mask = Image.fromarray(opened.alpha)
        if fit.scale > 1:
            mask = mask.resize(image.size, Image.Resampling.BICUBIC)
        image = image.convert("LA" if image.mode == "L" else "RGBA")
        image.putalpha(mask)
    if config.side_by_side:
        before = pictures.to_uint8(given[0])
        left = Image.fromarray(before[..., 0] if before.shape[-1] == 1 else before)
        both = Image.new("RGB", (2 * image.width, image.height), "white")
        both.paste(left.resize(image.size, Image.Resampling.NEAREST), (0, 0))
        both.paste(image, (image.width, 0), image if "A" in image.mode else None)
        image = both
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
    # A profile of colours means nothing to a grey picture.
    if opened.profile and image.mode in ("RGB", "RGBA"):
        options["icc_profile"] = opened.profile
    image.save(path, **options)
