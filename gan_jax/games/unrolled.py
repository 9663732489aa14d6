"""Unrolled GAN: G plays against D as it would be K steps later, and its gradient passes through these steps."""

import jax
import optax

from gan_jax.game import Game, Player, State
from gan_jax.types import Batch, Key, PyTree


def unrolled(game: Game, disc_tx: optax.GradientTransformation, steps: int) -> Game:
    """Returns the game in which G minimises its loss against theta_D^K, with the gradient through the K = `steps`
    updates.

    theta_D^0 = theta_D and theta_D^(k+1) = theta_D^k + disc_tx(the gradient of D's loss at theta_D^k), every time on
    the batch and the fakes of the round. `disc_tx` must be D's own optimiser: it starts from D's optimiser state
    (moments, counts), as in the authors' code. Its states in the K steps are dropped together with theta_D^K, so D's
    own step is unchanged. With `make_update(..., simultaneous=True)` both players start from the same theta_D, as in
    the paper; otherwise G unrolls from the D that was just updated. K = 0 is the game itself.

    Adam needs `eps_root` > 0: its square root has an infinite derivative where a second moment is 0, as for a unit that
    is never active, and the gradient is then NaN. Memory grows by K times D's activations. Raises ValueError for
    negative `steps`; G's loss does for an optimiser whose state has another structure than D's. Metz et al. 2017,
    arXiv:1611.02163, equations 7 and 8.
    """
    if steps < 0:
        raise ValueError(f"the steps of D that G looks ahead are at least 0; got {steps}")
    if steps == 0:
        return game

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, *fake: jax.Array) -> tuple:
        expected = jax.tree.structure(jax.eval_shape(disc_tx.init, state.disc.params))
        if expected != jax.tree.structure(state.disc.opt):  # type: ignore[operator]
            raise ValueError("unrolled needs the optimiser that D itself uses: the state of disc_tx is another")
        *keys, loss_key = jax.random.split(key, steps + 1)
        # In a game without `fakes`, D's losses generate theirs with these parameters.
        ahead = state.replace(gen=state.gen.replace(params=params))
        for step_key in keys:
            disc: Player = ahead.disc
            grads, (stats, _, _) = jax.grad(game.disc_loss, has_aux=True)(disc.params, ahead, batch, step_key, *fake)
            updates, opt = disc_tx.update(grads, disc.opt, disc.params)
            # aux stays as it is: only steps that are really taken may change it.
            ahead = ahead.replace(disc=Player(optax.apply_updates(disc.params, updates), stats, opt))
        return game.gen_loss(params, ahead, batch, loss_key, *fake)

    return game._replace(gen_loss=gen_loss)
