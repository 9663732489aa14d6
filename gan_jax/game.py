"""A GAN as a game of pure functions; `make_update` compiles one round of it: the D steps and the G step.

`Game` is to GANs what `optax.GradientTransformation(init, update)` is to optimisers. This module knows no losses, no
networks and no data.
"""

import collections
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Concatenate, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from gan_jax.system import mesh
from gan_jax.types import Batch, Key, Metrics, PyTree

# The functions of a `Game`; `...` in a type stands for `*fake`, none or one tree, and for `*inputs`.
LossResult = tuple[jax.Array, tuple[PyTree, PyTree, Metrics]]  # loss, (stats, aux, metrics)
GameLoss = Callable[Concatenate[PyTree, "State", Batch, Key, ...], LossResult]  # of (params, state, batch, key, *fake)
Sample = Callable[Concatenate[PyTree, PyTree, ...], PyTree]  # (params, stats, *inputs) -> samples, in evaluation mode
Fakes = Callable[[PyTree, "State", Batch, Key], tuple[PyTree, PyTree]]  # like a loss -> fakes, stats of G
View = Callable[Concatenate["State", ...], PyTree]  # (state, *inputs) -> a tree of [b ...]


class Game(NamedTuple):
    """The pure functions that define a game. A loss is differentiated with respect to its first argument; all others
    are data, so nothing has to be detached (`stop_gradient`).

    With `fakes`, the fakes of the last D step of a round are generated once, and used by both players: D's loss takes
    them as data; G's loss is differentiated with respect to them as well, and that gradient is propagated back through
    the pass that generated them. Both losses then have the fakes as their fifth argument, and G's loss returns
    state.gen.stats unchanged, since that pass has updated them. The fakes may be a tree, also with integer arrays, such
    as codes that both losses read. In a game without `fakes` each loss generates its own, anew for each player.

    `inputs` returns the arguments of `sample`: what the batch holds for its rows (labels, images to translate), the
    rest random. All randomness of `sample` is in them. None: the game has no samples. `views` are other functions of a
    trained state: D's classes, an encoder, the other direction; G in their state is the averaged one.
    """

    init: Callable[[Key, Batch], tuple[PyTree, PyTree, PyTree]]  # -> linen variables of G, of D, and aux
    disc_loss: GameLoss
    gen_loss: GameLoss
    sample: Sample
    fakes: Fakes | None = None
    inputs: Callable[[Key, Batch], tuple] | None = None  # -> the inputs of `sample`, each [b ...]
    views: Mapping[str, View] = MappingProxyType({})
    parts: int = 1  # number of microbatches into which the losses split a batch, as set by --accumulate


class Player(flax.struct.PyTreeNode):
    """One player: parameters, statistics (batch-norm averages, spectral-norm vectors), and state of its optimiser."""

    params: PyTree
    stats: PyTree
    opt: optax.OptState


class Average(flax.struct.PyTreeNode):
    """The averaged generator, with averaged statistics too: averaged weights with the batch-norm averages of the raw
    ones would be a third network.
    """

    params: PyTree
    stats: PyTree


class State(flax.struct.PyTreeNode):
    """Everything that a run needs to continue: arrays only, no functions and no keys."""

    step: jax.Array  # int32, number of rounds played
    gen: Player
    disc: Player
    ema: Average
    aux: PyTree  # state of the losses themselves; {} if they have none


class Step(NamedTuple):
    """The results of one player's step, for inspection."""

    side: str  # "gen" or "disc"
    metrics: Metrics  # of the loss
    grads: PyTree
    player: Player  # after the step


def half_life(images: float, batch_size: int, ramp_up: float | None = 0.05) -> float | Callable[[jax.Array], jax.Array]:
    """Returns the decay of an average with a half-life in images: step -> 1/2^(batch_size / h), where h is `images`, or
    `ramp_up` times the number of images before this step where that is less (None: no ramp-up). With ramp-up the first
    decay is 0, so the average starts as the first new parameters.

    `images` = 0 is no averaging; the decay is then the number 0.0. `batch_size` is the number of real images in a
    round. Raises ValueError where an argument is out of range. Karras et al. 2020, arXiv:2006.06676, their `ema_kimg`
    and `ema_rampup`.
    """
    # An array is a value of a sweep, which was checked before.
    if (
        batch_size < 1
        or (not isinstance(images, jax.Array) and not images >= 0)
        or (ramp_up is not None and not ramp_up >= 0)
    ):
        raise ValueError(
            f"a half-life of {images} images with batches of {batch_size} and ramp-up {ramp_up}: they must be at least 0, 1 and 0"
        )

    if not isinstance(images, jax.Array) and images == 0:
        return 0.0

    def decay(step: jax.Array) -> jax.Array:
        span = jnp.float32(images)
        if ramp_up is not None:
            span = jnp.minimum(span, ramp_up * batch_size * step.astype(jnp.float32))
        return jnp.where(span > 0, 0.5 ** (batch_size / jnp.maximum(span, 1e-8)), 0.0)

    return decay


def init(
    game: Game,
    gen_tx: optax.GradientTransformation,
    disc_tx: optax.GradientTransformation,
    key: Key,
    batch: Batch,
    precision: str = "float32",
) -> State:
    """Returns the state before the first round, for batches like `batch`. The average starts as a copy of the
    generator.

    With `precision` "float64" every floating-point array is float64; otherwise arrays keep the types of the networks,
    which is float32. Raises ValueError where `game.init` returns no linen variables, and for float64 without
    jax_enable_x64.
    """
    gen_vars, disc_vars, aux = game.init(key, batch)
    if precision == "float64":
        gen_vars, disc_vars, aux = in_float64((gen_vars, disc_vars, aux))

    def player(side: str, variables: PyTree, tx: optax.GradientTransformation) -> Player:
        if not isinstance(variables, Mapping) or "params" not in variables:
            names = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
            raise ValueError(f'init must give linen variables, {{"params": ...}}, of each side; {side} has {names}')
        stats = {name: tree for name, tree in variables.items() if name != "params"}
        return Player(params=variables["params"], stats=stats, opt=tx.init(variables["params"]))

    gen = player("gen", gen_vars, gen_tx)
    # A copy, not the same buffers: the update donates its input, and one buffer cannot be donated twice.
    ema = jax.tree.map(jnp.copy, Average(params=gen.params, stats=gen.stats))
    disc = player("disc", disc_vars, disc_tx)
    return State(step=jnp.zeros((), jnp.int32), gen=gen, disc=disc, ema=ema, aux=aux)


def in_float64(tree: PyTree) -> PyTree:
    """Returns the tree with its floating-point arrays in float64. Raises ValueError without jax_enable_x64."""
    if jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64:
        raise ValueError('float64 needs 64-bit JAX: jax.config.update("jax_enable_x64", True) comes first')

    def to_float64(x: jax.Array) -> jax.Array:
        return jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(to_float64, tree)


def make_update(
    game: Game, gen_tx: optax.GradientTransformation, disc_tx: optax.GradientTransformation, **options: Any
) -> Callable[[State, Batch, Key], tuple[State, Metrics]]:
    """Returns `update(state, batch, key) -> (state, metrics)`: a round of `make_round` with these options, compiled.
    The given state is donated; use the returned one.
    """
    play = make_round(game, gen_tx, disc_tx, **options)
    return jax.jit(lambda state, batch, key: play(state, batch, key)[:2], donate_argnums=0)


def make_round(
    game: Game,
    gen_tx: optax.GradientTransformation,
    disc_tx: optax.GradientTransformation,
    *,
    n_disc: int = 1,
    ema_decay: float | Callable[[jax.Array], jax.Array] = 0.0,
    simultaneous: bool = False,
    shard: bool = False,
) -> Callable[[State, Batch, Key], tuple[State, Metrics, list[Step]]]:
    """Returns `play(state, batch, key) -> (state, metrics, steps)`, one round: `n_disc` D steps, then a G step against
    the new D.

    Every leaf of `batch` has n_disc * b rows: D's step i takes rows i, i + n_disc, ... (interleaved, so that rows that
    are split over devices stay where they are), and G's step the same rows as D's last. `key` is that of the run, the
    same in every round: the step is folded in. With `simultaneous`, G plays against D as it was before its (last) step,
    as studies of the dynamics need it. With `shard`, gradients are split over devices like a split state
    (`mesh.layout`).

    `ema_decay` is a number in [0, 1] or a function of the step, as from `half_life`. After the round, ema <- decay ema
    + (1 - decay) new; 0 keeps it equal to the new parameters. Integers, and statistics in a collection called
    "buffers", are copied. `metrics` are those of the last D step and the G step; `steps` are all steps in order. Raises
    ValueError for an `ema_decay` or `n_disc` out of range; `play` does for a number of rows that n_disc does not
    divide, and for a loss that does not return what `Game` requires.
    """
    if not callable(ema_decay) and not isinstance(ema_decay, jax.Array) and not 0 <= ema_decay <= 1:
        raise ValueError(f"ema_decay is in [0, 1], or a function of the step; got {ema_decay}")
    if n_disc < 1:
        raise ValueError(f"n_disc is the discriminator's steps in a round, at least 1; got {n_disc}")

    def make_fakes(state: State, batch: Batch, key: Key) -> tuple[list[Any], PyTree, Callable | None]:
        """The fakes, [] where each loss generates its own; the statistics after that pass; and its pullback."""
        if game.fakes is None:
            return [], state.gen.stats, None
        seen, fakes = mesh.gather(state), game.fakes
        fake, pullback, stats = jax.vjp(
            lambda params: fakes(mesh.gather(params), seen, batch, key), state.gen.params, has_aux=True
        )
        _require_same_arrays("fakes", "its stats are not those of state.gen", state.gen.stats, stats)
        return [fake], stats, lambda cotangent: pullback(cotangent)[0]

    def step_of(
        side: str, state: State, against: State, batch: Batch, key: Key, fake: list, pullback: Callable | None
    ) -> Any:
        """The state after the step, and the Step."""
        loss, tx = (game.disc_loss, disc_tx) if side == "disc" else (game.gen_loss, gen_tx)
        player: Player = getattr(state, side)
        seen = mesh.gather(against)
        (grads, *cotangents), (stats, aux, metrics) = jax.grad(
            lambda params, *fake: _checked(side, loss(mesh.gather(params), seen, batch, key, *fake), player, state.aux),
            argnums=(0, 1) if pullback else (0,),
            has_aux=True,
            allow_int=True,  # for integer arrays in the fakes
        )(player.params, *fake)
        if pullback:
            grads = jax.tree.map(jnp.add, grads, pullback(*cotangents))
        grads = mesh.scatter(grads) if shard else grads
        updates, opt = tx.update(grads, player.opt, player.params)
        player = player.replace(params=optax.apply_updates(player.params, updates), stats=stats, opt=opt)
        return state.replace(**{side: player}, aux=aux), Step(side, metrics, grads, player)

    def play(state: State, batch: Batch, key: Key) -> tuple[State, Metrics, list[Step]]:
        _require_rows(batch, n_disc)
        *keys, gen_key = jax.random.split(jax.random.fold_in(key, state.step), 2 * n_disc + 1)
        batches = [jax.tree.map(lambda leaf, i=i: leaf[i::n_disc], batch) for i in range(n_disc)]
        steps: list[Step] = []
        # A Python loop: n_disc is small, and XLA optimises the steps together.
        for part, step_key, fakes_key in zip(batches, keys[:n_disc], keys[n_disc:], strict=True):
            before = state
            fake, stats, pullback = make_fakes(state, part, fakes_key)
            state, step = step_of("disc", state, state, part, step_key, fake, None)
            steps.append(step)
        state = state.replace(gen=state.gen.replace(stats=stats))
        against = state.replace(disc=before.disc) if simultaneous else state
        state, step = step_of("gen", state, against, batches[-1], gen_key, fake, pullback)
        if both := step.metrics.keys() & steps[-1].metrics.keys():
            raise ValueError(f"both losses tell {', '.join(sorted(both))}: one would hide the other")
        decay = ema_decay(state.step) if callable(ema_decay) else ema_decay
        ema = _averaged(state.ema, state.gen, decay)
        metrics = {**steps[-1].metrics, **step.metrics}
        return state.replace(step=state.step + 1, ema=ema), metrics, [*steps, step]

    return play


def _averaged(ema: Average, gen: Player, decay: float | jax.Array) -> Average:
    def follow(old: jax.Array, now: jax.Array) -> jax.Array:
        # An averaged counter would be at a step that was never played.
        if not jnp.issubdtype(now.dtype, jnp.floating):
            return now
        d = jnp.asarray(decay, jnp.promote_types(now.dtype, jnp.float32))
        return (d * old + (1 - d) * now).astype(now.dtype)

    params = jax.tree.map(follow, ema.params, gen.params)
    stats = {
        name: now if name == "buffers" else jax.tree.map(follow, ema.stats[name], now)
        for name, now in gen.stats.items()
    }
    return Average(params=params, stats=stats)


def _require_rows(batch: Batch, n_disc: int) -> None:
    rows = {name: {x.shape[0] for x in jax.tree.leaves(leaf)} for name, leaf in batch.items()}
    counts = collections.Counter(count for sizes in rows.values() for count in sizes)
    if len(counts) > 1:
        described = " and ".join(f"{name} {' or '.join(map(str, sorted(sizes)))}" for name, sizes in rows.items())
        raise ValueError(f"every array of a batch has as many rows; got {described} rows")
    if any(count % n_disc for count in counts):
        raise ValueError(
            f"a round of {n_disc} D steps needs batches whose rows are one multiple of {n_disc}; got {sorted(counts)} rows"
        )


def _checked(side: str, result: Any, player: Player, aux: PyTree) -> Any:
    """The result of a loss; ValueError unless it is `loss, (stats, aux, metrics)`, stats and aux shaped as before."""
    name = f"{side}_loss"
    form = f"{name} must return (loss, (stats, aux, metrics))"
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], tuple) and len(result[1]) == 3):
        raise ValueError(f"{form}; got {jax.tree.structure(result)}")
    loss, (stats, new_aux, metrics) = result
    if jnp.shape(loss):
        raise ValueError(f"{form}, the loss a scalar; its shape is {list(jnp.shape(loss))}")
    if not isinstance(metrics, Mapping):
        raise ValueError(f"{form}, metrics by name; got {type(metrics).__name__}")
    for key, value in metrics.items():
        if jnp.shape(value):
            raise ValueError(f"metrics are scalars; {key} of {name} has the shape {list(jnp.shape(value))}")
    _require_same_arrays(name, f"its stats are not those of state.{side}", player.stats, stats)
    _require_same_arrays(name, "aux is not what it was", aux, new_aux)
    return result


def _require_same_arrays(who: str, complaint: str, began: PyTree, now: PyTree) -> None:
    """ValueError unless a tree has the names, types and shapes that it began with, as a loop of rounds needs."""
    before, after = ({_path_name(path): x for path, x in jax.tree.leaves_with_path(tree)} for tree in (began, now))
    if before.keys() != after.keys():
        difference = f"{', '.join(sorted(after)) or 'nothing'} instead of {', '.join(sorted(before)) or 'nothing'}"
        raise ValueError(f"{who}: {complaint}: {difference}")
    for path, old in before.items():
        was, became = jax.typeof(old), jax.typeof(after[path])
        if (was.dtype, was.shape) != (became.dtype, became.shape):
            raise ValueError(f"{who}: {complaint}: {path} is {became.str_short()}, and began as {was.str_short()}")


def _path_name(path: Any) -> str:
    return jax.tree_util.keystr(path)
