"""The compiled program of a run: the first state, and the rounds of the game, of one member or of a whole population."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gan_jax import game
from gan_jax.config import Run
from gan_jax.system import mesh
from gan_jax.training.recipe import Build, Recipe
from gan_jax.types import Batch, Key, PyTree, Source, UserError
from gan_jax.workdir.checkpoint import name_of, template, tensors

# Folded into a member's key. Steps are folded into what comes of it, and never come this far; `data` takes the three above.
ATTEMPT = 2**32 - 4
# Program in one call, of a population, whose members' states then stay in the processor's cache for so long, and of a small
# game or on an accelerator, where a call costs as much as many a round. Else one: a stop is stop_anywhere sooner.
CALL = 20
# Parameters of a member, below which the CPU is faster with a vmap of matrix products, and with several rounds in a call.
SMALL = 2**18


class Fault(NamedTuple):
    """The first value of a member that was not finite."""

    step: int
    what: str


class Program:
    """The programs of one run on one mesh; those of a population have a leading axis of members on every array.

    The population is split over the mesh's `member` axis, and what falls to one device is played there one member after
    another, or by vmap where that is faster.
    """

    def __init__(self, config: Run, build: Build, source: Source, grid: Mesh):
        self._config, self._build, self._source, self._mesh = config, build, source, grid
        self.members = config.members()
        self.population = config.population
        self.whole = mesh.replicated(grid)
        self._seeds = np.array([member.seed for member in self.members], np.uint32)
        self._values = {
            name: np.array([member.values[name] for member in self.members], np.float32)
            for name in self.members[0].values
        }
        if not self.population:
            self._seeds, self._values = self._seeds[0], {}
        state = self._traced(lambda: jax.eval_shape(self._init, self._seeds, self._values))
        layout = mesh.layout(grid, state, self.population, config.shard_state)
        self.like: game.State = template(state, layout)
        _require_memory(self.like)
        self.like_first_fault = jax.ShapeDtypeStruct(self._empty_fault().shape, np.int32, sharding=self.whole)
        self._one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(self._own(x), x.dtype), state)
        params = {side: jax.tree.leaves(getattr(self._one, side).params) for side in ("gen", "disc")}
        self.parameters = {side: sum(math.prod(x.shape) for x in params[side]) for side in params}
        self.tensors = tensors(state, self.population)
        few = sum(self.parameters.values()) < SMALL
        # On accelerators a vmap fills the device. On the CPU convolutions with a kernel for each member are slow, and
        # large matrices are slower than one after another; a vmap whose batch is split as well gathers its kernels.
        small = few and all(x.ndim <= 2 for x in params["gen"] + params["disc"])
        self._vmap = grid.shape[mesh.DATA] == 1 and (jax.default_backend() != "cpu" or small)
        many = self.population or few or jax.default_backend() != "cpu"
        self.rounds_a_call = config.steps_per_call or (CALL if many else 1)
        if not source.resident:
            self.rounds_a_call = 1  # each round's rows are sent to it
        self._fused = source.resident  # one program for any number of rounds: so their number changes no bit
        # It runs once, and compiles three times as quickly so; the values are the same.
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        self._fresh = jax.jit(self._init, out_shardings=layout, compiler_options=quick)
        self._play = jax.jit(
            self._rounds,
            static_argnames="attempt",
            donate_argnums=(0, 1),
            out_shardings=(layout, self.whole, self.whole, self.whole),
        )
        self._placed: tuple[Any, Any] = (None, None)
        self._ahead: dict[int, tuple[Any, Any]] = {}  # of each member what comes next, and where it comes from

    def recipe(self, values: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe of a member, whose swept values may be traced."""
        return self._build(dataclasses.replace(self._config, sweep=(), **(values or {})), self._source.spec)

    def fresh(self) -> game.State:
        """The state before the first round."""
        return self._fresh(self._seeds, self._values)

    def no_fault(self) -> jax.Array:
        """Nothing seen yet: what the rounds hand on from one to the next, so that the first fault is not forgotten."""
        return mesh.place(self._empty_fault(), self.whole)

    def play(
        self,
        state: game.State,
        first_fault: jax.Array,
        step: int,
        count: int,
        attempt: int = 0,
        stop_here: int | None = None,
    ) -> tuple[game.State, jax.Array, dict[str, jax.Array], jax.Array | None]:
        """`count` rounds from `step` on: the state, the first_fault, the metrics of the last round, and, of several processes,
        the greatest of what they `stop_here`.

        `attempt` is another order of data and other noise, of the same seeds. The state and the first_fault given are donated.
        """
        fetched = self._fetch(step, attempt)
        said = None
        if stop_here is not None:
            everywhere = NamedSharding(self._mesh, P((mesh.MEMBER, mesh.DATA)))
            said = jax.make_array_from_callback(
                (self._mesh.size,), everywhere, lambda index: np.full(1, stop_here, np.int32)
            )
        return self._play(
            state, first_fault, fetched, self._seeds, self._values, np.int32(count), said, attempt=attempt
        )

    def faults(self, first_fault: jax.Array) -> list[Fault | None]:
        """For each member the first value that was not finite, or None."""
        return [
            Fault(step, self._flag_names[code]) if step >= 0 else None
            for step, code in np.asarray(jax.device_get(first_fault)).reshape(-1, 2).tolist()
        ]

    def lower(self, state: game.State, step: int = 0) -> Any:
        """The program of `play`, lowered, for those who want to read it."""
        fetched = self._fetch(step, 0)
        return self._play.lower(
            state, self.no_fault(), fetched, self._seeds, self._values, np.int32(1), None, attempt=0
        )

    # -- on the host

    def _empty_fault(self) -> np.ndarray:
        return np.full((len(self.members), 2) if self.population else (2,), -1, np.int32)

    def _traced(self, action: Callable[[], Any]) -> Any:
        """Traces; a swept value that the program cannot take as an argument is the user's mistake."""
        try:
            return action()
        except (NotImplementedError, OverflowError) as error:  # more numbers than can be counted
            raise UserError(
                f"the networks cannot be that large: {str(error).splitlines()[0]}; a smaller --width may help"
            ) from error
        except jax.errors.ConcretizationTypeError as error:
            if not self._values:
                raise
            raise UserError(
                f"--sweep {' '.join(self._config.sweep)}: one of these is needed as a plain number while the experiment is built; run its values one by one"
            ) from error

    def _fetch(self, step: int, attempt: int) -> PyTree:
        source = self._source
        if source.resident:
            rows = source.fetch(source.key, step)
            if self._placed[1] is None or rows is not self._placed[0]:  # a resident set is placed once
                self._placed = (rows, mesh.place(rows, self.whole))
            return self._placed[1]
        keys = [_attempt(jax.random.key(seed), attempt) for seed in np.atleast_1d(self._seeds)]
        if not self.population:
            return _rows_of_batch(functools.partial(self._rows, 0, keys[0], step, attempt), source.rows, self._mesh)
        rows = [self._rows(i, key, step, attempt, slice(None)) for i, key in enumerate(keys)]
        members = NamedSharding(self._mesh, P(mesh.MEMBER, mesh.DATA))
        return mesh.place(jax.tree.map(lambda *x: np.stack(x), *rows), members)

    def _rows(self, member: int, key: Key, step: int, attempt: int, which: slice) -> PyTree:
        """What `source.fetch` gives, read ahead where the source can: a step that is not the next begins anew."""
        if self._source.follow is None:
            return self._source.fetch(key, step, which)
        wanted = (attempt, step, which.start, which.stop)
        awaited, rows = self._ahead.get(member, (None, None))
        if awaited != wanted:
            if rows is not None:
                rows.close()  # its threads end
            rows = self._source.follow(key, step, which)
        self._ahead[member] = ((attempt, step + 1, which.start, which.stop), rows)
        return next(rows)

    @functools.cached_property
    def _flag_names(self) -> list[str]:
        """What stands at each place of a round's flags."""
        key = jax.random.key(0)
        fetched = (
            jax.eval_shape(lambda: self._source.fetch(key, 0)) if self._source.resident else self._source.fetch(key, 0)
        )
        values = {name: value[0] for name, value in self._values.items()}
        _, metrics = jax.eval_shape(
            lambda state, fetched: self._round(state, fetched, np.uint32(0), values, 0), self._one, fetched
        )
        return [
            word + name_of(path)
            for word, tree in zip(game.CHECKED, metrics["finite"], strict=True)
            for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        ]

    def _own(self, x: Any) -> tuple[int, ...]:
        """The shape of what one member has of it."""
        return x.shape[1:] if self.population else x.shape

    # -- inside the compiled programs

    def _init(self, seeds: jax.Array, values: Mapping[str, jax.Array]) -> game.State:
        def one(seed: jax.Array, values: Mapping[str, jax.Array]) -> game.State:
            recipe = self.recipe(values)
            key = jax.random.fold_in(jax.random.key(seed), 0)
            return game.init(
                recipe.game, recipe.gen_tx, recipe.disc_tx, key, self._source.spec.blank(self._config.batch_size)
            )

        if not self.population:
            return one(seeds, values)
        return jax.lax.map(lambda member: one(*member), (seeds, values))

    def _round(
        self, state: game.State, fetched: PyTree, seed: Any, values: Mapping[str, jax.Array], attempt: int
    ) -> tuple[game.State, dict[str, Any]]:
        recipe = self.recipe(values)
        update = game.make_update(
            recipe.game,
            recipe.gen_tx,
            recipe.disc_tx,
            n_disc=recipe.n_disc,
            ema_decay=recipe.ema_decay,
            simultaneous=recipe.simultaneous,
            check=True,
            shard=self._config.shard_state,
            monitor_every=self._config.log_every,
        )
        key = _attempt(jax.random.key(seed), attempt)
        batch: Batch = mesh.split_rows(self._source.batch(fetched, key, state.step))
        state, metrics = update(state, batch, jax.random.fold_in(key, 1))
        return state, dict(metrics)

    def _rounds(
        self,
        state: game.State,
        first_fault: jax.Array,
        fetched: PyTree,
        seeds: jax.Array,
        values: Mapping[str, jax.Array],
        count: jax.Array,
        stop_here: jax.Array | None,
        *,
        attempt: int,
    ) -> tuple[game.State, jax.Array, dict[str, jax.Array], jax.Array | None]:
        def watched(carry: tuple, fetched: PyTree, seed: jax.Array, values: Mapping[str, jax.Array]) -> tuple:
            state, first_fault = carry
            after, metrics = self._round(state, fetched, seed, values, attempt)
            finite = jnp.stack(jax.tree.leaves(metrics.pop("finite")))
            seen = jnp.stack([after.step, jnp.argmin(finite).astype(jnp.int32)])
            return (after, jnp.where((first_fault[0] < 0) & ~finite.all(), seen, first_fault)), metrics

        def member(state: Any, first_fault: Any, seed: Any, values: Any, fetched: Any) -> Any:
            if not self._fused:
                return watched((state, first_fault), fetched, seed, values)
            empty = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype),
                jax.eval_shape(lambda carry: watched(carry, fetched, seed, values)[1], (state, first_fault)),
            )
            return jax.lax.fori_loop(
                0, count, lambda _, both: watched(both[0], fetched, seed, values), ((state, first_fault), empty)
            )

        if not self.population:
            (state, first_fault), metrics = member(state, first_fault, seeds, values, fetched)
        else:
            shared = self._source.resident

            def local(
                state: Any, first_fault: Any, seeds: Any, values: Any, fetched: Any
            ) -> Any:  # the members of one device, or of one row of devices
                if self._vmap:
                    return jax.vmap(member, (0, 0, 0, 0, None if shared else 0))(
                        state, first_fault, seeds, values, fetched
                    )
                if shared:
                    return jax.lax.map(
                        lambda x: member(x[0], x[1], x[2], x[3], fetched), (state, first_fault, seeds, values)
                    )
                return jax.lax.map(lambda x: member(*x), (state, first_fault, seeds, values, fetched))

            each = P(mesh.MEMBER)
            (state, first_fault), metrics = jax.shard_map(
                local,
                mesh=self._mesh,
                in_specs=(each, each, each, each, P() if shared else each),
                out_specs=each,
                axis_names={mesh.MEMBER},
                check_vma=False,
            )(state, first_fault, seeds, values, fetched)
        return state, first_fault, metrics, None if stop_here is None else stop_here.max()


def _require_memory(like: game.State) -> None:
    """UserError where a device could not hold its part of the state, before anything is made."""
    device = jax.local_devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit", 0)
    share = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(like))
    if device.platform == "cpu":  # all its devices share the machine's
        memory, share = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), share * len(jax.local_devices())
    if memory and share > memory:
        raise UserError(
            f"the state takes {share / 2**30:,.1f} GiB of {memory / 2**30:,.1f}: a smaller --width, fewer --seeds, or --shard-state over more devices"
        )


def _attempt(key: Key, attempt: int) -> Key:
    return jax.random.fold_in(jax.random.fold_in(key, ATTEMPT), attempt) if attempt else key


def _rows_of_batch(fetch: Callable[[slice], PyTree], count: int, grid: Mesh) -> PyTree:
    """One step's `count` rows as a global array split over `data`; a process gathers only its own."""
    split = mesh.batch_sharding(grid)
    if jax.process_count() == 1:
        return jax.device_put(fetch(slice(None)), split)

    def span(index: Any) -> tuple[int, int]:
        return index[0].indices(count)[:2]

    spans = [span(index) for index in split.addressable_devices_indices_map((count,)).values()]
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    mine = fetch(slice(first, last))

    def global_array(x: np.ndarray) -> jax.Array:
        def own(index: Any) -> np.ndarray:
            low, high = span(index)
            return x[low - first : high - first]

        return jax.make_array_from_callback((count, *x.shape[1:]), split, own)

    return jax.tree.map(global_array, mine)
