"""Training: `training.run(config, build, setup(config))` trains an experiment, `training.Recipe` is what its `build`
returns, and `training.Setup` its data and evaluation.
"""

from gan_jax.training.recipe import Build, Recipe, Setup
from gan_jax.training.run import run

__all__ = ["Build", "Recipe", "Setup", "run"]
