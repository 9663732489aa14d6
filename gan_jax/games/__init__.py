"""Kinds of games: how losses, penalties and networks make the four functions of a `gan_jax.game.Game`."""
