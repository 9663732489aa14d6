"""Games: how losses, penalties and networks become the functions of a `gan_jax.game.Game`."""
