"""The compiled program of a run: the first state, and the rounds of the game, of one member or of a whole population."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from gan_jax import game
from gan_jax.config import Run
from gan_jax.system import mesh
from gan_jax.training import observe
from gan_jax.training.feeder import Feeder, attempt_key
from gan_jax.training.recipe import Build, Recipe
from gan_jax.types import Batch, PyTree, Source, UserError
from gan_jax.workdir.checkpoint import name_of, template, tensors

# Rounds in one call, of a population, whose members' states then stay in the processor's cache for so long, and of a small
# game or on an accelerator, where a call costs as much as many a round. Else one: a stop is heard sooner.
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
    another, or by vmap where that is faster. `recipe` is what `build` makes of the configuration, where the caller has it.

    ValueError where the game does not keep to its contract (`game.make_round`), UserError where a device could not hold the
    state.
    """

    def __init__(self, config: Run, build: Build, source: Source, grid: Mesh, recipe: Recipe | None = None):
        self._config, self._build, self._source, self._mesh = config, build, source, grid
        self.members = config.members()
        self.population = config.population
        self.replicated = mesh.replicated(grid)
        self._seeds = np.array([member.seed for member in self.members], np.uint32)
        self._values = {
            name: np.array([member.values[name] for member in self.members], np.float32)
            for name in self.members[0].values
        }
        # Without swept values, which are traced, the recipe is the same in every program.
        self._recipe = None if self._values else recipe or self._built({})
        if not self.population:
            self._seeds, self._values = self._seeds[0], {}
        state = self._traced(lambda: jax.eval_shape(self._init, self._seeds, self._values))
        layout = mesh.layout(grid, state, self.population, config.shard_state)
        self.like: game.State = template(state, layout)
        _require_memory(self.like)
        self.like_first_fault = jax.ShapeDtypeStruct(self._empty_fault().shape, np.int32, sharding=self.replicated)
        self._one = one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(self._own(x), x.dtype), state)
        params = {side: jax.tree.leaves(getattr(one, side).params) for side in ("gen", "disc")}
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
        # What a round gives, found by tracing one: whatever is wrong with the game is said here, before anything is written.
        self._metrics, finite = self._traced(lambda: self._round_of(one))
        self._flag_names = [
            word + name_of(path)
            for word, tree in zip(observe.CHECKED, finite, strict=True)
            for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        ]
        # It runs once, and compiles three times as quickly so; the values are the same. What XLA_FLAGS say comes first.
        given = "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" and not given else None
        self._fresh = jax.jit(self._init, out_shardings=layout, compiler_options=quick)
        self._play = jax.jit(
            self._rounds,
            static_argnames="attempt",
            donate_argnums=(0, 1),
            out_shardings=(layout, self.replicated, self.replicated, self.replicated),
        )
        self._feed = Feeder(source, grid, self._seeds)

    def recipe(self, values: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe of a member, whose swept values may be traced."""
        return self._recipe or self._built(values or {})

    def fresh(self) -> game.State:
        """The state before the first round."""
        return self._fresh(self._seeds, self._values)

    def no_fault(self) -> jax.Array:
        """Nothing seen yet: what the rounds hand on from one to the next, so that the first fault is not forgotten."""
        return mesh.place(self._empty_fault(), self.replicated)

    def play(
        self,
        state: game.State,
        first_fault: jax.Array,
        step: int,
        count: int,
        attempt: int = 0,
        vote: jax.Array | None = None,
    ) -> tuple[game.State, jax.Array, dict[str, jax.Array], jax.Array | None]:
        """`count` rounds from `step` on: the state, the first fault, the metrics of the last round, and the greatest of the
        processes' votes, where they vote (`stopping.Stopper`).

        `attempt` is another order of data and other noise, of the same seeds. The state and the fault given are donated.
        """
        fetched = self._feed(step, attempt)
        return self._play(
            state, first_fault, fetched, self._seeds, self._values, np.int32(count), vote, attempt=attempt
        )

    def faults(self, first_fault: jax.Array) -> list[Fault | None]:
        """For each member the first value that was not finite, or None."""
        return [
            Fault(step, self._flag_names[code]) if step >= 0 else None
            for step, code in np.asarray(jax.device_get(first_fault)).reshape(-1, 2).tolist()
        ]

    def text(self) -> str:
        """Returns a round of one member as StableHLO: what computes the same has the same text."""
        play, given = self._one_round()
        return jax.jit(play).lower(*given).as_text()

    def lower(self, state: game.State, step: int = 0) -> Any:
        """The program of `play`, lowered, for those who want to read it."""
        fetched = self._feed(step, 0)
        return self._play.lower(
            state, self.no_fault(), fetched, self._seeds, self._values, np.int32(1), None, attempt=0
        )

    # -- on the host

    def _built(self, values: Mapping[str, Any]) -> Recipe:
        return self._build(dataclasses.replace(self._config, sweep=(), **values), self._source.spec)

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

    def _one_round(self) -> tuple[Callable, tuple[PyTree, ...]]:
        """A round of one member, and the shapes of what it takes."""
        source, key = self._source, jax.random.key(0)
        fetched = jax.eval_shape(lambda: source.fetch(key, 0)) if source.resident else source.fetch(key, 0)
        values = {name: value[0] for name, value in self._values.items()}

        def play(state: game.State, fetched: PyTree, values: Mapping[str, Any]) -> tuple:
            return self._round(state, fetched, np.uint32(0), values, 0)

        return play, (self._one, fetched, values)

    def _round_of(self, one: game.State) -> tuple[PyTree, PyTree]:
        """Shapes of the metrics and flags of a round of one member."""
        play, given = self._one_round()
        after, metrics, finite = jax.eval_shape(play, *given)
        was, became = tensors(one, False), tensors(after, False)
        for name in sorted({*was, *became}):
            if was.get(name) != became.get(name):
                raise ValueError(
                    f"a round made {name} {became.get(name, 'absent')}, and it began as {was.get(name, 'absent')}: an optimiser must keep its state's types"
                )
        return metrics, finite

    def _own(self, x: Any) -> tuple[int, ...]:
        """The shape of what one member has of it."""
        return x.shape[1:] if self.population else x.shape

    # -- inside the compiled programs

    def _init(self, seeds: jax.Array, values: Mapping[str, jax.Array]) -> game.State:
        def one(seed: jax.Array, values: Mapping[str, jax.Array]) -> game.State:
            recipe = self.recipe(values)
            key = jax.random.fold_in(jax.random.key(seed), 0)
            blank = self._source.spec.blank(self._config.batch_size)
            return game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, key, blank, self._config.precision)

        if not self.population:
            return one(seeds, values)
        return jax.lax.map(lambda member: one(*member), (seeds, values))

    def _round(
        self, state: game.State, fetched: PyTree, seed: Any, values: Mapping[str, jax.Array], attempt: int
    ) -> tuple[game.State, dict[str, jax.Array], tuple[PyTree, ...]]:
        """One round, what it tells, and of every value whether it is finite."""
        recipe = self.recipe(values)
        play = game.make_round(
            recipe.game,
            recipe.gen_tx,
            recipe.disc_tx,
            n_disc=recipe.n_disc,
            ema_decay=recipe.ema_decay,
            simultaneous=recipe.simultaneous,
            shard=self._config.shard_state,
        )
        key = attempt_key(jax.random.key(seed), attempt)
        batch: Batch = mesh.split_rows(self._source.batch(fetched, key, state.step))
        if self._config.precision == "float64":
            batch = game.in_float64(batch)
        after, metrics, steps = play(state, batch, jax.random.fold_in(key, 1))
        return after, {**metrics, **observe.norms(steps, state.step, self._config.log_every)}, observe.finite(steps)

    def _rounds(
        self,
        state: game.State,
        first_fault: jax.Array,
        fetched: PyTree,
        seeds: jax.Array,
        values: Mapping[str, jax.Array],
        count: jax.Array,
        vote: jax.Array | None,
        *,
        attempt: int,
    ) -> tuple[game.State, jax.Array, dict[str, jax.Array], jax.Array | None]:
        def watched(carry: tuple, fetched: PyTree, seed: jax.Array, values: Mapping[str, jax.Array]) -> tuple:
            state, first_fault = carry
            after, metrics, flags = self._round(state, fetched, seed, values, attempt)
            finite = jnp.stack(jax.tree.leaves(flags))
            seen = jnp.stack([after.step, jnp.argmin(finite).astype(jnp.int32)])
            return (after, jnp.where((first_fault[0] < 0) & ~finite.all(), seen, first_fault)), metrics

        def member(state: Any, first_fault: Any, seed: Any, values: Any, fetched: Any) -> Any:
            if not self._fused:
                return watched((state, first_fault), fetched, seed, values)
            empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._metrics)
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
                    return _side_by_side(member, state, first_fault, seeds, values, fetched, None if shared else 0)
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
        return state, first_fault, metrics, None if vote is None else vote.max()


def _side_by_side(
    member: Callable, state: game.State, first_fault: Any, seeds: Any, values: Any, fetched: Any, fetched_axis: Any
) -> Any:
    """A vmap over members, of whom all are at the same step: with one step for all, what a game does in some rounds only
    stays a conditional, which a step of each would make a choice between two things that are both computed.
    """
    axes: Any = game.State(step=None, gen=0, disc=0, ema=0, aux=0)  # type: ignore[arg-type]
    steps, state = state.step, state.replace(step=state.step[0])
    (state, first_fault), metrics = jax.vmap(member, (axes, 0, 0, 0, fetched_axis), ((axes, 0), 0))(
        state, first_fault, seeds, values, fetched
    )
    return (state.replace(step=jnp.broadcast_to(state.step, steps.shape)), first_fault), metrics


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
