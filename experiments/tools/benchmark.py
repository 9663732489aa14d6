"""Measures the speed of the games' rounds on this machine, beside its peak rates and beside other programs.

Each game is timed as in a run, on random images of the shape of its data: the compiled rounds, with their checks and
their data, and, in turn with them, the whole loop (log, TensorBoard, progress) between two rows of its log. Operations
are those of matrix products and convolutions; their rate is compared with that of a large matrix product in the same
precision. Then it measures how the cost grows with batch, resolution, discriminator steps, members and devices, and how
long a first start and a second take to their first round. With --peer other programs are run in turn with ours, game by
game:

    python -m experiments.tools.benchmark --games mlp dcgan --peer "python torch_step.py {game} --batch-size {batch} --width {width} --steps {steps}"
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jax
import numpy as np

from experiments import (
    biggan_cifar10,
    dcgan_digits,
    dcgan_mnist,
    gan_mnist,
    gan_ring,
    sngan_cifar10,
    stylegan2_fashion,
    wgan_gp_cifar10,
    wgan_gp_mnist,
)
from experiments.tools import measure
from gan_jax import data, game, training
from gan_jax.config import Run
from gan_jax.data.validate import image_set
from gan_jax.system import mesh
from gan_jax.training import cli
from gan_jax.training.program import Program
from gan_jax.types import Source, UserError
from gan_jax.workdir import provenance
from gan_jax.workdir.log import read_rows

GAMES: dict[str, tuple[ModuleType, tuple[int, ...], dict[str, Any]]] = {
    "ring": (gan_ring, (), {}),
    "ring_16": (gan_ring, (), {"seeds": 16}),
    "mlp": (gan_mnist, (28, 28, 1), {"dropout": 0.0}),
    "dcgan": (dcgan_mnist, (32, 32, 1), {"width": 64}),
    "wgan_gp": (wgan_gp_cifar10, (32, 32, 3), {"n_disc": 1}),
    "sngan": (sngan_cifar10, (32, 32, 3), {"n_disc": 1}),
    "biggan": (biggan_cifar10, (32, 32, 3), {"flip": False}),
    "stylegan2": (stylegan2_fashion, (32, 32, 3), {}),
    "dcgan_digits": (dcgan_digits, (8, 8, 1), {}),
    "dcgan_mnist": (dcgan_mnist, (28, 28, 1), {}),
    "wgan_gp_mnist": (wgan_gp_mnist, (28, 28, 1), {}),
}
RESNETS = ("wgan_gp", "sngan")
CLASSES = {biggan_cifar10: 10}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    games: tuple[str, ...] = tuple(GAMES)
    """Games to time: ring ring_16 mlp dcgan wgan_gp sngan biggan stylegan2 dcgan_digits dcgan_mnist wgan_gp_mnist. ring_16 is
    16 seeds at once; its numbers are per seed.
    """
    batch_size: int = 0
    """Real images of one discriminator step; 0: the default of the experiment, and on a CPU 16 for the ResNets."""
    width: int = 128
    """Channels of the ResNets' discriminator."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the networks' computations."""
    matmul_precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Lowest precision of float32 matrix products and convolutions on GPU and TPU."""
    steps: int = 20
    """Rounds in one timing."""
    repeats: int = 5
    """Number of timings of each; the median is reported."""
    peer: tuple[str, ...] = ()
    """Commands of other programs, run in turn with ours; their last line is JSON with "ms", per round. "mlp,dcgan: COMMAND" is for these games only."""
    growth: bool = True
    """Also measure how the cost grows, populations, and the time that a start takes."""
    json: str = ""
    """Also write the numbers to this file."""


def configure(name: str, settings: Config, **change: Any) -> tuple[ModuleType, Run, tuple[int, ...]]:
    module, shape, fields = GAMES[name]
    fields = fields | {key: getattr(settings, key) for key in ("precision", "matmul_precision")}
    if settings.batch_size:
        fields["batch_size"] = settings.batch_size
    elif name in RESNETS and jax.default_backend() == "cpu":
        fields["batch_size"] = 16
    if name in RESNETS:
        fields["width"] = settings.width
    shape = change.pop("shape", shape)
    return module, module.Config(**{**fields, **change}), shape


def random_source(config: Run, shape: tuple[int, ...], classes: int = 0) -> Source:
    rows = config.batch_size * getattr(config, "n_disc", 1)
    if not shape:
        return data.ring(rows, config.seed)
    images = np.random.default_rng(0).integers(0, 256, (max(2_048, rows), *shape), np.uint8)
    labels = np.arange(len(images), dtype=np.int32) % classes if classes else None
    return data.source(image_set(images, labels, "random images", classes or None), rows, config.seed)


def split(config: Run) -> int:
    """Returns the number of devices of a game: one, and for a population as many as split its members evenly."""
    return math.gcd(len(jax.devices()), len(config.members()))


def played(module: ModuleType, config: Run, source: Source, steps: int, devices: int = 0) -> Iterator[float]:
    """Yields milliseconds per round, for a population per member, measured anew at each request; `devices` = 0 is
    `split`.
    """
    grid = mesh.make(devices or split(config), config.batch_size, len(config.members()))
    precision = jax.default_matmul_precision(config.matmul_precision)
    with jax.set_mesh(grid), precision:
        rounds = Program(config, module.build, source, grid)
        state, watch, count = rounds.fresh(), rounds.no_fault(), rounds.rounds_a_call
        calls, step = -(-steps // count), 0
    while True:
        with jax.set_mesh(grid), precision:
            state, watch, _, _ = jax.block_until_ready(rounds.play(state, watch, step, count))
            begin = time.perf_counter()
            for _ in range(calls):
                step += count
                state, watch, _, _ = rounds.play(state, watch, step, count)
            jax.block_until_ready(state)
            each = (time.perf_counter() - begin) / calls / count / len(config.members())
        yield each * 1e3


def looped(module: ModuleType, config: Run, source: Source, steps: int) -> Iterator[float]:
    """Yields milliseconds per round of the whole loop, between two rows of the log, which excludes compilation and the
    end.
    """
    while True:
        with (
            tempfile.TemporaryDirectory() as workdir,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            overrides: dict[str, Any] = {
                "workdir": workdir,
                "steps": 2 * steps,
                "log_every": steps,
                "sample_every": 0,
                "devices": split(config),
            }
            config = dataclasses.replace(config, checkpoint_every=0, **overrides)
            training.run(config, module.build, training.Setup(source, shown=1))
            seconds = {row["step"]: row["seconds"] for row in read_rows(Path(workdir) / "metrics.jsonl")}
        yield (seconds[2 * steps] - seconds[steps]) / steps / len(config.members()) * 1e3


def peers_of(name: str, settings: Config) -> list[str]:
    """Returns the commands for this game: those that name it, and those that name no game."""
    commands = []
    for text in settings.peer:
        names, separator, command = text.partition(": ")
        named = set(names.split(",")) if separator and set(names.split(",")) <= set(GAMES) else None
        if named is None or name in named:
            commands.append(text if named is None else command)
    return commands


def timed(name: str, settings: Config, rate: float) -> dict[str, Any]:
    """Measures one game: its rounds, the whole loop and the peers, in turn."""
    module, config, shape = configure(name, settings)
    source = random_source(config, shape, CLASSES.get(module, 0))
    recipe = module.build(config, source.spec)
    update = game.make_update(
        recipe.game, recipe.gen_tx, recipe.disc_tx, n_disc=recipe.n_disc, ema_decay=recipe.ema_decay
    )
    batch = source.spec.blank(source.rows)
    state = jax.eval_shape(lambda: game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, jax.random.key(0), batch))
    gflop = measure.flop(update, state, batch, jax.random.key(0)) / 1e9
    values = {"game": name, "batch": config.batch_size, "width": settings.width, "steps": settings.steps}
    ours, loop = (way(module, config, source, settings.steps) for way in (played, looped))
    commands = peers_of(name, settings)
    peers = [measure.peer(command, **values) for command in commands]
    turns = [tuple(next(way) for way in (ours, loop, *peers)) for _ in range(settings.repeats)]
    round_times, loop_times, *others = ([turn[i] for turn in turns] for i in range(2 + len(peers)))
    ms = statistics.median(round_times)
    result: dict[str, Any] = {
        "batch_size": config.batch_size,
        "rows": source.rows,
        **measure.spread(round_times),
        "images_per_second": round(source.rows / ms * 1e3, 1),
        "gflop_per_round": round(gflop, 3),
        "gflop_per_second": round(gflop / ms * 1e3, 1),
        "share_of_matrix_rate": round(gflop / ms * 1e3 / rate, 3),
        "loop_overhead": round(statistics.median(b / a for a, b in zip(round_times, loop_times, strict=True)) - 1, 4),
        **measure.memory(recipe, update, state, batch),
    }
    if commands:
        result["peers"] = [
            {
                "command": command.format(**values),
                **measure.spread(peer_times),
                "ratio": round(statistics.median(peer_times) / ms, 3),
            }
            for command, peer_times in zip(commands, others, strict=True)
        ]
    return result


# What grows: in which game, and by which changes.
GROWTH: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "batch": ("dcgan_mnist", [{"batch_size": n} for n in (16, 32, 64, 128, 256)]),
    "resolution": ("dcgan_mnist", [{"shape": (n, n, 1), "width": 16} for n in (16, 32, 64)]),
    "discriminator steps": ("wgan_gp_mnist", [{"n_disc": n} for n in (1, 2, 5)]),
    "members": ("ring", [{"seeds": n} for n in (1, 4, 16)]),
    "members of a network of convolutions": ("dcgan_digits", [{"seeds": n} for n in (1, 4)]),
}  # fmt: skip


def growth(settings: Config) -> dict[str, list[dict[str, Any]]]:
    """Measures milliseconds per round, with all sizes of a row in turn; for members, per member."""
    tables = {}
    for what, (name, changes) in GROWTH.items():
        ways = []
        for change in changes:
            module, config, shape = configure(name, dataclasses.replace(settings, batch_size=0), **change)
            ways.append(played(module, config, random_source(config, shape), settings.steps))
        turns = [[next(way) for way in ways] for _ in range(settings.repeats)]
        tables[what] = [
            {"game": name, **change, **measure.spread(list(times))}
            for change, times in zip(changes, zip(*turns, strict=True), strict=True)
        ]
    tables["devices"] = [{"game": "dcgan_mnist", "devices": n, **on_devices(n, settings)} for n in device_counts()]
    return tables


def device_counts() -> list[int]:
    """Returns the numbers of devices to measure; on a CPU they are virtual and share its cores."""
    return [1, 2, 4] if jax.default_backend() == "cpu" else [n for n in (1, 2, 4, 8) if n <= len(jax.devices())]


def on_devices(count: int, settings: Config) -> dict[str, float]:
    """Measures in a new process, because the number of a CPU's virtual devices is fixed when it starts."""
    program = f"""
import itertools, json
from experiments.tools import benchmark, measure
from gan_jax.system import malloc
malloc.keep()
settings = benchmark.Config(precision={settings.precision!r}, matmul_precision={settings.matmul_precision!r})
module, config, shape = benchmark.configure("dcgan_mnist", settings)
way = benchmark.played(module, config, benchmark.random_source(config, shape), {settings.steps}, {count})
print(json.dumps(measure.spread(list(itertools.islice(way, {settings.repeats})))))
"""
    return json.loads(child(program, JAX_NUM_CPU_DEVICES=str(count)).splitlines()[-1])


def starts() -> dict[str, float]:
    """Returns the seconds from the start of the process to the end of dcgan_mnist's first round, without and with the
    compiled programs of an earlier start; on random images, so without reading files.
    """
    program = """
import time
begin = time.perf_counter()
import jax
from experiments.tools import benchmark
from gan_jax.system import compile_cache, malloc
malloc.keep()
compile_cache.keep()
module, config, shape = benchmark.configure("dcgan_mnist", benchmark.Config())
next(benchmark.played(module, config, benchmark.random_source(config, shape), 1))
print(time.perf_counter() - begin)
"""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (float(child(program, XDG_CACHE_HOME=cache, JAX_COMPILATION_CACHE_DIR="")) for _ in range(2))
    return {"cold_seconds": round(cold, 2), "warm_seconds": round(warm, 2)}


def child(program: str, **environment: str) -> str:
    variables = {key: value for key, value in (os.environ | environment).items() if value}
    process = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise UserError(
            f"a process of the benchmark ended with {process.returncode}: {process.stderr.strip().splitlines()[-1]}"
        )
    return process.stdout


COLUMNS = {  # heading: width and how a game's record fills it
    "game": (13, lambda one: one["name"]),
    "batch": (6, lambda one: f"{one['batch_size']}"),
    "ms": (9, lambda one: f"{one['ms']:.2f}"),
    "from": (9, lambda one: f"{one['ms_min']:.2f}"),
    "to": (9, lambda one: f"{one['ms_max']:.2f}"),
    "images/s": (10, lambda one: f"{one['images_per_second']:,.0f}"),
    "GFLOP/s": (9, lambda one: f"{one['gflop_per_second']:,.0f}"),
    "of matrix": (10, lambda one: f"{one['share_of_matrix_rate']:.0%}"),
    "loop adds": (10, lambda one: f"{one['loop_overhead']:.1%}"),
    "peak MB": (9, lambda one: f"{one['peak_mb']:,.0f}"),
    "/needed": (8, lambda one: f"{one['peak_mb'] / one['needed_mb']:.2f}"),
    "over peers": (18, lambda one: " ".join(f"{peer['ratio']:.2f}" for peer in one.get("peers", ()))),
}


def table_line(game: dict[str, Any] | None = None) -> str:
    """Returns one line of the table; without a game its heading."""
    return "".join(f" {fill(game) if game else heading:>{width - 1}}" for heading, (width, fill) in COLUMNS.items())


def main(settings: Config) -> dict[str, Any]:
    if unknown := set(settings.games) - set(GAMES):
        raise UserError(f"--games {' '.join(sorted(unknown))}: there are {' '.join(GAMES)}")
    for command in {command for name in settings.games for command in peers_of(name, settings)}:
        if not shutil.which(shlex.split(command)[0]):  # before minutes are spent
            raise UserError(f"--peer {command}: there is no program {shlex.split(command)[0]}")
    rate, width = measure.matrix_rate(settings.precision, settings.matmul_precision), measure.bandwidth()
    saved = provenance.environment()
    print(
        f"{saved['hardware']}: a large {settings.precision} matrix product runs at {rate:,.0f} GFLOP/s, memory at {width:,.0f} GB/s",
        flush=True,
    )
    print(table_line())
    games = {}
    for name in settings.games:
        games[name] = timed(name, settings, rate)
        print(table_line({"name": name, **games[name]}), flush=True)
    result = {
        "name": "benchmark",
        "command": provenance.command(settings, ("json",)),
        **saved,
        "settings": dataclasses.asdict(dataclasses.replace(settings, json="")),
        "matrix_gflop_per_second": round(rate, 1),
        "memory_gigabyte_per_second": round(width, 1),
        "games": games,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
    }
    if settings.growth:
        result |= {"starts": starts(), "growth": growth(settings)}
        print(
            f"first round of dcgan_mnist after {result['starts']['cold_seconds']} s, of a second start after {result['starts']['warm_seconds']} s"
        )
        for what, rows in result["growth"].items():
            for row in rows:
                size = ", ".join(f"{key} {value}" for key, value in row.items() if not key.startswith("ms"))
                print(f"{what:<40}{size:<48}{row['ms']:>9.2f} ms")
    if settings.json:
        Path(settings.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    mesh.core_each(GAMES["ring_16"][2]["seeds"])  # as a run does
    cli.run(main, Config)
