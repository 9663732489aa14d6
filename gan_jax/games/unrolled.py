"""Unrolled GAN: G plays against the D that would answer it in K steps, and learns through those steps."""

import jax
import optax

from gan_jax.game import Game, Player, State
from gan_jax.types import Batch, Key, PyTree


def unrolled(game: Game, disc_tx: optax.GradientTransformation, steps: int) -> Game:
    """The same game, but that G minimises its loss against theta_D^K, its gradient going through the K = `steps` updates.

    theta_D^0 = theta_D and theta_D^(k+1) = theta_D^k + disc_tx(the gradient of D's loss at theta_D^k), on the batch and
    the fakes of the round, which are the same in every step. `disc_tx` must be D's own optimiser: its state goes on from
    where D's stands (moments, counts), as in the authors' code, and what the K steps make of it is dropped with
    theta_D^K: D's own step is untouched. With `make_update(..., simultaneous=True)` both players start from the same
    theta_D, as in the paper; alternating, G unrolls from the D that has just moved. K = 0 is the game itself.

    Adam needs `eps_root` > 0: its square root has an infinite derivative where a second moment is 0, as of a unit that is
    never active, and the gradient is then NaN. The memory grows by K times D's activations.
    ValueError for negative `steps`, and for an optimiser whose state is not that of D's.
    Metz et al. 2017, arXiv:1611.02163, equations 7 and 8.
    """
    if steps < 0:
        raise ValueError(f"the steps of D that G looks ahead are at least 0; got {steps}")
    if steps == 0:
        return game

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, *fake: jax.Array) -> tuple:
        like = jax.tree.structure(jax.eval_shape(disc_tx.init, state.disc.params))
        if like != jax.tree.structure(state.disc.opt):  # type: ignore[operator]
            raise ValueError("unrolled needs the optimiser that D itself uses: the state of disc_tx is another")
        *keys, loss_key = jax.random.split(key, steps + 1)
        # Where the game makes no common fakes, D's losses make theirs of these.
        ahead = state.replace(gen=state.gen.replace(params=params))
        for step_key in keys:
            disc: Player = ahead.disc
            grads, (stats, _, _) = jax.grad(game.disc_loss, has_aux=True)(disc.params, ahead, batch, step_key, *fake)
            updates, opt = disc_tx.update(grads, disc.opt, disc.params)
            # aux is left alone: only steps that are made may move it.
            ahead = ahead.replace(disc=Player(optax.apply_updates(disc.params, updates), stats, opt))
        return game.gen_loss(params, ahead, batch, loss_key, *fake)

    return game._replace(gen_loss=gen_loss)
