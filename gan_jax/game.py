"""A GAN is a game of a few pure functions; `make_update` makes one compiled round of it: the D steps and the G step.

What `optax.GradientTransformation(init, update)` is to optimisers, `Game` is here. It knows no loss, no network and no
data.
"""

import collections
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from gan_jax.system import mesh
from gan_jax.types import Batch, Key, Metrics, PyTree


class Game(NamedTuple):
    """Four pure functions, and what some games have beside them. The differentiated argument stands first; everything else
    is data, so nothing has to be detached.

    With `fakes`, what G makes for D's last step of a round is made once for both players: D's loss takes it as data, G's is
    differentiated with respect to it as well, and the gradient is handed on through the pass that made it. Both losses are
    then called with it: (params, state, batch, key, fake); the statistics that G's returns are state.gen.stats, which that
    pass has made. It may be a tree, also with whole numbers, such as codes that both losses read. A game without `fakes`
    draws its own in each loss, anew for each player.

    `inputs` says what `sample` is given: what the batch knows of its rows (labels, images to translate), the rest drawn. All
    randomness of `sample` is one of them. None: the game makes no samples. `views` are what else can be asked of a trained
    state: D's classes, an encoder, the other direction; G's side of that state is the averaged one.
    """

    init: Callable[
        [Key, Batch], tuple[PyTree, PyTree, PyTree]
    ]  # -> linen variables of the generator's side, of the discriminator's, and aux
    disc_loss: Callable[..., Any]  # (params, state, batch, key) -> loss, (stats, aux, metrics)
    gen_loss: Callable[..., Any]  # the same call
    sample: Callable[..., Any]  # (params, stats, *inputs) -> what the generator makes, a tree, in evaluation mode
    fakes: Callable[..., Any] | None = None  # (params of G, state, batch, key) -> what G makes, stats
    inputs: Callable[[Key, Batch], tuple] | None = None  # -> what `sample` is given, each [b ...]
    views: Mapping[str, Callable[..., Any]] = MappingProxyType({})  # name -> (state, *inputs) -> a tree of [b ...]
    parts: int = 1  # into how many microbatches the losses split a batch, as --accumulate asks for


class Player(flax.struct.PyTreeNode):
    """One side: what it learns, what it remembers (batch-norm means, spectral-norm vectors), and its optimiser."""

    params: PyTree
    stats: PyTree
    opt: optax.OptState


class Average(flax.struct.PyTreeNode):
    """The averaged generator, its running statistics included: averaged weights with the raw ones' batch-norm means
    would be a third network.
    """

    params: PyTree
    stats: PyTree


class State(flax.struct.PyTreeNode):
    """Everything a run needs to go on: arrays only, no functions and no keys."""

    step: jax.Array  # int32, rounds played
    gen: Player
    disc: Player
    ema: Average
    aux: PyTree  # what a loss carries from step to step; {} if nothing


class Step(NamedTuple):
    """What one player's step leaves to be looked at."""

    side: str  # "gen" or "disc"
    metrics: Metrics  # of its loss
    grads: PyTree
    player: Player  # after it


def half_life(images: float, batch_size: int, ramp_up: float | None = 0.05) -> float | Callable[[jax.Array], jax.Array]:
    """The decay of an average whose memory is counted in images: step -> 1/2^(batch_size / half-life), the half-life
    being `images`, or `ramp_up` times the images seen before this step, where that is less (None: no ramp-up). With
    ramp-up the first decay is 0: the average is the first new parameters.

    `images` = 0 is no memory: the average is the new parameters, and the decay the number 0.0. `batch_size` is the real images of one round. Karras
    et al. 2020, arXiv:2006.06676, their `ema_kimg` and `ema_rampup`.
    """
    # An array is one of a sweep's values, which were checked before.
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
    """Returns the state before the first round, for batches like `batch`. The average starts as a copy of the generator.

    With `precision` "float64" every floating array is float64; with any other all stay as the networks made them, which
    is float32. Raises ValueError where `game.init` gives no linen variables, and for float64 without jax_enable_x64.
    """
    gen_vars, disc_vars, aux = game.init(key, batch)
    if precision == "float64":
        gen_vars, disc_vars, aux = in_float64((gen_vars, disc_vars, aux))

    def player(side: str, variables: PyTree, tx: optax.GradientTransformation) -> Player:
        if not isinstance(variables, Mapping) or "params" not in variables:
            found = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
            raise ValueError(f'init must give linen variables, {{"params": ...}}, of each side; {side} has {found}')
        stats = {name: tree for name, tree in variables.items() if name != "params"}
        return Player(params=variables["params"], stats=stats, opt=tx.init(variables["params"]))

    gen = player("gen", gen_vars, gen_tx)
    # A copy, not the same buffers: the update donates its input, and one buffer cannot be given away twice.
    ema = jax.tree.map(jnp.copy, Average(params=gen.params, stats=gen.stats))
    disc = player("disc", disc_vars, disc_tx)
    return State(step=jnp.zeros((), jnp.int32), gen=gen, disc=disc, ema=ema, aux=aux)


def in_float64(tree: PyTree) -> PyTree:
    """Returns the tree with its floating arrays in float64. Raises ValueError without jax_enable_x64."""
    if jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64:
        raise ValueError('float64 needs 64-bit JAX: jax.config.update("jax_enable_x64", True) comes first')

    def wide(x: jax.Array) -> jax.Array:
        return jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(wide, tree)


def make_update(
    game: Game, gen_tx: optax.GradientTransformation, disc_tx: optax.GradientTransformation, **options: Any
) -> Callable[[State, Batch, Key], tuple[State, Metrics]]:
    """`update(state, batch, key) -> (state, metrics)`: `make_round` with these options, compiled. The state given is
    donated, so use the one returned.
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
    """`play(state, batch, key) -> (state, metrics, steps)`, one round: `n_disc` steps of D, then one of G against the new D.

    Every leaf of `batch` has n_disc * b rows: D's step i takes rows i, i + n_disc, ... (interleaved, so that rows split
    over devices stay where they are), and G's step the same rows as D's last. `key` is the run's, the same every round:
    the step is folded in. `ema_decay` is a number in [0, 1] or a function of the step, as `half_life` makes; the
    average follows the new parameters: ema <- decay ema + (1 - decay) new; 0 keeps it equal to them. Whole numbers, and
    statistics in a collection called "buffers", are copied. With `simultaneous`, G moves against the D that stood before
    its (last) step, as studies of the dynamics need it. The metrics are those of the last D step and the G step; `steps`
    are all of them, in order. With `shard`, gradients are split over the devices like a state that is (`mesh.layout`).

    ValueError for rows that are not a multiple of n_disc, and for losses that do not keep to the contract.
    """
    if not callable(ema_decay) and not isinstance(ema_decay, jax.Array) and not 0 <= ema_decay <= 1:
        raise ValueError(f"ema_decay is in [0, 1], or a function of the step; got {ema_decay}")
    if n_disc < 1:
        raise ValueError(f"n_disc is the discriminator's steps in a round, at least 1; got {n_disc}")

    def made(state: State, batch: Batch, key: Key) -> tuple[list[Any], PyTree, Callable | None]:
        """What G makes, [] where each loss makes its own; the statistics of that pass; and the way back through it."""
        if game.fakes is None:
            return [], state.gen.stats, None
        seen, fakes = mesh.gather(state), game.fakes
        fake, back, stats = jax.vjp(
            lambda params: fakes(mesh.gather(params), seen, batch, key), state.gen.params, has_aux=True
        )
        _require_kept("fakes", "its stats are not those of state.gen", state.gen.stats, stats)
        return [fake], stats, lambda slope: back(slope)[0]

    def step_of(
        side: str, state: State, against: State, batch: Batch, key: Key, fake: list, back: Callable | None
    ) -> Any:
        """(the state after the step, the Step)"""
        loss, tx = (game.disc_loss, disc_tx) if side == "disc" else (game.gen_loss, gen_tx)
        player: Player = getattr(state, side)
        seen = mesh.gather(against)
        (grads, *slopes), (stats, aux, metrics) = jax.grad(
            lambda params, *fake: _checked(side, loss(mesh.gather(params), seen, batch, key, *fake), player, state.aux),
            argnums=(0, 1) if back else (0,),
            has_aux=True,
            allow_int=True,  # in the fakes' tree
        )(player.params, *fake)
        if back:
            grads = jax.tree.map(jnp.add, grads, back(*slopes))
        grads = mesh.scatter(grads) if shard else grads
        updates, opt = tx.update(grads, player.opt, player.params)
        player = player.replace(params=optax.apply_updates(player.params, updates), stats=stats, opt=opt)
        return state.replace(**{side: player}, aux=aux), Step(side, metrics, grads, player)

    def play(state: State, batch: Batch, key: Key) -> tuple[State, Metrics, list[Step]]:
        _require_rows(batch, n_disc)
        *keys, gen_key = jax.random.split(jax.random.fold_in(key, state.step), 2 * n_disc + 1)
        batches = [jax.tree.map(lambda leaf, i=i: leaf[i::n_disc], batch) for i in range(n_disc)]
        steps: list[Step] = []
        # Unrolled: n_disc is small, and XLA plans the steps together.
        for mine, step_key, fakes_key in zip(batches, keys[:n_disc], keys[n_disc:], strict=True):
            before = state
            fake, stats, back = made(state, mine, fakes_key)
            state, step = step_of("disc", state, state, mine, step_key, fake, None)
            steps.append(step)
        state = state.replace(gen=state.gen.replace(stats=stats))
        against = state.replace(disc=before.disc) if simultaneous else state
        state, step = step_of("gen", state, against, batches[-1], gen_key, fake, back)
        if both := step.metrics.keys() & steps[-1].metrics.keys():
            raise ValueError(f"both losses tell {', '.join(sorted(both))}: one would hide the other")
        decay = ema_decay(state.step) if callable(ema_decay) else ema_decay
        ema = _averaged(state.ema, state.gen, decay)
        metrics = {**steps[-1].metrics, **step.metrics}
        return state.replace(step=state.step + 1, ema=ema), metrics, [*steps, step]

    return play


def _averaged(ema: Average, gen: Player, decay: float | jax.Array) -> Average:
    def follow(old: jax.Array, now: jax.Array) -> jax.Array:
        # A counter that is averaged stands at a step that nobody has played.
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
    counts = collections.Counter(count for found in rows.values() for count in found)
    if len(counts) > 1:
        told = " and ".join(f"{name} {' or '.join(map(str, sorted(found)))}" for name, found in rows.items())
        raise ValueError(f"every array of a batch has as many rows; got {told} rows")
    if any(count % n_disc for count in counts):
        raise ValueError(
            f"a round of {n_disc} D steps needs batches whose rows are one multiple of {n_disc}; got {sorted(counts)} rows"
        )


def _checked(side: str, result: Any, player: Player, aux: PyTree) -> Any:
    """What a loss has returned; ValueError where it is not `loss, (stats, aux, metrics)` with everything as it was."""
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
    _require_kept(name, f"its stats are not those of state.{side}", player.stats, stats)
    _require_kept(name, "aux is not what it was", aux, new_aux)
    return result


def _require_kept(who: str, said: str, began: PyTree, now: PyTree) -> None:
    """ValueError unless a tree has the arrays, kinds and shapes that it began with: a loop carries it on."""
    before, after = ({_words(path): x for path, x in jax.tree.leaves_with_path(tree)} for tree in (began, now))
    if before.keys() != after.keys():
        told = f"{', '.join(sorted(after)) or 'nothing'} instead of {', '.join(sorted(before)) or 'nothing'}"
        raise ValueError(f"{who}: {said}: {told}")
    for path, old in before.items():
        was, became = jax.typeof(old), jax.typeof(after[path])
        if (was.dtype, was.shape) != (became.dtype, became.shape):
            raise ValueError(f"{who}: {said}: {path} is {became.str_short()}, and began as {was.str_short()}")


def _words(path: Any) -> str:
    return jax.tree_util.keystr(path)
