"""Measures what R1 and R2 cost, exactly and in cheaper ways: milliseconds and memory of a round of the networks that
cheap_penalties_stacked plays, the ways in turn in one process.

python -m experiments.tools.benchmark_penalties --json experiments/results/benchmark_penalties.json
"""

import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax

from experiments import cheap_penalties_stacked as stacked
from experiments.tools.arms import PENALTIES
from gan_jax import game
from gan_jax.training import cli
from gan_jax.types import UserError, spec_of
from gan_jax.workdir import provenance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    rounds: int = 60
    """Rounds of each way; the ways take turns, and the first eight rounds are not counted."""
    json: str = ""
    """Also write the measurements to this file."""


def main(config: Config) -> dict[str, Any]:
    if config.rounds < 16:
        raise UserError(f"--rounds {config.rounds}: at least 16, of which 8 are not counted")
    spec, key = spec_of((28, 28, 3), 1_000), jax.random.key(0)
    batch = {"image": jax.random.uniform(key, (stacked.Config().batch_size, *spec.shape), minval=-1)}
    played: dict[str, Any] = {}
    for name in PENALTIES:
        recipe = stacked.build(stacked.Config(penalty=name), spec)  # type: ignore[arg-type]
        state = game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, key, batch)
        update = game.make_update(recipe.game, recipe.gen_tx, recipe.disc_tx, ema_decay=recipe.ema_decay)
        program = update.lower(state, batch, key).compile()  # type: ignore[attr-defined]
        memory = program.memory_analysis().temp_size_in_bytes
        played[name] = {"program": program, "state": state, "mb": memory / 1e6, "times": []}
    for _ in range(config.rounds):
        for one in played.values():
            begin = time.perf_counter()
            one["state"], _ = jax.block_until_ready(one["program"](one["state"], batch, key))
            one["times"].append(time.perf_counter() - begin)
    ways = {}
    for name, one in played.items():
        times = one["times"][8:]
        times = times[: len(times) // 8 * 8]  # whole turns of the lazy one
        ways[name] = {"ms": 1e3 * statistics.mean(times), "temporary_mb": one["mb"]}
        print(f"{PENALTIES[name]:<50} {ways[name]['ms']:7.1f} ms {one['mb']:7.1f} MB", flush=True)
    result = {
        **{"name": "benchmark_penalties", "command": provenance.command(config, ("json",))},
        **provenance.environment(),
        **{"batch_size": stacked.Config().batch_size, "shape": list(spec.shape), "ways": ways},
    }
    if config.json:
        Path(config.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    cli.run(main, Config)
