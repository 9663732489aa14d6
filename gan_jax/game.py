"""A GAN is a game of a few pure functions; `make_update` makes one compiled round of it: the D steps and the G step.

What `optax.GradientTransformation(init, update)` is to optimisers, `Game` is here. It knows no loss, no network and no
data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from gan_jax.system import mesh
from gan_jax.types import Batch, Key, Metrics, PyTree

# What a round checks, in the order of play: metrics, gradients and new parameters of each side.
CHECKED = ("", "the gradient of disc/", "disc/", "", "the gradient of gen/", "gen/")


class Game(NamedTuple):
    """Four pure functions, or five. The differentiated argument stands first; everything else is data, so nothing has to
    be detached.

    With the fifth, `fakes`, what G makes for D's last step of a round is made once for both players: D's loss takes it as
    data, G's is differentiated with respect to it as well, and the gradient is handed on through the pass that made it.
    Both losses are then called with it: (params, state, batch, key, fake); the statistics that G's returns are
    state.gen.stats, which that pass has made.
    """

    init: Callable[
        [Key, Batch], tuple[PyTree, PyTree, PyTree]
    ]  # -> linen variables of the generator's side, of the discriminator's, and aux
    disc_loss: Callable[..., Any]  # (params, state, batch, key) -> loss, (stats, aux, metrics)
    gen_loss: Callable[..., Any]  # the same call
    sample: Callable[..., Any]  # (params, stats, z, label=None) -> what the generator makes, in evaluation mode
    fakes: Callable[..., Any] | None = None  # (params of G, state, batch, key) -> what G makes, stats


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


def half_life(images: float, batch_size: int, ramp_up: float | None = 0.05) -> Callable[[jax.Array], jax.Array]:
    """The decay of an average whose memory is counted in images: step -> 1/2^(batch_size / half-life), the half-life
    being `images`, or `ramp_up` times the images seen before this step, where that is less (None: no ramp-up). With
    ramp-up the first decay is 0: the average is the first new parameters.

    `images` = 0 is no memory: the average is the new parameters. `batch_size` is the real images of one round. Karras
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

    def decay(step: jax.Array) -> jax.Array:
        span = jnp.float32(images)
        if ramp_up is not None:
            span = jnp.minimum(span, ramp_up * batch_size * step.astype(jnp.float32))
        return jnp.where(span > 0, 0.5 ** (batch_size / jnp.maximum(span, 1e-8)), 0.0)

    return decay


def init(
    game: Game, gen_tx: optax.GradientTransformation, disc_tx: optax.GradientTransformation, key: Key, batch: Batch
) -> State:
    """The state before the first round, for batches like `batch`. The average starts as a copy of the generator."""
    gen_vars, disc_vars, aux = game.init(key, batch)

    def player(variables: PyTree, tx: optax.GradientTransformation) -> Player:
        stats = {name: tree for name, tree in variables.items() if name != "params"}
        return Player(params=variables["params"], stats=stats, opt=tx.init(variables["params"]))

    gen = player(gen_vars, gen_tx)
    # A copy, not the same buffers: the update donates its input, and one buffer cannot be given away twice.
    ema = jax.tree.map(jnp.copy, Average(params=gen.params, stats=gen.stats))
    return State(step=jnp.zeros((), jnp.int32), gen=gen, disc=player(disc_vars, disc_tx), ema=ema, aux=aux)


def make_update(
    game: Game,
    gen_tx: optax.GradientTransformation,
    disc_tx: optax.GradientTransformation,
    *,
    n_disc: int = 1,
    ema_decay: float | Callable[[jax.Array], jax.Array] = 0.0,
    simultaneous: bool = False,
    check: bool = False,
    shard: bool = False,
    monitor_every: int = 0,
) -> Callable[[State, Batch, Key], tuple[State, Metrics]]:
    """`update(state, batch, key) -> (state, metrics)`, one round: `n_disc` steps of D, then one of G against the new D.

    Every leaf of `batch` has n_disc * b rows: D's step i takes rows i, i + n_disc, ... (interleaved, so that rows split
    over devices stay where they are), and G's step the same rows as D's last. `key` is the run's, the same every round:
    the step is folded in. `ema_decay` is a number in [0, 1] or a function of the step, as `half_life` makes; the
    average follows the new parameters: ema <- decay ema + (1 - decay) new; 0 keeps it equal to them. With
    `simultaneous`, G moves against the D that stood before its (last) step, as studies of the dynamics need it. The
    metrics are those of the last D step and the G step. With `check`, metrics["finite"] tells of every value of the
    round whether it was: a tuple of trees of booleans, of what `CHECKED` names. With `shard`, gradients are split over the
    devices like a state that is (`mesh.layout`). With `monitor_every`, metrics tell in every so many-th round the
    Euclidean norms of each side's gradient and new parameters ("disc/grad_norm", "disc/param_norm", ...; 0 in the other
    rounds, where they are not computed), and in each round the largest of spectral norm's sigmas ("disc/sigma").
    Compiled; the state given is donated, so use the one returned.
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
        return [fake], stats, lambda slope: back(slope)[0]

    def step_of(
        side: str,
        loss: Callable,
        tx: optax.GradientTransformation,
        state: State,
        against: State,
        batch: Batch,
        key: Key,
        fake: list[Any],
        back: Callable | None,
    ) -> tuple[State, Metrics, list[Any]]:
        player: Player = getattr(state, side)
        seen = mesh.gather(against)
        (grads, *slopes), (stats, aux, metrics) = jax.grad(
            lambda params, *fake: loss(mesh.gather(params), seen, batch, key, *fake),
            argnums=(0, 1) if back else (0,),
            has_aux=True,
        )(player.params, *fake)
        if back:
            grads = jax.tree.map(jnp.add, grads, back(*slopes))
        grads = mesh.scatter(grads) if shard else grads
        updates, opt = tx.update(grads, player.opt, player.params)
        player = player.replace(params=optax.apply_updates(player.params, updates), stats=stats, opt=opt)
        metrics = {**metrics, **monitors(side, grads, player, state.step)}
        return state.replace(**{side: player}, aux=aux), metrics, finite(metrics, grads, player.params)

    def monitors(side: str, grads: PyTree, player: Player, step: jax.Array) -> Metrics:
        if not monitor_every:
            return {}
        norm: Callable = optax.tree.norm
        grad_norm, param_norm = jax.lax.cond(
            (step + 1) % monitor_every == 0,
            lambda trees: (norm(trees[0]), norm(trees[1])),
            lambda trees: (jnp.float32(0), jnp.float32(0)),
            (grads, player.params),
        )
        values = {f"{side}/grad_norm": grad_norm, f"{side}/param_norm": param_norm}
        sigmas = [x for path, x in jax.tree.leaves_with_path(player.stats) if "sigma" in str(path[-1])]
        return values | ({f"{side}/sigma": jnp.stack([jnp.max(x) for x in sigmas]).max()} if sigmas else {})

    def finite(metrics: Metrics, grads: PyTree, params: PyTree) -> list[Any]:
        """Of every value whether it is. The gradients are looked at where a parameter has become otherwise: what is wrong
        with them goes there.
        """
        if not check:
            return []

        def is_finite(tree: PyTree) -> PyTree:
            # By the sum, which one such term makes infinite or NaN: on the CPU in half the time of `isfinite(x).all()`.
            return jax.tree.map(lambda x: jnp.isfinite(x.sum()), tree)

        # Behind a barrier, or the sum would be computed from the optimiser's terms, all of them once more.
        new = is_finite(jax.lax.optimization_barrier(params))
        fine = jnp.stack(jax.tree.leaves(new)).all()
        old = jax.lax.cond(fine, lambda grads: jax.tree.map(lambda x: jnp.array(True), grads), is_finite, grads)
        # A share is finite in any case; unasked for, those of all D steps but the last are not computed.
        return [is_finite({name: x for name, x in metrics.items() if not name.endswith("_accuracy")}), old, new]

    def update(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        rows = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
        if len(rows) != 1 or next(iter(rows)) % n_disc:
            raise ValueError(
                f"a round of {n_disc} D steps needs batches whose rows are one multiple of {n_disc}; got {sorted(rows)} rows"
            )
        *keys, gen_key = jax.random.split(jax.random.fold_in(key, state.step), 2 * n_disc + 1)
        batches = [jax.tree.map(lambda leaf, i=i: leaf[i::n_disc], batch) for i in range(n_disc)]
        before = state
        disc_metrics: Metrics = {}
        disc_finite: list[Any] = []
        # Unrolled: n_disc is small, and XLA plans the steps together.
        for i in range(n_disc):
            before = state
            fake, stats, back = made(state, batches[i], keys[n_disc + i])
            state, disc_metrics, flags = step_of(
                "disc", game.disc_loss, disc_tx, state, state, batches[i], keys[i], fake, None
            )
            if i:  # of later steps only what went wrong first is told: their values follow from it
                fine = jnp.stack(jax.tree.leaves(disc_finite)).all() if check else None
                flags = jax.tree.map(lambda before, now, fine=fine: before & (now | ~fine), disc_finite, flags)
            disc_finite = flags
        state = state.replace(gen=state.gen.replace(stats=stats))
        against = state.replace(disc=before.disc) if simultaneous else state
        state, gen_metrics, gen_finite = step_of(
            "gen", game.gen_loss, gen_tx, state, against, batches[-1], gen_key, fake, back
        )
        decay = ema_decay(state.step) if callable(ema_decay) else jnp.float32(ema_decay)
        new = Average(params=state.gen.params, stats=state.gen.stats)
        ema = jax.tree.map(lambda old, now: (decay * old + (1 - decay) * now).astype(now.dtype), state.ema, new)
        metrics: dict[str, Any] = {**disc_metrics, **gen_metrics}
        if check:
            metrics |= {"finite": (*disc_finite, *gen_finite)}
        return state.replace(step=state.step + 1, ema=ema), metrics

    return jax.jit(update, donate_argnums=0)
