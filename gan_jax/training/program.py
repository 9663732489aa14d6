"""The compiled programs of a run, or of a population: one for the initial state, and one for rounds of the game."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
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

# Rounds in one call of a program: of a population, so that the state of each member stays in the processor's cache for
# that long; of a small game and on accelerators, since there a call costs as much as a round. Otherwise a call is one
# round, so that a stop takes effect sooner.
CALL = 20
# Number of parameters of a member below which, on the CPU, a vmap of matrix products is faster, and so are several
# rounds in a call.
SMALL = 2**18


class Fault(NamedTuple):
    """The first value of a member that was not finite: its step and its name."""

    step: int
    what: str


class Program:
    """The compiled programs of a run on a mesh. For a population every array has a leading axis of members.

    The axis of members is split over the mesh's `member` axis. The members on one device are played one after another,
    or by vmap where that is faster. `recipe` is the result of `build` for this configuration, if the caller has it.

    Raises ValueError where the game does not keep to its contract (`game.make_round`). Raises UserError where the state
    is too large for a device, and where `build` needs a swept value as a plain number.
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
        # Swept values are traced: each program builds its own recipe. Without them one recipe is for all.
        self._recipe = None if self._values else recipe or self._build_recipe({})
        if not self.population:
            self._seeds, self._values = self._seeds[0], {}
        # Traced once, for the shapes and for what makes the first state.
        first, state = self._trace(lambda: _traced(self._init, self._seeds, self._values))
        layout = mesh.layout(grid, state, self.population, config.shard_state)
        self.like: game.State = template(state, layout)
        _require_memory(self.like)
        self.like_first_fault = jax.ShapeDtypeStruct(self._empty_fault().shape, np.int32, sharding=self.replicated)
        self._member_like = one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(self._member_shape(x), x.dtype), state)
        params = {side: jax.tree.leaves(getattr(one, side).params) for side in ("gen", "disc")}
        self.parameters = {side: sum(math.prod(x.shape) for x in params[side]) for side in params}
        self.tensors = tensors(state, self.population)
        small = sum(self.parameters.values()) < SMALL
        # On accelerators a vmap fills the device. On the CPU convolutions with a kernel for each member are slow, and
        # products of large matrices are slower than one after another. Where the batch is split as well, a vmap
        # gathers the members' kernels.
        small_dense = small and all(x.ndim <= 2 for x in params["gen"] + params["disc"])
        self._vmap = grid.shape[mesh.DATA] == 1 and (jax.default_backend() != "cpu" or small_dense)
        multiple = self.population or small or jax.default_backend() != "cpu"
        self.rounds_a_call = config.steps_per_call or (CALL if multiple else 1)
        if not source.resident:
            self.rounds_a_call = 1  # the rows of each round are sent to the device
        # One loop for any number of rounds, so that their number does not change a bit of the results.
        self._fused = source.resident
        # A round is traced here: errors of the game are raised before anything is written, and where one recipe and one
        # member are all there is, `_rounds` takes it from here instead of tracing it again.
        self._traced, (self._metrics, finite) = self._trace(lambda: self._trace_round(one))
        self._flag_names = [
            prefix + name_of(path)
            for prefix, tree in zip(observe.CHECKED, finite, strict=True)
            for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        ]
        # It runs only once, and compiles three times as fast at this level; the values are the same. A level in
        # XLA_FLAGS takes precedence.
        level_given = "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
        options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" and not level_given else None
        self._fresh = jax.jit(first, out_shardings=layout, compiler_options=options)
        self._play = jax.jit(
            self._rounds,
            static_argnames="attempt",
            donate_argnums=(0, 1),
            out_shardings=(layout, self.replicated, self.replicated, self.replicated),
        )
        self._feed = Feeder(source, grid, self._seeds)

    def recipe(self, values: Mapping[str, Any] | None = None) -> Recipe:
        """Returns the recipe of a member with these swept values, which may be traced."""
        return self._recipe or self._build_recipe(values or {})

    def fresh(self) -> game.State:
        """Returns the state before the first round."""
        return self._fresh(self._seeds, self._values)

    def no_fault(self) -> jax.Array:
        """Returns the `first_fault` before any round: int32 [2], of a population [m 2], all -1.

        It is the step and the index of the first value that was not finite. Each round takes it and returns it.
        """
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
        """Plays `count` rounds from `step` on; returns the state, the first fault, the metrics of the last round, and
        the greatest of the processes' votes, None if they do not vote (`stopping.Stopper`).

        Another `attempt` has another order of data and other noise, from the same seeds. `state` and `first_fault` are
        donated. `count` must be 1 unless the data is resident.
        """
        fetched = self._feed(step, attempt)
        return self._play(
            state, first_fault, fetched, self._seeds, self._values, np.int32(count), vote, attempt=attempt
        )

    def faults(self, first_fault: jax.Array) -> list[Fault | None]:
        """Returns the first value of each member that was not finite; None for a member without one."""
        return [
            Fault(step, self._flag_names[code]) if step >= 0 else None
            for step, code in np.asarray(jax.device_get(first_fault)).reshape(-1, 2).tolist()
        ]

    def text(self) -> str:
        """Returns a round of one member as the text of its StableHLO, by which two programs can be compared."""
        play, shapes = self._member_round()
        return jax.jit(play).lower(*shapes).as_text()

    def lower(self, state: game.State, step: int = 0) -> jax.stages.Lowered:
        """Returns the lowered program of `play`, to be read or compiled."""
        fetched = self._feed(step, 0)
        return self._play.lower(
            state, self.no_fault(), fetched, self._seeds, self._values, np.int32(1), None, attempt=0
        )

    # -- on the host

    def _build_recipe(self, values: Mapping[str, Any]) -> Recipe:
        return self._build(dataclasses.replace(self._config, sweep=(), **values), self._source.spec)

    def _empty_fault(self) -> np.ndarray:
        return np.full((len(self.members), 2) if self.population else (2,), -1, np.int32)

    def _trace(self, action: Callable[[], Any]) -> Any:
        """Calls `action`, which traces a program. Raises UserError where the networks are too large to be traced, or a
        swept value is needed as a plain number.
        """
        try:
            return action()
        except (NotImplementedError, OverflowError) as error:  # raised for arrays with too many elements
            raise UserError(
                f"the networks cannot be that large: {str(error).splitlines()[0]}; a smaller --width may help"
            ) from error
        except jax.errors.ConcretizationTypeError as error:
            if not self._values:
                raise
            raise UserError(
                f"--sweep {' '.join(self._config.sweep)}: one of these is needed as a plain number while the experiment is built; run its values one by one"
            ) from error

    def _member_round(self) -> tuple[Callable, tuple[PyTree, ...]]:
        """A round of one member, and the shapes of its arguments."""
        source, key = self._source, jax.random.key(0)
        fetched = jax.eval_shape(lambda: source.fetch(key, 0)) if source.resident else source.fetch(key, 0)
        values = {name: value[0] for name, value in self._values.items()}

        def play(state: game.State, fetched: PyTree, seed: Any, values: Mapping[str, Any]) -> tuple:
            return self._round(state, fetched, seed, values, 0)

        return play, (self._member_like, fetched, np.uint32(0), values)

    def _trace_round(self, one: game.State) -> tuple[Callable, tuple[PyTree, PyTree]]:
        """A traced round of one member, and the shapes of its metrics and flags. Raises ValueError where a round changes
        the shapes or types of the state.
        """
        play, arguments = self._member_round()
        traced, (after, metrics, finite) = _traced(play, *arguments)
        was, became = tensors(one, False), tensors(after, False)
        for name in sorted({*was, *became}):
            if was.get(name) != became.get(name):
                raise ValueError(
                    f"a round made {name} {became.get(name, 'absent')}, and it began as {was.get(name, 'absent')}: an optimiser must keep its state's types"
                )
        return traced, (metrics, finite)

    def _member_shape(self, x: jax.ShapeDtypeStruct) -> tuple[int, ...]:
        """The shape of one member's part of an array."""
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
        """Plays a round; returns the state, the metrics, and the flags of `observe.finite`."""
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
        def checked_round(carry: tuple, fetched: PyTree, seed: jax.Array, values: Mapping[str, jax.Array]) -> tuple:
            state, first_fault = carry
            if self.population or attempt:
                after, metrics, flags = self._round(state, fetched, seed, values, attempt)
            else:
                after, metrics, flags = self._traced(state, fetched, seed, values)
            finite = jnp.stack(jax.tree.leaves(flags))
            fault = jnp.stack([after.step, jnp.argmin(finite).astype(jnp.int32)])
            return (after, jnp.where((first_fault[0] < 0) & ~finite.all(), fault, first_fault)), metrics

        def member(state: Any, first_fault: Any, seed: Any, values: Any, fetched: Any) -> Any:
            if not self._fused:
                return checked_round((state, first_fault), fetched, seed, values)
            empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._metrics)
            return jax.lax.fori_loop(
                0, count, lambda _, carry: checked_round(carry[0], fetched, seed, values), ((state, first_fault), empty)
            )

        if not self.population:
            (state, first_fault), metrics = member(state, first_fault, seeds, values, fetched)
        else:
            shared = self._source.resident

            def local(
                state: Any, first_fault: Any, seeds: Any, values: Any, fetched: Any
            ) -> Any:  # of the members on one device, or on one row of devices
                if self._vmap:
                    return _side_by_side(member, state, first_fault, seeds, values, fetched, None if shared else 0)
                if shared:
                    return jax.lax.map(
                        lambda x: member(x[0], x[1], x[2], x[3], fetched), (state, first_fault, seeds, values)
                    )
                return jax.lax.map(lambda x: member(*x), (state, first_fault, seeds, values, fetched))

            by_member = P(mesh.MEMBER)
            (state, first_fault), metrics = jax.shard_map(
                local,
                mesh=self._mesh,
                in_specs=(by_member, by_member, by_member, by_member, P() if shared else by_member),
                out_specs=by_member,
                axis_names={mesh.MEMBER},
                check_vma=False,
            )(state, first_fault, seeds, values, fetched)
        return state, first_fault, metrics, None if vote is None else vote.max()


def _traced(function: Callable, *arguments: Any) -> tuple[Callable, Any]:
    """The function, traced once for such arguments and not again where it is compiled, and the shapes of its result."""
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure, flat = jax.tree.structure(shapes), jaxpr_as_fun(jaxpr)
    return lambda *args: jax.tree.unflatten(structure, flat(*jax.tree.leaves(args))), shapes


def _side_by_side(
    member: Callable, state: game.State, first_fault: Any, seeds: Any, values: Any, fetched: Any, fetched_axis: Any
) -> Any:
    """Vmaps over members, which are all at the same step. The step is not mapped: a `lax.cond` on it then remains a
    conditional, where a step for each member would make it a `select` that computes both branches.
    """
    axes: Any = game.State(step=None, gen=0, disc=0, ema=0, aux=0)  # type: ignore[arg-type]
    steps, state = state.step, state.replace(step=state.step[0])
    (state, first_fault), metrics = jax.vmap(member, (axes, 0, 0, 0, fetched_axis), ((axes, 0), 0))(
        state, first_fault, seeds, values, fetched
    )
    return (state.replace(step=jnp.broadcast_to(state.step, steps.shape)), first_fault), metrics


def _require_memory(like: game.State) -> None:
    """Raises UserError where a device's memory is too small for its part of the state, before anything is allocated."""
    device = jax.local_devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit", 0)
    share = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(like))
    if device.platform == "cpu":  # all CPU devices share the machine's memory
        memory, share = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), share * len(jax.local_devices())
    if memory and share > memory:
        raise UserError(
            f"the state takes {share / 2**30:,.1f} GiB of {memory / 2**30:,.1f}: a smaller --width, fewer --seeds, or --shard-state over more devices"
        )
