"""Packing: D judges m examples together, all real or all fake, and so sees how similar the examples of one kind are."""

import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.types import Array, Batch, Key, PyTree


def packed(game: Game, m: int) -> Game:
    """Returns the game with a D that takes packs of m rows, joined along their last axis, and returns one logit per
    pack.

    Rows m i, ..., m i + m - 1 of a batch [m b ...] form pack i of b, with m times as many coordinates of a point, or
    channels of an image. G generates single examples, [m b ...]. Losses, penalties and D's statistics treat a pack as
    one example: a penalty is on the gradient with respect to the whole pack. m = 1 is the game itself.

    D must accept the wider rows. A pack has m labels, so the conditional game cannot be packed: its `init` raises
    ValueError, as it finds no label. Raises ValueError for m below 1 and for a game whose losses generate their own
    fakes; its losses do where the fakes are a tree. Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 2.
    """
    if m < 1:
        raise ValueError(f"packing joins m examples, at least 1; got {m}")
    if m == 1:
        return game
    if game.fakes is None:
        raise ValueError("packing needs a game with `fakes`: here each loss makes its own, of single rows")

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        # Only shapes matter here, so the number of rows need not be a multiple of m.
        return game.init(key, {"image": jnp.concatenate([batch["image"]] * m, -1)})

    def joined(fake: PyTree) -> jax.Array:
        if not hasattr(fake, "shape"):
            raise ValueError(f"packing joins arrays; this game's fakes are a tree: {jax.tree.structure(fake)}")
        return pack(fake, m)

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        return game.disc_loss(params, state, {"image": pack(batch["image"], m)}, key, joined(fake))

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        return game.gen_loss(params, state, {"image": pack(batch["image"], m)}, key, joined(fake))

    # D's views are of packs, which only the game makes.
    return game._replace(init=init, disc_loss=disc_loss, gen_loss=gen_loss, views={})


def pack(x: Array, m: int) -> jax.Array:
    """Joins every m adjacent rows, [m b ... c] -> [b ... m c], so that rows that are split over devices stay where they
    are. Raises ValueError where the number of rows is not a multiple of m.
    """
    if x.shape[0] % m:
        raise ValueError(f"packs of {m} need batches whose rows are a multiple of it; got {x.shape[0]} rows")
    rows = jnp.reshape(x, (-1, m, *x.shape[1:]))  # [b m ... c]
    return jnp.concatenate([rows[:, i] for i in range(m)], -1)
