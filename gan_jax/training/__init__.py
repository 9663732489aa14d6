"""Playing a run: `training.run(config, build, setup(config))`, the `training.Recipe` that an experiment builds, and the
`training.Setup` of its data and measures.
"""

from gan_jax.training.recipe import Build, Recipe, Setup
from gan_jax.training.run import run

__all__ = ["Build", "Recipe", "Setup", "run"]
