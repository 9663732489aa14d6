"""How fast the rounds of the experiments are on this machine, and what the training loop adds to them.

Each game is timed on random images of its data's shape, held on the device as the real ones are: the bare compiled
update, and the whole loop (data, checks, log, TensorBoard, progress) between two rows of its log, in turn. FLOPs are
XLA's count of the compiled update; they are set beside the rate of a large float32 matrix product on the same device.
Then populations: the rounds of all members, for each member, beside those of a single run, in turn.

    python -m experiments.benchmark
"""

import contextlib
import dataclasses
import io
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from experiments import dcgan_digits, dcgan_mnist, gan_mnist, gan_ring, wgan_gp_mnist
from gan_jax import cli, data, game, loop, mesh, record
from gan_jax.log import read_rows
from gan_jax.rounds import Rounds
from gan_jax.types import Source
from gan_jax.validate import image_set


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    steps: int = 50
    """Rounds in one timing."""
    repeats: int = 5
    """Timings of each, of which the median is reported."""
    json: str = ""
    """Also write the numbers to this file."""


def matrix_rate(size: int = 2048, repeats: int = 5) -> float:
    """GFLOP/s of a float32 product of two size x size matrices, the best of `repeats`."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / min(times) / 1e9


def bare(recipe: loop.Recipe, source: Source, steps: int, repeats: int) -> Any:
    """Yields first the update's GFLOP, then milliseconds a round, measured anew each time it is asked."""
    key, batch = jax.random.key(0), source[0]
    state = jax.jit(lambda: game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, key, batch))()
    update = game.make_update(
        recipe.game, recipe.gen_tx, recipe.disc_tx, n_disc=recipe.n_disc, ema_decay=recipe.ema_decay
    )
    yield jax.jit(update).lower(state, batch, key).compile().cost_analysis()["flops"] / 1e9  # type: ignore[index]
    state, _ = update(state, batch, key)
    for _ in range(repeats):
        jax.block_until_ready(state)
        begin = time.perf_counter()
        for _ in range(steps):
            state, _ = update(state, batch, key)
        jax.block_until_ready(state)
        yield (time.perf_counter() - begin) / steps * 1e3


def looped(build: loop.Build, config: Any, source: Source, steps: int) -> float:
    """Milliseconds a round of the whole loop, between two rows of the log; compiling and the end's work are outside."""
    with (
        tempfile.TemporaryDirectory() as workdir,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        config = dataclasses.replace(
            config, workdir=workdir, steps=2 * steps, log_every=steps, sample_every=0, checkpoint_every=0
        )
        loop.run(config, build, source, picture=lambda samples: np.zeros((8, 8, 1), np.uint8))
        seconds = {row["step"]: row["seconds"] for row in read_rows(Path(workdir) / "metrics.jsonl")}
    return (seconds[2 * steps] - seconds[steps]) / steps * 1e3


def measure(module: ModuleType, source: Source, config: Any, settings: Config, rate: float) -> dict[str, Any]:
    recipe = module.build(config, source.spec)
    timings = bare(recipe, source, settings.steps, settings.repeats)
    gflop = next(timings)
    pairs = [(ms, looped(module.build, config, source, settings.steps)) for ms in timings]
    plain = statistics.median(ms for ms, _ in pairs)
    return {
        "update_ms": round(plain, 3),
        "update_ms_range": [round(min(ms for ms, _ in pairs), 3), round(max(ms for ms, _ in pairs), 3)],
        "images_per_second": round(source.rows / plain * 1e3, 1),
        "gflop_per_round": round(gflop, 3),
        "gflop_per_second": round(gflop / plain * 1e3, 1),
        "share_of_matrix_rate": round(gflop / plain * 1e3 / rate, 3),
        "loop_ms": round(statistics.median(ms for _, ms in pairs), 3),
        "loop_overhead": round(statistics.median(whole / ms for ms, whole in pairs) - 1, 4),
    }


def rounds_of(module: ModuleType, source: Source, settings: Config, seeds: int) -> Any:
    """Yields milliseconds a round and member, measured anew each time it is asked."""
    config = module.Config(seeds=seeds)
    grid = mesh.make(config.devices, config.batch_size, seeds)
    with jax.set_mesh(grid):
        rounds = Rounds(config, module.build, source, grid)
        state, watch, calls = rounds.fresh(), rounds.watch(), -(-settings.steps // rounds.rounds_a_call)
    while True:
        with jax.set_mesh(grid):
            state, watch, _, _ = jax.block_until_ready(rounds.play(state, watch, 0, rounds.rounds_a_call))
            begin = time.perf_counter()
            for _ in range(calls):
                state, watch, _, _ = rounds.play(state, watch, 0, rounds.rounds_a_call)
            jax.block_until_ready(state)
            seconds = time.perf_counter() - begin
        yield seconds / calls / rounds.rounds_a_call / seeds * 1e3


def population(module: ModuleType, source: Source, settings: Config, seeds: int) -> dict[str, Any]:
    alone, together = (rounds_of(module, source, settings, count) for count in (1, seeds))
    pairs = [(next(alone), next(together)) for _ in range(settings.repeats)]
    return {
        "members": seeds,
        "single_ms": round(statistics.median(ms for ms, _ in pairs), 3),
        "member_ms": round(statistics.median(ms for _, ms in pairs), 3),
        "member_over_single": round(statistics.median(many / one for one, many in pairs), 3),
    }


def peak_memory_mb() -> float:
    """Of the device where it says, else of the process, so far."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) / 2**20


def main(settings: Config) -> dict[str, Any]:
    rate = matrix_rate()
    saved = record.environment()
    print(f"{saved['hardware']}: a 2048 x 2048 float32 matrix product runs at {rate:,.0f} GFLOP/s")
    rng = np.random.default_rng(0)
    digits = image_set(
        rng.integers(0, 256, (60_000, 28, 28, 1), np.uint8), rng.integers(0, 10, 60_000), "random images", classes=10
    )
    small = image_set(rng.integers(0, 256, (1_797, 8, 8, 1), np.uint8), None, "random small images")
    print(
        f"{'game':<14}{'batch':>6}{'update ms':>11}{'(range)':>18}{'images/s':>11}{'GFLOP/s':>9}{'of matrix':>10}{'loop ms':>9}{'overhead':>10}{'peak MB':>9}"
    )
    games = {}
    for module in (gan_ring, gan_mnist, dcgan_mnist, wgan_gp_mnist):
        config = module.Config()
        rows = config.batch_size * getattr(config, "n_disc", 1)
        source = data.ring(rows, 0) if module is gan_ring else data.source(digits, rows, 0)
        name = module.__name__.rsplit(".", 1)[-1]
        one = games[name] = {
            "rows": rows,
            **measure(module, source, config, settings, rate),
            "peak_memory_mb": round(peak_memory_mb()),
        }
        low, high = one["update_ms_range"]
        print(
            f"{name:<14}{rows:>6}{one['update_ms']:>11.2f}{f'{low:.2f} - {high:.2f}':>18}{one['images_per_second']:>11,.0f}{one['gflop_per_second']:>9.1f}"
            f"{one['share_of_matrix_rate']:>10.0%}{one['loop_ms']:>9.2f}{one['loop_overhead']:>10.1%}{one['peak_memory_mb']:>9,}",
            flush=True,
        )
    print(f"\n{'population':<14}{'members':>8}{'ms a member':>13}{'ms alone':>10}{'ratio':>7}")
    populations = {}
    for module, seeds in ((gan_ring, 16), (dcgan_digits, 4)):
        config = module.Config()
        source = data.ring(config.batch_size, 0) if module is gan_ring else data.source(small, config.batch_size, 0)
        name = module.__name__.rsplit(".", 1)[-1]
        many = populations[name] = population(module, source, settings, seeds)
        print(
            f"{name:<14}{seeds:>8}{many['member_ms']:>13.2f}{many['single_ms']:>10.2f}{many['member_over_single']:>7.2f}",
            flush=True,
        )
    result = {
        "name": "benchmark",
        "command": "python -m experiments.benchmark",
        **saved,
        "matrix_gflop_per_second": round(rate, 1),
        "games": games,
        "populations": populations,
    }
    if settings.json:
        Path(settings.json).write_text(json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    cli.run(main, Config)
