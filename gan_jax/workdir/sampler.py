"""A trained generator, and what else its run can be asked: made from the state of a run that trains, or from its work
directory (`gan_jax.workdir.load`).
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
FAR = 8.0  # from [-1, 1], where no image is, and 8-bit values as floats are at once


class Programs:
    """What the samplers of one run call; each is compiled once for a number of rows.

    `game_of(values)` is the run's game, for these values of swept fields, which may be traced. Of a population every array
    of a state has a leading axis of members.
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
        self.game_of, self.spec, self._precision = game_of, spec, precision

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
            """Rows part * chunk, ... of `rows`, of which nothing is known."""
            played, gen = game_of(values), member_of(gen, member)
            inputs = _require_inputs(played)(key_of(seed, folded), spec.blank(rows))
            own = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, part * chunk, chunk), inputs)
            return played.sample(gen.params, gen.stats, *own)

        def inputs_of(batch: Batch | None, seed: Any, values: Any, part: Any, folded: int, rows: int) -> tuple:
            """Of a batch, or of rows of which nothing is known."""
            key = key_of(seed, folded)
            known = spec.blank(rows) if batch is None else batch
            return _require_inputs(game_of(values))(key if batch is None else jax.random.fold_in(key, part), known)

        def sample(gen: game.Average, member: Any, values: Any, *inputs: Any) -> PyTree:
            gen = member_of(gen, member)
            return game_of(values).sample(gen.params, gen.stats, *inputs)

        @functools.cache
        def view(name: str) -> Callable:
            def asked(state: game.State, member: Any, values: Any, *inputs: Any) -> PyTree:
                return game_of(values).views[name](member_of(state, member), *inputs)

            return compiled(asked)

        self.draw = compiled(draw, "folded", "chunk", "rows")
        self.inputs = compiled(inputs_of, "folded", "rows")
        self.sample = compiled(sample)
        self.view = view

    @functools.cached_property
    def kinds(self) -> "Kinds":
        """What `sample` takes, of one row."""
        batch = dict(self.spec.blank(1))
        with arithmetic(self._precision, "float32"):
            made = _require_inputs(self.game_of({}))(jax.random.key(0), batch)
        whose = [next((name for name, y in batch.items() if x is y), "") for x in made]
        label = whose.index("label") if "label" in whose else None
        return Kinds(
            tuple(jax.typeof(x) for x in made), label, tuple(name for name in whose if name not in ("", "label"))
        )


class Kinds(NamedTuple):
    """What a generator is given, each [b ...]."""

    arrays: tuple[Any, ...]
    label: int | None  # which of them is the batch's label as it is
    needs: tuple[str, ...]  # arrays of the batch that are handed on as they are: images to translate


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A trained generator: `sampler(*inputs)` are samples [b ...] as float32, images in [-1, 1].

    What a caller leaves out at the end are the inputs of `sampler.inputs(rows)`: of a conditional generator the classes in
    turn. `sampler.draw(n)` are n samples from noise that is the same every time, as a run's pictures and measures take
    them; `sampler.ask(view, ...)` asks the game's other networks.
    """

    programs: Programs = dataclasses.field(repr=False)
    generator: game.Average = dataclasses.field(repr=False)  # what is sampled: averaged, or raw
    state: game.State = dataclasses.field(repr=False)  # its run's
    step: int  # rounds it was trained for
    how: Mapping[str, Any]  # what a protocol says of its samples
    member: int = 0  # of a population, whose arrays have a leading axis of members
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the swept fields
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)  # the flags of its run
    recipe: Any = dataclasses.field(default=None, repr=False)  # as its experiment builds it
    data_digest: str = ""  # of the data as they were

    @property
    def spec(self) -> Spec:
        """Of its data."""
        return self.programs.spec

    @property
    def views(self) -> tuple[str, ...]:
        """What `ask` can be asked."""
        return tuple(self.recipe.game.views)

    @property
    def class_names(self) -> tuple[str, ...]:
        """By which labels may be given; their numbers where the data has no names."""
        return tuple(self.spec.meta.get("class_names", ())) or tuple(str(i) for i in range(self.classes))

    @property
    def classes(self) -> int:
        return self.spec.classes if self.programs.kinds.label is not None else 0

    def __call__(self, *inputs: Any) -> PyTree:
        """Samples of these inputs, each [b ...]; labels may be names of classes.

        ValueError for other ranks, last axes or numbers of rows than the generator takes, and for labels that are none of
        the classes. Heights and widths are its own affair: translators take any.
        """
        kinds = self.programs.kinds.arrays
        if not 1 <= len(inputs) <= len(kinds):
            raise ValueError(f"the generator takes {_told(kinds)}; got {len(inputs)} arrays{self._hint()}")
        given = [self._fitting(i, x) for i, x in enumerate(inputs)]
        if len({len(x) for x in given}) > 1:
            raise ValueError(f"inputs must have one number of rows; got {', '.join(str(x.shape) for x in given)}")
        rest = self.inputs(len(given[0]))[len(given) :] if len(given) < len(kinds) else ()
        return _host(self.programs.sample(self.generator, np.int32(self.member), self.values, *given, *rest))

    def inputs(self, rows: int | Batch, seed: int = 0) -> tuple:
        """What `sampler(...)` takes for so many rows, or for the rows of a batch: noise drawn by `seed`, and what the batch
        knows. ValueError for fewer than one row.
        """
        known = self._known(rows)
        count = rows if isinstance(rows, int) else rows_of(rows)
        return self.programs.inputs(known, np.uint32(seed), self.values, np.int32(0), 0, count)

    def latents(self, count: int, seed: int = 0) -> jax.Array:
        """[count z], the first of `inputs`: of a plain generator its noise, from N(0, I)."""
        return self.inputs(count, seed)[0]

    def draw(self, rows: int | Batch, seed: int = 0, folded: int = 0) -> PyTree:
        """Samples of so many rows of which nothing is known, or of the rows of a batch on the host, a part at a time. Their
        noise is that of `seed`, of which `folded` makes another.
        """
        known = self._known(rows)
        own = (np.int32(self.member), np.uint32(seed), self.values)
        # One part after another: of several calls in flight, each of which gathers from all devices, the CPU's threads may
        # take one device's share of each, and wait for ever.
        if known is None:
            assert isinstance(rows, int)
            chunk = min(rows, CHUNK)
            full = -(-rows // chunk) * chunk  # one compiled size
            draw = self.programs.draw
            parts = [_host(draw(self.generator, *own, np.int32(i), folded, chunk, full)) for i in range(full // chunk)]
            return _joined(parts, rows)
        parts = []
        for i, part in enumerate(_chunks(known)):
            inputs = self.programs.inputs(part, np.uint32(seed), self.values, np.int32(i), folded, rows_of(part))
            parts.append(_host(self.programs.sample(self.generator, own[0], self.values, *inputs)))
        return _joined(parts, rows_of(known))

    def zeros(self, rows: int | Batch) -> PyTree:
        """What `draw` gives, in shape and type, all 0: without drawing. ValueError as there."""
        known = self._known(rows)
        count = rows if isinstance(rows, int) else rows_of(rows)

        def drawn(gen: game.Average) -> PyTree:
            inputs = self.programs.inputs(known, np.uint32(0), self.values, np.int32(0), 0, count)
            return self.programs.sample(gen, np.int32(self.member), self.values, *inputs)

        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(drawn, self.generator))

    def ask(self, view: str, *inputs: Any) -> PyTree:
        """What the game's view of that name makes of the inputs, each [b ...], a part at a time; `state.gen` is then what
        is sampled, `state.disc` D as it was trained. UserError where the game has no such view.
        """
        views = self.recipe.game.views
        if view not in views:
            raise UserError(
                f"this game has no view {view!r}: there are {', '.join(views) or 'none'}; what G makes is sampler(...) itself"
            )
        gen, disc = (game.Player(params=x.params, stats=x.stats, opt=()) for x in (self.generator, self.state.disc))
        seen = self.state.replace(gen=gen, disc=disc)
        counts = {len(x) for x in jax.tree.leaves(inputs)}
        if len(counts) != 1:
            raise ValueError(f"what a view is asked are arrays of one number of rows; got {sorted(counts) or 'none'}")
        for x in jax.tree.leaves(inputs):
            _require_near(view, x)
            if np.ndim(x) > 2 and not jnp.issubdtype(x.dtype, jnp.floating):  # no codes, which are [b] or [b n]
                raise ValueError(f"{view} was given {x.dtype}: floats are needed, of images in [-1, 1], x / 127.5 - 1")
        call = self.programs.view(view)
        parts = [_host(call(seen, np.int32(self.member), self.values, *part)) for part in _chunks(tuple(inputs))]
        if any(np.ndim(x) == 0 for x in jax.tree.leaves(parts[0])):
            raise ValueError(
                f"the view {view!r} gave a scalar: a view gives arrays [b ...], one row for each it is asked"
            )
        return _joined(parts, rows_of(tuple(inputs)))

    def with_generator(self, generator: game.Average) -> "Sampler":
        """The same with other parameters and statistics, such as `evaluation.batch_norm.standing` makes."""
        return dataclasses.replace(self, generator=generator)

    def _known(self, rows: int | Batch) -> Batch | None:
        """The batch; None of a number of rows of which nothing is known. ValueError for less than one row, for whole numbers
        where the data are floats (0 to 255 would be taken for [-1, 1]), and for a number where images are needed.
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
            if kind and jnp.issubdtype(kind.dtype, jnp.floating) and not jnp.issubdtype(x.dtype, jnp.floating):
                raise ValueError(f"{name} is {x.dtype}: floats are needed, of images in [-1, 1], x / 127.5 - 1")
            if kind:
                _require_near(name, x)
        return batch

    def _hint(self) -> str:
        return "" if self.programs.kinds.needs else "; sampler.inputs(n) makes some"

    def _fitting(self, place: int, x: Any) -> Any:
        kinds, label, _ = self.programs.kinds
        kind = kinds[place]
        known = np.asarray(x) if not isinstance(x, jax.Array) else x
        if place == label:
            known = self._labels(known)
        if known.ndim != kind.ndim or (kind.ndim > 1 and known.shape[-1] != kind.shape[-1]):
            raise ValueError(
                f"the generator takes {_told(kinds)}, and was given {known.shape} for {_told((kind,))}{self._hint()}"
            )
        if jnp.issubdtype(kind.dtype, jnp.floating) and not jnp.issubdtype(known.dtype, jnp.floating):
            raise ValueError(
                f"the generator takes {_told((kind,))}, and was given {known.dtype}: floats are needed, of images in [-1, 1], x / 127.5 - 1"
            )
        _require_near("this input", known)
        if jnp.issubdtype(kind.dtype, jnp.integer) and not jnp.issubdtype(known.dtype, jnp.integer):
            raise ValueError(
                f"the generator takes {_told((kind,))}, and was given {known.dtype}: whole numbers are needed"
            )
        return known if isinstance(x, jax.Array) and place != label else np.asarray(known, kind.dtype)

    def _labels(self, known: Any) -> np.ndarray:
        known, count = np.asarray(known), self.spec.classes
        if known.dtype.kind in "US":
            names = list(self.spec.meta.get("class_names", ())) or [str(i) for i in range(count)]
            if unknown := sorted({*known.ravel().tolist()} - {*names}):
                raise ValueError(
                    f"no class is called {', '.join(map(repr, unknown[:8]))}: there are {', '.join(names)}"
                )
            known = np.array([names.index(name) for name in known.ravel().tolist()], np.int32)
        if known.ndim != 1 or known.dtype.kind not in "iu" or not ((known >= 0) & (known < count)).all():
            raise ValueError(f"labels are [b] in [0, {count}); got {known.shape}, {known.ravel()[:8].tolist()}")
        return known


class Draw:
    """A sampler as an experiment's measure is given it (`types.Draw`)."""

    def __init__(self, sampler: Sampler, seed: int = 0):
        self._sampler, self._seed = sampler, seed
        self.how: Mapping[str, Any] = {**sampler.how, "sample_seed": seed}
        self.ask: Callable[..., PyTree] = sampler.ask

    def __call__(self, rows: int | Batch, /) -> PyTree:
        return self._sampler.draw(rows, self._seed)


def _require_near(what: str, x: Any) -> None:
    """ValueError for images, arrays of rank 3 and more, of which some values lie FAR outside [-1, 1]."""
    if np.ndim(x) > 2 and jnp.issubdtype(x.dtype, jnp.floating) and np.size(x):
        low, high = float(x.min()), float(x.max())
        if not max(-low, high) < FAR:
            raise ValueError(f"{what} has values from {low:g} to {high:g}: images lie in [-1, 1], x / 127.5 - 1")


def weights(ema_decay: Any) -> str:
    """What a protocol says of a generator whose recipe averages so."""
    return "raw" if isinstance(ema_decay, (int, float)) and ema_decay == 0 else "averaged (EMA)"


def _require_inputs(played: game.Game) -> Callable[..., tuple]:
    if played.inputs is None:
        raise UserError("this game makes no samples: it has no `inputs`")
    return played.inputs


def _host(tree: PyTree) -> PyTree:
    return jax.tree.map(np.asarray, tree)


def _joined(parts: list[PyTree], rows: int) -> PyTree:
    return jax.tree.map(lambda *x: np.concatenate(x)[:rows], *parts)


def _chunks(tree: PyTree) -> Iterator[PyTree]:
    """CHUNK rows at a time; a short last one repeats its last row, so that one program serves all."""
    rows = rows_of(tree)
    size = min(rows, CHUNK)
    for begin in range(0, rows, size):
        part = jax.tree.map(lambda x, begin=begin: np.asarray(x[begin : begin + size]), tree)
        lacks = size - rows_of(part)
        yield (
            jax.tree.map(lambda x, lacks=lacks: np.concatenate([x, np.repeat(x[-1:], lacks, 0)]), part)
            if lacks
            else part
        )


def _told(kinds: tuple[Any, ...]) -> str:
    return " and ".join(f"[b{''.join(f' {n}' for n in kind.shape[1:])}] {jnp.dtype(kind.dtype).name}" for kind in kinds)
