"""Progressive growing (Karras et al. 2018, arXiv:1710.10196): one game for each size of the images, played in turn."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.system.terminal import say
from gan_jax.types import Array, Batch, Key, PyTree, UserError

Schedule = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # step -> level, fade
SMALLEST = 4  # pixels, at level 0


class At:
    """A network of `models.progressive` at one level and with this fade, as games use networks."""

    def __init__(self, network: Any, level: int, fade: Any):
        self._network, self._how = network, {"level": level, "fade": fade}
        self.couples_rows = getattr(network, "couples_rows", False)
        self.coupling = getattr(network, "coupling", None)

    def init(self, *args: Any, **options: Any) -> Any:
        return self._network.init(*args, **self._how, **options)

    def apply(self, *args: Any, **options: Any) -> Any:
        return self._network.apply(*args, **self._how, **options)


def levels_for(shape: tuple[int, ...]) -> int:
    """Returns the last level for images [h w c]: the least whose 4 2^level pixels hold them. Raises UserError unless they
    are square, of even sides, and have at least 8 pixels a side.
    """
    height, width = shape[:2]
    if height != width or height % 2 or height < 2 * SMALLEST:
        raise UserError(
            f"progressive growing takes square images of even sides from {2 * SMALLEST} on, and these are {height}x{width};"
            " a folder of images can be resized by --size"
        )
    return next(level for level in range(1, 20) if SMALLEST << level >= height)


def schedule(levels: int, train: float, transition: float, batch_size: int) -> Schedule:
    """Returns step -> (level, fade): `train` images at level 0, then for each further level `transition` images in which
    its fade rises from 0 to 1, and `train` images at 1.
    """

    def of(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        images = step.astype(jnp.float32) * batch_size
        phase = jnp.floor(images / (train + transition))
        within = images - phase * (train + transition) - train  # of the transition
        level = phase + (within > 0)
        fade = jnp.where((within > 0) & (level <= levels), within / max(transition, 1e-9), 1.0)
        return jnp.minimum(level, levels).astype(jnp.int32), jnp.minimum(fade, 1.0)

    return of


def restarts(levels: int, train: float, transition: float, batch_size: int) -> tuple[int, ...]:
    """Returns the steps in which the authors' optimiser begins anew: the first in which a level fades in, and the first
    after the images in which it did.
    """
    cycle = train + transition
    images = [at for level in range(levels) for at in (level * cycle + train, (level + 1) * cycle)]
    # The first step at which more images were seen: at a border itself nothing has changed yet.
    return tuple(int(at // batch_size) + 1 for at in images)


def tell(plan: Schedule, shape: tuple[int, ...], steps: int) -> None:
    """Says so where a run of so many steps ends before the last level is whole."""
    last = levels_for(shape)
    level, fade = (x.item() for x in plan(jnp.asarray(max(0, steps - 1))))
    if level < last or fade < 1:
        at = f"{SMALLEST << level} pixels a side" + (f", {fade:.0%} faded in" if fade < 1 else "")
        say(
            f"{steps:,} steps end at {at}, and the last level has {SMALLEST << last}: more --steps, or fewer images a level"
        )


def growing(games: Sequence[Callable[[Any], Game]], plan: Schedule, side: int) -> Game:
    """Returns the game that plays games[level](fade) of the step, on images with 4 2^level pixels a side. All of `games` share
    one tree of parameters.

    Real images, [b side side c], are surrounded by -1 up to the size of the last level, and halved to that of the level;
    while it fades in they are a mean of themselves and of what the level before would show. Samples have the full
    size, each pixel repeated, without the border. Games must have `fakes`, and nothing in state.gen.stats.

    A round computes its own level alone, forwards and backwards: the branch of a `lax.switch` has the gradient of its loss
    as well, where that of a switch itself would write the arrays of all branches. So the fakes are computed again for
    their gradient. Every level is compiled, in one program. Level and fade stand in G's statistics, under "buffers",
    for samples; the average of G's weights is at the level of the last round.
    """
    last = len(games) - 1
    full = SMALLEST << last
    border = (full - side) // 2

    def framed(images: Array) -> jax.Array:
        pads = [(0, 0), (border, border), (border, border), (0, 0)]
        return jnp.pad(jnp.asarray(images), pads, constant_values=-1.0)

    def halved(images: jax.Array, level: int) -> jax.Array:
        """[b full full c] -> the size of the level; of repeated pixels, exactly these pixels."""
        b, n, _, c = images.shape
        times = full // (SMALLEST << level)
        return images.reshape(b, n // times, times, n // times, times, c).mean((2, 4)) if times > 1 else images

    def repeated(images: jax.Array) -> jax.Array:
        times = full // images.shape[1]
        return images.repeat(times, 1).repeat(times, 2)

    def real(batch: Batch, level: int, fade: Any) -> dict[str, Any]:
        now = halved(framed(batch["image"]), level)
        if level:
            before = halved(framed(batch["image"]), level - 1).repeat(2, 1).repeat(2, 2)
            now = (1 - fade) * before + fade * now
        return {**batch, "image": now}

    def bare(state: State) -> State:
        return state.replace(gen=state.gen.replace(stats={}), ema=state.ema.replace(stats={}))

    def marked(state: State) -> PyTree:
        level, fade = plan(state.step)
        return {"buffers": {"level": level, "fade": fade.astype(state.gen.stats["buffers"]["fade"].dtype)}}

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_vars, disc_vars, aux = games[last](1.0).init(key, {**batch, "image": framed(batch["image"])})
        here = {"level": jnp.zeros((), jnp.int32), "fade": jnp.ones((), jnp.float32)}
        return {**gen_vars, "buffers": here}, disc_vars, aux

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        level, fade = plan(state.step)

        def make(i: int) -> Callable:
            def made(params: PyTree, data: tuple) -> jax.Array:
                state, batch, key, fade = data
                return repeated(games[i](fade).fakes(params, state, batch, key)[0])  # type: ignore[misc]

            return made

        @jax.custom_vjp
        def of(params: PyTree, data: tuple) -> jax.Array:
            return jax.lax.switch(level, [make(i) for i in range(last + 1)], params, data)

        def forwards(params: PyTree, data: tuple) -> tuple:
            return of(params, data), (params, data)

        def backwards(kept: tuple, cotangent: jax.Array) -> tuple:
            def pulled(i: int) -> Callable:
                return lambda params, data, y: jax.vjp(lambda params: make(i)(params, data), params)[1](y)[0]

            return jax.lax.switch(level, [pulled(i) for i in range(last + 1)], *kept, cotangent), None

        of.defvjp(forwards, backwards)
        return of(params, (bare(state), batch, key, fade)), marked(state)

    def loss_of(side: str) -> Callable:
        def loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
            level, fade = plan(state.step)

            def at(i: int) -> Callable:
                def one(params: PyTree, fake: jax.Array, data: tuple) -> tuple:
                    state, batch, key, fade = data
                    game = games[i](fade)
                    own: Callable[..., Any] = getattr(game, f"{side}_loss")
                    return own(params, state, real(batch, i, fade), key, halved(fake, i))

                return one

            @jax.custom_vjp
            def of(params: PyTree, fake: jax.Array, data: tuple) -> tuple:
                return jax.lax.switch(level, [at(i) for i in range(last + 1)], params, fake, data)

            def forwards(params: PyTree, fake: jax.Array, data: tuple) -> tuple:
                wanted = (0,) if side == "disc" else (0, 1)  # fakes are data for D
                branches = [jax.value_and_grad(at(i), argnums=wanted, has_aux=True) for i in range(last + 1)]
                return jax.lax.switch(level, branches, params, fake, data)

            def backwards(slopes: tuple, cotangents: tuple) -> tuple:
                scaled = jax.tree.map(lambda x: cotangents[0] * x, slopes)
                return (*scaled, None, None)[:3]

            of.defvjp(forwards, backwards)
            total, (stats, aux, metrics) = of(params, fake, (bare(state), batch, key, fade))
            stats = state.gen.stats if side == "gen" else stats
            told = {"gen/level": level + fade - 1} if side == "gen" else {}
            return total, (stats, aux, {**metrics, **told})

        return loss

    def at_level(stats: PyTree, branch: Callable[[int, Any], Any]) -> jax.Array:
        here = stats["buffers"]
        return jax.lax.switch(here["level"], [lambda i=i: branch(i, here["fade"]) for i in range(last + 1)])

    def sample(params: PyTree, stats: PyTree, *inputs: Array) -> jax.Array:
        out = at_level(stats, lambda i, fade: repeated(games[i](fade).sample(params, {}, *inputs)))
        return out[:, border : border + side, border : border + side]

    inputs = games[last](1.0).inputs
    return Game(init, loss_of("disc"), loss_of("gen"), sample, fakes, inputs)
