"""Writes samples of a saved run to a folder of pictures, or to an .npz file.

    gan-jax sample runs/dcgan_mnist --count 10000 --out pictures/
    gan-jax sample runs/cgan_mnist --count 500 --label 7 --seed 3 --out sevens.npz
    gan-jax sample runs/dcgan_fashion --truncation 0.7 --out typical/
    gan-jax sample runs/mle_names --begin ka --out ka.txt

Sample i of a seed is the same whatever --count is, and has the same noise in every class. Pictures are called
SEED_NUMBER.png, with a folder for each class where the generator is conditional; an .npz has `images`, uint8, and
`labels`, as --data of an experiment reads them; clips are .gif, and in an .npz [n t h w c]. Of a run whose samples are heard they are
.wav, and in an .npz `sounds` [n t] with their `rate`; of one whose samples are read they are the lines of a .txt. What is there
already is never written over.
"""

import dataclasses
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.lib import format as npy
from tyro.conf import Positional, arg

from gan_jax.evaluation.latents import truncated
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import pictures
from gan_jax.workdir.animated import gif
from gan_jax.workdir.audible import Sounding, wav
from gan_jax.workdir.load import load, saved_run, sound_of, text_of
from gan_jax.workdir.sampler import CHUNK, Sampler


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    run: Positional[Annotated[str, arg(metavar="RUN")]] = ""
    """Directory of the run."""
    out: str = ""
    """New folder of PNG, WAV or GIF files, or a new .npz file; of texts a new .txt file."""
    count: int = 64
    """Number of samples."""
    label: str = ""
    """Name of the only class. Default: the classes in turn."""
    seed: int = 0
    """Seed of the noise."""
    truncation: float = 0.0
    """Noise from N(0, 1) cut off beyond this distance from 0, as in BigGAN: nearer to 0, more typical and less varied. 0:
    not cut off. Of StyleGAN2 it is psi, which moves styles towards their mean, and 1 moves none.
    """
    temperature: float = 0.0
    """Of generators that write symbol after symbol: below 1 more likely ones, above 1 more varied. 0: 1."""
    begin: str = ""
    """Beginning of every line, which is completed: of generators that write symbol after symbol."""
    raw: bool = False
    """Sample the trained generator instead of its average."""
    best: bool = False
    """Sample the best checkpoint instead of the last."""
    member: int = 0
    """Index of the member of a population, from 0."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns where and how many samples were written. Raises UserError for what cannot be sampled, and
    where `out` exists.
    """
    out = Path(config.out).expanduser()
    if not config.run or not config.out:
        raise UserError("name a run and where its samples go: gan-jax sample RUN --out DIR, or FILE.npz")
    if config.count < 1 or not 0 <= config.seed < 2**32 or config.truncation < 0:
        raise UserError(
            f"--count {config.count} --seed {config.seed} --truncation {config.truncation:g}: at least 1, a seed below 2**32, and no negative truncation"
        )
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"--out {config.out} exists: name a new folder, or a new .npz file")
    if out.suffix.lower() in (".png", ".jpg", ".jpeg", ".gif", ".webp"):
        raise UserError(
            f"--out {config.out}: samples are written to a folder, {out.with_suffix('')}, or to an .npz file"
        )
    sampler = load(config.run, raw=config.raw, member=config.member, best=config.best)
    run = saved_run(config.run)
    sounding, lines_of = sound_of(run), text_of(run)
    if (lines_of is None) == (out.suffix == ".txt"):
        what = "no lines: name a folder, or an .npz" if lines_of is None else f"lines: --out {out.with_suffix('.txt')}"
        raise UserError(f"--out {config.out}: samples of {config.run} are {what}")
    shape = sampler.spec.shape
    if (
        sounding is None
        and out.suffix not in (".npz", ".txt")
        and (len(shape) not in (3, 4) or shape[-1] not in (1, 3))
    ):
        raise UserError(f"samples of shape {list(shape)} are no pictures: name an .npz file, --out {config.out}.npz")
    if needs := sampler.programs.kinds.needs:
        raise UserError(
            f"the generator of {config.run} is given {' and '.join(needs)}, not noise: gan_jax.load(run)(images) in a program"
        )
    labels = labels_of(sampler, config)
    begun = begun_of(sampler, config)
    written = "log_likelihood" in sampler.views
    if config.truncation and written:
        raise UserError(
            f"--truncation {config.truncation:g}: {config.run} writes symbol after symbol: --temperature 0.7 is for that"
        )
    if config.temperature and not (written and config.temperature > 0):
        raise UserError(
            f"--temperature {config.temperature:g}: more than 0, and for generators that write symbol after symbol"
        )
    parts = drawn(sampler, config, labels, sounding, begun)
    if lines_of is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        pictures.save(out, "".join(f"{line}\n" for part in parts for line in lines_of(part)).encode())
    elif out.suffix == ".npz":
        more = {"labels": labels} if labels is not None else {}
        if sounding is not None:
            more["rate"] = np.array(sounding.rate)
        _write_npz(out, parts, "images" if sounding is None else "sounds", more, config.count)
    else:
        _write_files(out, parts, labels, sampler, config, sounding)
    say(
        f"{config.count:,} samples of {config.run} at step {sampler.step:,}, {sampler.how['weights']}, seed {config.seed}: {out}"
    )
    return {"out": str(out), "count": config.count, "step": sampler.step}


def labels_of(sampler: Sampler, config: Config) -> np.ndarray | None:
    """Returns the labels [count], None for a generator without. Raises UserError for an unknown class."""
    if config.label and not sampler.classes:
        raise UserError(f"--label {config.label}: the generator of {config.run} is not conditional: leave it out")
    if not sampler.classes:
        return None
    if config.label and config.label not in sampler.class_names:
        raise UserError(f"--label {config.label}: the classes are {', '.join(sampler.class_names)}")
    if config.label:
        return np.full(config.count, sampler.class_names.index(config.label), np.int32)
    return np.arange(config.count, dtype=np.int32) % sampler.classes


def begun_of(sampler: Sampler, config: Config) -> np.ndarray | None:
    """Returns the symbols that all samples begin with, [count t], -1 where they are free; None for none. Raises UserError for a generator
    that cannot complete, for symbols that it does not know, and for too many.
    """
    if not config.begin:
        return None
    meta = sampler.spec.meta
    if "log_likelihood" not in sampler.views or "alphabet" not in meta:
        raise UserError(
            f"--begin {config.begin}: {config.run} does not write the letters or words of a text one after another"
        )
    known = list(meta["words"] or meta["alphabet"])
    given = config.begin.split() if meta["words"] else [*config.begin]
    if unknown := [one for one in given if one not in known]:
        raise UserError(f"--begin {config.begin}: {config.run} has not learnt {', '.join(map(repr, unknown))}")
    length = sampler.spec.shape[0] - meta["ends"]
    if len(given) > length:
        raise UserError(f"--begin {config.begin}: {len(given)} symbols, and {config.run} writes {length} at most")
    begun = np.full((config.count, *sampler.spec.shape), -1, np.int32)
    begun[:, : len(given)] = [known.index(one) for one in given]
    return begun


def drawn(
    sampler: Sampler,
    config: Config,
    labels: np.ndarray | None,
    sounding: Sounding | None,
    begun: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yields the samples, images as uint8, sounds [n t] as floats, CHUNK at a time."""
    kinds = sampler.programs.kinds
    inputs = [np.asarray(x) for x in sampler.inputs(config.count, config.seed)]
    if kinds.label is not None and labels is not None:
        inputs[kinds.label] = labels
    if begun is not None:
        inputs[-1] = begun
    if config.temperature:
        inputs[1] = np.full(config.count, config.temperature, np.float32)
    if config.truncation:
        if {"map", "mix"} <= set(sampler.views):  # of a game of styles, whose last input is psi
            inputs[-1] = np.full(config.count, config.truncation, np.float32)
        else:
            inputs[0] = truncated(inputs[0], config.truncation)
    size = min(CHUNK, config.count)
    for start in range(0, config.count, size):
        part = [x[start : start + size] for x in inputs]
        rows = len(part[0])
        filled = [np.concatenate([x, np.repeat(x[-1:], size - rows, 0)]) for x in part]  # one program is compiled
        made = np.asarray(sampler(*filled))[:rows]
        if sounding is not None:
            yield np.asarray(sounding.heard(made), np.float32)
        else:
            yield pictures.to_uint8(made) if made.ndim > 3 else made


def _write_files(
    out: Path,
    parts: Iterator[np.ndarray],
    labels: np.ndarray | None,
    sampler: Sampler,
    config: Config,
    sounding: Sounding | None,
) -> None:
    number = 0
    for part in parts:
        for one in part:
            folder = out
            if labels is not None:
                folder = out / re.sub(r"[^\w.-]+", "_", sampler.class_names[labels[number]])
            if sounding is not None:
                suffix, content = "wav", wav(one, sounding.rate)
            elif one.ndim == 4:
                suffix, content = "gif", gif(one)
            else:
                suffix, content = "png", pictures.png(one)
            pictures.save(folder / f"{config.seed}_{number:06d}.{suffix}", content)
            number += 1


def _write_npz(out: Path, parts: Iterator[np.ndarray], name: str, more: Mapping[str, np.ndarray], count: int) -> None:
    """Writes the parts one after another, so that they are never all in memory."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            for i, part in enumerate(parts):
                if i == 0:
                    shape = (count, *part.shape[1:])
                    npy.write_array_header_1_0(file, {**npy.header_data_from_array_1_0(part), "shape": shape})
                file.write(np.ascontiguousarray(part).tobytes())
        for key, array in more.items():
            with archive.open(f"{key}.npy", "w") as file:
                npy.write_array(file, array)
    unfinished.replace(out)
