"""Kinds of games: how losses, penalties and networks make the functions of a `gan_jax.game.Game`."""
