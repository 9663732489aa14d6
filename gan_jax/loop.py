"""The training loop: plays the rounds, writes the log, pictures and checkpoints, goes on where a run stopped, and stops
when asked.
"""

import collections
import functools
import json
import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import game, images, mesh, record, report
from gan_jax.checkpoint import Checkpoints, template
from gan_jax.config import MAY_DIFFER, Run
from gan_jax.log import Log, read_rows
from gan_jax.stop import Stop
from gan_jax.types import Evaluate, PyTree, Record, Source, UserError, WriteError

INFLIGHT = 8  # steps that may be queued on the device: enough to keep it busy, few enough that a stop is prompt
CHUNK = 500  # samples drawn at a time


class Recipe(NamedTuple):
    """What an experiment builds: the game, its two optimisers, and how they are played."""

    game: game.Game
    gen_tx: optax.GradientTransformation
    disc_tx: optax.GradientTransformation
    z_dim: int
    n_disc: int = 1
    ema_decay: float | Callable[[jax.Array], jax.Array] = 0.0
    classes: int = 0


def run(
    config: Run,
    recipe: Recipe,
    source: Source,
    evaluate: Evaluate | None = None,
    picture: Callable[[np.ndarray], np.ndarray] = images.grid,
    pictured: int = 64,
) -> game.State:
    """Trains `recipe` on `source` as `config` says and returns the state; what it leaves in the work directory stands
    in the README.

    Starting again with the same work directory goes on after its last checkpoint; a finished run is left as it is.
    Ctrl-C and SIGTERM save first, then raise KeyboardInterrupt and SystemExit(143). UserError for a work directory of
    another run, a batch that devices cannot share, a save that fails, values that are not finite.
    """
    if source.rows != config.batch_size * recipe.n_disc:
        raise ValueError(
            f"the source gives {source.rows} rows a step; batch_size x n_disc = {config.batch_size} x {recipe.n_disc} are needed"
        )
    name = record.module_name(type(config)).rsplit(".", 1)[-1]
    workdir = Path(config.workdir or f"runs/{name}").absolute()
    devices = mesh.make(config.devices, config.batch_size)
    whole = mesh.whole(devices)
    run_key = jax.random.key(config.seed)
    init_key, update_key, sample_key = (jax.random.fold_in(run_key, i) for i in range(3))
    # Signals are noted from here on: an exception out of a compilation would end the process without a word.
    with Stop() as stop, jax.set_mesh(devices):
        fresh = jax.jit(
            lambda key: game.init(
                recipe.game, recipe.gen_tx, recipe.disc_tx, key, source.spec.blank(config.batch_size)
            ),
            out_shardings=whole,
        )
        like = template(jax.eval_shape(fresh, init_key), whole)
        sizes = {
            side: sum(math.prod(x.shape) for x in jax.tree.leaves(getattr(like, side).params))
            for side in ("gen", "disc")
        }
        identity = {
            "data": source.name,
            "data_digest": source.digest,
            "shape": source.spec.shape,
            "classes": source.spec.classes,
            "parameters": sizes,
        }
        record.open_workdir(workdir, config, identity, MAY_DIFFER)
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            start = checkpoints.latest or 0
            finished = start >= config.steps and (workdir / "result.json").exists()
            state = checkpoints.restore(start, like) if start else fresh(init_key)
            if finished or start > config.steps:
                print(
                    f"{workdir} has played its {start:,} steps: nothing to do; see {workdir}/report.html. "
                    f"Give --steps above {start} for more, or another --workdir for another run",
                    flush=True,
                )
                return state
            record.begin(workdir, config, start)
            update = game.make_update(
                recipe.game, recipe.gen_tx, recipe.disc_tx, n_disc=recipe.n_disc, ema_decay=recipe.ema_decay
            )
            begin = f"going on at step {start:,} of {config.steps:,}" if start else f"{config.steps:,} steps"
            where = f"{devices.size} x {devices.devices.flat[0].device_kind}"
            networks = f"generator {sizes['gen']:,} parameters, discriminator {sizes['disc']:,}"
            examples = f"{source.size or 'endless'} examples of {source.spec.shape}"
            print(f"{name} on {where}: {networks}; data {source.name}, {examples}")
            print(f"{begin}, in {workdir}; the first step compiles for some seconds", flush=True)
            with _log(workdir, start, config.steps, source.rows) as log:
                player = _Player(
                    config=config,
                    source=source,
                    update=update,
                    key=update_key,
                    whole=whole,
                    sampler=_sampler(recipe, sample_key, pictured),
                    evaluate=evaluate,
                    picture=picture,
                    workdir=workdir,
                    log=log,
                    checkpoints=checkpoints,
                )
                state = player.play(state, start, stop)
    return state


class _Player(NamedTuple):
    """One start of one run: everything that stays the same while the steps go by."""

    config: Run
    source: Source
    update: Callable
    key: jax.Array
    whole: jax.sharding.NamedSharding
    sampler: Callable[[game.State, int | None], np.ndarray]
    evaluate: Evaluate | None
    picture: Callable[[np.ndarray], np.ndarray]
    workdir: Path
    log: Log
    checkpoints: Checkpoints

    def play(self, state: game.State, start: int, stop: Stop) -> game.State:
        config, log = self.config, self.log

        def round_of(
            state: game.State, fetched: PyTree, data_key: jax.Array, key: jax.Array
        ) -> tuple[game.State, Mapping[str, jax.Array]]:
            batch = mesh.split_rows(self.source.batch(fetched, data_key, state.step))
            return self.update(state, batch, key)

        compiled = jax.jit(round_of, donate_argnums=0, out_shardings=self.whole)
        queue: collections.deque = collections.deque()
        fetched = placed = None
        records: dict[str, Record] = {}
        if start == 0:
            self.draw_picture(state, 0)
        for step in range(start + 1, config.steps + 1):
            rows = self.source.fetch(self.source.key, step - 1)
            if placed is None or rows is not fetched:  # a resident set is placed once
                fetched, placed = rows, jax.device_put(rows, self.whole)
            state, metrics = compiled(state, placed, self.source.key, self.key)
            queue.append(metrics)
            if len(queue) > INFLIGHT:
                jax.block_until_ready(queue.popleft())  # waits for an old step, never for the one just queued
            log.tick(step)
            last = step == config.steps
            logging, measuring = (last or _due(step, every) for every in (config.log_every, config.evaluate_every))
            row: dict[str, float] = {}
            if logging or measuring:
                values = self.fetch(step, metrics)
                if logging:
                    log.progress(step, values)
                    row |= values
            if measuring:
                records = self.measure(step, state, row)
            if row:
                self.guarded(functools.partial(log.row, step, row))
            if last or _due(step, config.sample_every):
                self.draw_picture(state, step)
            stopping = stop.asked and not last  # once: the signal may come at any time
            if last or stopping or _due(step, config.checkpoint_every):
                self.fetch(step, metrics)  # what is not finite is not saved
                self.checkpoints.save(step, state)
                self.guarded(self.write_report)
            if stopping:
                self.checkpoints.wait()
                log.say(f"stopped at step {step:,} of {config.steps:,}, saved. To go on: {record.command(config)}")
                stop.leave()
        self.checkpoints.wait()
        if start == config.steps:  # all was played, but the run ended before its result was written
            measured: dict[str, float] = {}
            records = self.measure(start, state, measured)
            if measured and not any(row["step"] == start and measured.keys() <= row.keys() for row in self.rows()):
                self.guarded(functools.partial(log.row, start, measured))
            self.draw_picture(state, start)
        self.finish(records)
        return state

    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.workdir / "metrics.jsonl")

    def measure(self, step: int, state: game.State, row: dict[str, float]) -> dict[str, Record]:
        """Evaluates, and adds the values to `row`. Should that fail, what was trained is saved first."""
        if self.evaluate is None:
            return {}
        try:
            records = self.evaluate(functools.partial(self.sampler, state))
        except Exception as error:
            if row:
                self.guarded(functools.partial(self.log.row, step, row))
            self.checkpoints.save(step, state)
            self.checkpoints.wait()
            raise UserError(
                f"the evaluation at step {step} failed: {error!r}; the run is saved at that step"
            ) from error
        row |= {f"eval/{name}": one.value for name, one in records.items()}
        self.log.say(f"step {step:,}: " + ", ".join(f"{name} {one.value:.4g}" for name, one in records.items()))
        return records

    def fetch(self, step: int, metrics: Mapping[str, jax.Array]) -> dict[str, float]:
        """The metrics as numbers; UserError unless all are finite."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise UserError(
                f"{', '.join(bad)} not finite at step {step}; the last checkpoint, of step {self.checkpoints.latest}, is from before. "
                "A smaller learning rate or another --seed may help"
            )
        return values

    def guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise WriteError(
                f"cannot write to {self.workdir}: {error.strerror}. Mend that and give the same command again to go on after the last checkpoint"
            ) from error

    def draw_picture(self, state: game.State, step: int) -> None:
        pixels = self.picture(self.sampler(state, None))
        self.guarded(lambda: images.save_png(self.workdir / "samples" / f"{step:08d}.png", pixels))

    def write_report(self, metrics: Mapping[str, Any] = types.MappingProxyType({})) -> None:
        saved = json.loads((self.workdir / "config.json").read_text())
        pictures = sorted((self.workdir / "samples").glob("*.png"))
        text = report.page(saved["experiment"].rsplit(".", 1)[-1], saved, self.rows(), pictures, metrics)
        (self.workdir / "report.html").write_text(text)

    def finish(self, records: dict[str, Record]) -> None:
        config, source = self.config, self.source
        # As noted at each start: the checkout may have moved on since.
        starts = json.loads((self.workdir / "config.json").read_text())["starts"]
        result = {
            "name": record.module_name(type(config)).rsplit(".", 1)[-1],
            "command": record.command(config, {"workdir", "devices"}),
            **{key: starts[-1][key] for key in ("commit", "versions", "hardware")},
            **({"starts": starts} if len(starts) > 1 else {}),
            "seconds": round(self.log.seconds, 1),
            "steps": config.steps,
            "images": config.steps * source.rows,
            "seeds": [config.seed],
            "data": {"name": source.name, "digest": source.digest, "examples": source.size, "shape": source.spec.shape},
            "metrics": record.summary(self.rows(), records),
        }
        self.guarded(lambda: record.write_json(self.workdir / "result.json", result))
        self.guarded(lambda: self.write_report(result["metrics"]))
        picture = f"{self.workdir}/samples/{config.steps:08d}.png"
        self.log.say(
            f"done: {config.steps:,} steps in {self.log.seconds:.0f} s. Look at {picture}; all of it on one page: {self.workdir}/report.html"
        )


def _log(workdir: Path, start: int, steps: int, images_per_step: int) -> Log:
    try:
        return Log(workdir, start, steps, images_per_step)
    except OSError as error:
        raise UserError(f"cannot write to --workdir {workdir}: {error.strerror}") from error


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _sampler(recipe: Recipe, key: jax.Array, pictured: int) -> Callable[[game.State, int | None], np.ndarray]:
    """(state, count) -> that many samples of the averaged generator from latents that are always the same; None: those
    of the picture, from the run's own key.
    """

    @jax.jit
    def draw(state: game.State, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return recipe.game.sample(state.ema.params, state.ema.stats, z, label)

    def sample(state: game.State, count: int | None) -> np.ndarray:
        rows = pictured if count is None else count
        chunk = min(rows, CHUNK)
        whole = -(-rows // chunk) * chunk  # one compiled size
        z = jax.random.normal(key if count is None else jax.random.key(0), (whole, recipe.z_dim))
        label = jnp.arange(whole) % recipe.classes if recipe.classes else None
        parts = [
            draw(state, z[i : i + chunk], None if label is None else label[i : i + chunk])
            for i in range(0, whole, chunk)
        ]
        return np.concatenate([np.asarray(part) for part in parts])[:rows]

    return sample
