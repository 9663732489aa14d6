"""Playing a run: `training.run(config, build, ...)`, and the `training.Recipe` that an experiment builds."""

from gan_jax.training.recipe import Build, Recipe
from gan_jax.training.run import run

__all__ = ["Build", "Recipe", "run"]
