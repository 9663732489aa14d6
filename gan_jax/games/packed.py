"""Packing: D judges m examples at once, all real or all fake, so that it sees how alike the examples of one side are."""

import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.types import Array, Batch, Key, PyTree


def packed(game: Game, m: int) -> Game:
    """The same game, whose D is given packs of m rows joined along their last axis, and gives one logit a pack.

    Rows m i, ..., m i + m - 1 of a batch [m b ...] make pack i of b: a point's coordinates, or an image's channels, are
    m times as many. G makes single examples, [m b ...]. Losses, penalties and D's statistics take a pack for one
    example: a penalty is of the gradient with respect to the whole pack. m = 1 is the game itself.

    D must take the wider rows. A pack has m labels, so the conditional game is not packed: its `init` finds no label
    (ValueError). ValueError for m below 1, for a game whose losses make their own fakes, and for one whose fakes are a tree.
    Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 2.
    """
    if m < 1:
        raise ValueError(f"packing joins m examples, at least 1; got {m}")
    if m == 1:
        return game
    if game.fakes is None:
        raise ValueError("packing needs a game with `fakes`: here each loss makes its own, of single rows")

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        # Any rows do for the shapes, so their number need be no multiple of m.
        return game.init(key, {"image": jnp.concatenate([batch["image"]] * m, -1)})

    def joined(fake: PyTree) -> jax.Array:
        if not hasattr(fake, "shape"):
            raise ValueError(f"packing joins arrays; this game's fakes are a tree: {jax.tree.structure(fake)}")
        return pack(fake, m)

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        return game.disc_loss(params, state, {"image": pack(batch["image"], m)}, key, joined(fake))

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        return game.gen_loss(params, state, {"image": pack(batch["image"], m)}, key, joined(fake))

    return game._replace(init=init, disc_loss=disc_loss, gen_loss=gen_loss)


def pack(x: Array, m: int) -> jax.Array:
    """[m b ... c] -> [b ... m c]: m rows that stand together, so that rows split over devices stay where they are."""
    if x.shape[0] % m:
        raise ValueError(f"packs of {m} need batches whose rows are a multiple of it; got {x.shape[0]} rows")
    rows = jnp.reshape(x, (-1, m, *x.shape[1:]))  # [b m ... c]
    return jnp.concatenate([rows[:, i] for i in range(m)], -1)
