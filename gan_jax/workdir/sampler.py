"""Samples from a trained generator, and views of the game's other networks, from the state of a run in training or from
its work directory (`gan_jax.workdir.load`).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import game
from gan_jax.system import mesh
from gan_jax.system.numerics import arithmetic
from gan_jax.types import Batch, PyTree, Spec, UserError, rows_of

CHUNK = 500  # rows in one call of a compiled program
FAR = 8.0  # limit of |x|: images lie in [-1, 1], and values in 0..255 exceed it


class Programs:
    """Compiled programs that the samplers of one run share; each is compiled once for each number of rows.

    `game_of(values)` is the run's game for these values of the swept fields, which may be traced. With `population`
    every array of a state has a leading axis of members.
    """

    def __init__(
        self,
        game_of: Callable[[Mapping[str, Any]], game.Game],
        spec: Spec,
        population: bool,
        precision: str = "float32",
        matmul_precision: str = "float32",
        layout: Any = None,
    ):
        self.game_of, self.spec, self.population, self._precision = game_of, spec, population, precision

        def member_of(tree: PyTree, member: Any) -> PyTree:
            return mesh.gather(jax.tree.map(lambda x: x[member], tree) if population else tree)

        def key_of(seed: Any, folded: int) -> jax.Array:
            key = jax.random.key(seed)
            return jax.random.fold_in(key, folded) if folded else key

        def compiled(function: Callable, *static: str) -> Callable:
            program = jax.jit(function, static_argnames=static, out_shardings=layout)

            @functools.wraps(function)
            def call(*args: Any) -> Any:
                with arithmetic(precision, matmul_precision):
                    return program(*args)

            return call

        def draw(
            gen: game.Average, member: Any, seed: Any, values: Any, part: Any, folded: int, chunk: int, rows: int
        ) -> PyTree:
            """Samples of rows part * chunk, ..., part * chunk + chunk - 1 of `rows` blank rows."""
            this_game, gen = game_of(values), member_of(gen, member)
            inputs = _require_inputs(this_game)(key_of(seed, folded), spec.blank(rows))
            row_inputs = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, part * chunk, chunk), inputs)
            return this_game.sample(gen.params, gen.stats, *row_inputs)

        def inputs_of(batch: Batch | None, seed: Any, values: Any, part: Any, folded: int, rows: int) -> tuple:
            """Inputs for the rows of a batch, or for `rows` blank rows."""
            key = key_of(seed, folded)
            conditions = spec.blank(rows) if batch is None else batch
            return _require_inputs(game_of(values))(key if batch is None else jax.random.fold_in(key, part), conditions)

        def sample(gen: game.Average, member: Any, values: Any, *inputs: Any) -> PyTree:
            gen = member_of(gen, member)
            return game_of(values).sample(gen.params, gen.stats, *inputs)

        def fakes(gen: game.Average, values: Any, key: jax.Array, batch: Batch) -> tuple[PyTree, PyTree]:
            """What training makes of a batch, and the statistics after it; of one generator, without members."""
            make = game_of(values).fakes
            if make is None:
                raise UserError("this game makes its fakes inside its losses: only running statistics can be used")
            none, side = game.Player(params={}, stats={}, opt=()), game.Player(gen.params, gen.stats, ())
            return make(gen.params, game.State(jnp.int32(0), side, none, gen, {}), batch, key)

        @functools.cache
        def view(name: str) -> Callable:
            def apply_view(state: game.State, member: Any, values: Any, *inputs: Any) -> PyTree:
                return game_of(values).views[name](member_of(state, member), *inputs)

            return compiled(apply_view)

        self.draw = compiled(draw, "folded", "chunk", "rows")
        self.inputs = compiled(inputs_of, "folded", "rows")
        self.sample = compiled(sample)
        self.fakes = compiled(fakes)
        self.view = view

    @functools.cached_property
    def kinds(self) -> "Kinds":
        """The inputs that `sample` takes, for one row."""
        batch = dict(self.spec.blank(1))
        with arithmetic(self._precision, "float32"):
            inputs = _require_inputs(self.game_of({}))(jax.random.key(0), batch)
        sources = [next((name for name, y in batch.items() if x is y), "") for x in inputs]
        label = sources.index("label") if "label" in sources else None
        return Kinds(
            tuple(jax.typeof(x) for x in inputs), label, tuple(name for name in sources if name not in ("", "label"))
        )


class Kinds(NamedTuple):
    """The inputs of a generator."""

    arrays: tuple[Any, ...]  # shape and type of each, [b ...]
    label: int | None  # index of the one that is the label of the batch
    needs: tuple[str, ...]  # other arrays of the batch that are inputs, such as images to translate


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A trained generator: `sampler(*inputs)` returns samples [b ...] as float32, images in [-1, 1].

    Inputs that are left out at the end are those of `sampler.inputs(rows)`; labels of a conditional generator are then
    the classes in turn. `sampler.draw(n)` returns n samples from noise that is the same every time, as a run's pictures
    and measures use them. `sampler.ask(view, ...)` applies the game's other networks.
    """

    programs: Programs = dataclasses.field(repr=False)
    generator: game.Average = dataclasses.field(repr=False)  # averaged, or raw
    state: game.State = dataclasses.field(repr=False)  # of its run
    step: int  # number of rounds of training
    how: Mapping[str, Any]  # description of the samples for protocols
    member: int = 0  # index into a population, whose arrays have a leading axis of members
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the swept fields
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)  # the flags of its run
    recipe: Any = dataclasses.field(default=None, repr=False)  # as its experiment builds it
    data_digest: str = ""  # of the training data

    @property
    def spec(self) -> Spec:
        """The specification of its training data."""
        return self.programs.spec

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the views that `ask` accepts."""
        return tuple(self.recipe.game.views)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, which labels may use; their numbers where the data has no names."""
        return tuple(self.spec.meta.get("class_names", ())) or tuple(str(i) for i in range(self.classes))

    @property
    def classes(self) -> int:
        """Number of classes of a conditional generator; 0 for others."""
        return self.spec.classes if self.programs.kinds.label is not None else 0

    def __call__(self, *inputs: Any) -> PyTree:
        """Returns samples for these inputs, each [b ...]; labels may be names of classes.

        Raises ValueError for a rank, last axis or type that the generator does not take, unequal numbers of rows, and
        labels that are none of the classes. Heights and widths are not checked, since translators may take any.
        """
        kinds = self.programs.kinds.arrays
        if not 1 <= len(inputs) <= len(kinds):
            raise ValueError(f"the generator takes {_described(kinds)}; got {len(inputs)} arrays{self._hint()}")
        given = [self._fitting(i, x) for i, x in enumerate(inputs)]
        if len({len(x) for x in given}) > 1:
            raise ValueError(f"inputs must have one number of rows; got {', '.join(str(x.shape) for x in given)}")
        rest = self.inputs(len(given[0]))[len(given) :] if len(given) < len(kinds) else ()
        return _host(self.programs.sample(self.generator, np.int32(self.member), self.values, *given, *rest))

    def inputs(self, rows: int | Batch, seed: int = 0) -> tuple:
        """Returns inputs of `sampler(...)` for a number of rows, or for the rows of a batch: noise drawn by `seed`, and
        arrays of the batch. Raises ValueError for fewer than one row, and for a number where the generator needs a
        batch.
        """
        batch = self._batch_of(rows)
        count = rows if isinstance(rows, int) else rows_of(rows)
        return self.programs.inputs(batch, _seed(seed), self.values, np.int32(0), 0, count)

    def latents(self, count: int, seed: int = 0) -> jax.Array:
        """Returns the first of `inputs`, [count z]; for a plain generator noise from N(0, I)."""
        return self.inputs(count, seed)[0]

    def draw(self, rows: int | Batch, seed: int = 0, folded: int = 0) -> PyTree:
        """Returns samples for a number of rows, or for the rows of a batch on the host, computed a part at a time.

        The noise is drawn by `seed`, into whose key `folded` is folded unless it is 0. Raises ValueError as `inputs`.
        """
        batch = self._batch_of(rows)
        common = (np.int32(self.member), _seed(seed), self.values)
        # Each part is fetched before the next is started. With several calls in flight, each of which gathers from all
        # devices, the threads of the CPU backend may each take one device's share of a different call, and deadlock.
        if batch is None:
            assert isinstance(rows, int)
            chunk = min(rows, CHUNK)
            full = -(-rows // chunk) * chunk  # a multiple of the chunk, so that one program is compiled
            draw = self.programs.draw
            parts = [
                _host(draw(self.generator, *common, np.int32(i), folded, chunk, full)) for i in range(full // chunk)
            ]
            return _joined(parts, rows)
        parts = []
        for i, part in enumerate(_chunks(batch)):
            inputs = self.programs.inputs(part, _seed(seed), self.values, np.int32(i), folded, rows_of(part))
            parts.append(_host(self.programs.sample(self.generator, common[0], self.values, *inputs)))
        return _joined(parts, rows_of(batch))

    def zeros(self, rows: int | Batch) -> PyTree:
        """Returns zeros of the shape and type of what `draw` returns, without sampling. Raises ValueError as `draw`."""
        batch = self._batch_of(rows)
        count = rows if isinstance(rows, int) else rows_of(rows)

        def drawn(gen: game.Average) -> PyTree:
            inputs = self.programs.inputs(batch, np.uint32(0), self.values, np.int32(0), 0, count)
            return self.programs.sample(gen, np.int32(self.member), self.values, *inputs)

        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(drawn, self.generator))

    def ask(self, view: str, *inputs: Any) -> PyTree:
        """Applies the game's view of that name to the inputs, each [b ...], a part at a time; returns arrays [b ...].

        In the state that the view is given, `state.gen` is the sampled generator, and `state.disc` D as trained. Raises
        UserError where the game has no such view, and ValueError for inputs with unequal numbers of rows, images that
        are no floats or out of range, or a view that returns a scalar.
        """
        views = self.recipe.game.views
        if view not in views:
            raise UserError(
                f"this game has no view {view!r}: there are {', '.join(views) or 'none'}; what G makes is sampler(...) itself"
            )
        counts = {len(x) for x in jax.tree.leaves(inputs)}
        if len(counts) != 1:
            raise ValueError(f"what a view is asked are arrays of one number of rows; got {sorted(counts) or 'none'}")
        for x in jax.tree.leaves(inputs):
            _require_range(view, x)
            if np.ndim(x) > 2 and not jnp.issubdtype(x.dtype, jnp.floating):  # no codes, which are [b] or [b n]
                raise ValueError(f"{view} was given {x.dtype}: floats are needed, of images in [-1, 1], x / 127.5 - 1")
        apply_view = self.programs.view(view)
        parts = [
            _host(apply_view(self.asked, np.int32(self.member), self.values, *part)) for part in _chunks(tuple(inputs))
        ]
        if any(np.ndim(x) == 0 for x in jax.tree.leaves(parts[0])):
            raise ValueError(
                f"the view {view!r} gave a scalar: a view gives arrays [b ...], one row for each it is asked"
            )
        return _joined(parts, rows_of(tuple(inputs)))

    @property
    def asked(self) -> game.State:
        """The state that views are given: G is the sampled generator, averaged or raw, and D as trained."""
        gen, disc = (game.Player(params=x.params, stats=x.stats, opt=()) for x in (self.generator, self.state.disc))
        return self.state.replace(gen=gen, disc=disc)

    @property
    def own(self) -> game.Average:
        """The generator, of a population that of this member, without the axis of members."""
        if not self.programs.population:
            return self.generator
        return jax.tree.map(lambda x: x[self.member], self.generator)

    def with_generator(self, generator: game.Average) -> "Sampler":
        """Returns the same sampler with another generator like `own`, such as the result of
        `evaluation.batch_norm.standing`.
        """
        if not self.programs.population:
            return dataclasses.replace(self, generator=generator)
        generator = jax.tree.map(lambda x: jnp.asarray(x)[None], generator)
        state = jax.tree.map(lambda x: x[self.member : self.member + 1], self.state)
        return dataclasses.replace(self, generator=generator, state=state, member=0)

    def _batch_of(self, rows: int | Batch) -> Batch | None:
        """The batch, or None for a number of rows.

        Raises ValueError for less than one row, for a number where images are needed, and for integers where the data
        are floats (0..255 would be taken for values in [-1, 1]).
        """
        if isinstance(rows, int):
            if rows < 1:
                raise ValueError(f"{rows} rows: 1 or more")
            if needs := self.programs.kinds.needs:
                raise ValueError(
                    f"this generator is given {' and '.join(needs)}, not noise: sampler({needs[0]}), or a batch {{{needs[0]!r}: ...}} for a number of rows"
                )
            return None
        batch = rows
        for name, x in batch.items():
            kind = self.spec.arrays.get(name)
            if (
                kind is not None
                and jnp.issubdtype(kind.dtype, jnp.floating)
                and not jnp.issubdtype(x.dtype, jnp.floating)
            ):
                raise ValueError(f"{name} is {x.dtype}: floats are needed, of images in [-1, 1], x / 127.5 - 1")
            if kind is not None:
                _require_range(name, x)
        return batch

    def _hint(self) -> str:
        return "" if self.programs.kinds.needs else "; sampler.inputs(n) makes some"

    def _fitting(self, place: int, x: Any) -> Any:
        kinds, label, _ = self.programs.kinds
        kind = kinds[place]
        array = np.asarray(x) if not isinstance(x, jax.Array) else x
        if place == label:
            array = self._labels(array)
        if array.ndim != kind.ndim or (kind.ndim > 1 and array.shape[-1] != kind.shape[-1]):
            raise ValueError(
                f"the generator takes {_described(kinds)}, and was given {array.shape} for {_described((kind,))}{self._hint()}"
            )
        if jnp.issubdtype(kind.dtype, jnp.floating) and not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"the generator takes {_described((kind,))}, and was given {array.dtype}: floats are needed, of images in [-1, 1], x / 127.5 - 1"
            )
        _require_range("this input", array)
        if jnp.issubdtype(kind.dtype, jnp.integer) and not jnp.issubdtype(array.dtype, jnp.integer):
            raise ValueError(
                f"the generator takes {_described((kind,))}, and was given {array.dtype}: whole numbers are needed"
            )
        return array if isinstance(x, jax.Array) and place != label else np.asarray(array, kind.dtype)

    def _labels(self, labels: Any) -> np.ndarray:
        labels, count = np.asarray(labels), self.spec.classes
        if labels.dtype.kind in "US":
            names = list(self.class_names)
            if unknown := sorted({*labels.ravel().tolist()} - {*names}):
                raise ValueError(
                    f"no class is called {', '.join(map(repr, unknown[:8]))}: there are {', '.join(names)}"
                )
            labels = np.array([names.index(name) for name in labels.ravel().tolist()], np.int32)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < count)).all():
            raise ValueError(f"labels are [b] in [0, {count}); got {labels.shape}, {labels.ravel()[:8].tolist()}")
        return labels


class Draw:
    """A sampler in the form that an experiment's measure takes (`types.Draw`)."""

    def __init__(self, sampler: Sampler, seed: int = 0):
        self.sampler, self._seed = sampler, seed
        self.how: Mapping[str, Any] = {**sampler.how, "sample_seed": seed}
        self.ask: Callable[..., PyTree] = sampler.ask

    def __call__(self, rows: int | Batch, /) -> PyTree:
        return self.sampler.draw(rows, self._seed)


def _seed(seed: int) -> np.uint32:
    """Raises ValueError for what is no seed: a fraction would be cut off without a word."""
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r}: a whole number from 0 to 2**32 - 1")
    return np.uint32(seed)


def _require_range(what: str, x: Any) -> None:
    """Raises ValueError for images, arrays of rank 3 or more, with an absolute value of FAR or more, or NaN."""
    if np.ndim(x) > 2 and jnp.issubdtype(x.dtype, jnp.floating) and np.size(x):
        low, high = float(x.min()), float(x.max())
        if not max(-low, high) < FAR:
            raise ValueError(f"{what} has values from {low:g} to {high:g}: images lie in [-1, 1], x / 127.5 - 1")


def weights(ema_decay: Any) -> str:
    """Returns the "weights" of a protocol for a recipe with this decay of the average: raw without one."""
    return "raw" if isinstance(ema_decay, (int, float)) and ema_decay == 0 else "averaged (EMA)"


def _require_inputs(this_game: game.Game) -> Callable[..., tuple]:
    if this_game.inputs is None:
        raise UserError("this game makes no samples: it has no `inputs`")
    return this_game.inputs


def _host(tree: PyTree) -> PyTree:
    return jax.tree.map(np.asarray, tree)


def _joined(parts: list[PyTree], rows: int) -> PyTree:
    return jax.tree.map(lambda *x: np.concatenate(x)[:rows], *parts)


def _chunks(tree: PyTree) -> Iterator[PyTree]:
    """Yields CHUNK rows at a time; a short last chunk repeats its last row, so that one program is compiled."""
    rows = rows_of(tree)
    size = min(rows, CHUNK)
    for begin in range(0, rows, size):
        part = jax.tree.map(lambda x, begin=begin: np.asarray(x[begin : begin + size]), tree)
        missing = size - rows_of(part)
        yield (
            jax.tree.map(lambda x, missing=missing: np.concatenate([x, np.repeat(x[-1:], missing, 0)]), part)
            if missing
            else part
        )


def _described(kinds: tuple[Any, ...]) -> str:
    return " and ".join(f"[b{''.join(f' {n}' for n in kind.shape[1:])}] {jnp.dtype(kind.dtype).name}" for kind in kinds)
