"""The notebook's door: the generator of a run, from its work directory alone."""

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gan_jax import game
from gan_jax.checkpoint import Checkpoints, template
from gan_jax.types import Array, Spec, UserError

NONE_YET = "has no checkpoint yet; a run writes one every --checkpoint-every steps, and when it is stopped"
NO_BEST = "has no best checkpoint: a run keeps one when it is evaluated"


class Sampler(NamedTuple):
    """A trained generator: `sampler(z)` are samples [b ...] as float32, images in [-1, 1]."""

    apply: Any  # (z, label) -> samples, compiled
    z_dim: int
    classes: int
    step: int  # rounds it was trained for
    config: Mapping[str, Any]  # the flags of its run

    def __call__(self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None) -> np.ndarray:
        """Without `label`, a conditional generator takes the classes in turn."""
        if z.shape[-1] != self.z_dim:
            raise ValueError(
                f"the generator takes z of width {self.z_dim}, and was given {z.shape}; sampler.latents(n) makes some"
            )
        if self.classes and label is None:
            label = jnp.arange(len(z)) % self.classes
        return np.asarray(self.apply(z, label))

    def latents(self, count: int, seed: int = 0) -> jax.Array:
        """[count z] from N(0, I)."""
        return jax.random.normal(jax.random.key(seed), (count, self.z_dim))


def load(workdir: str | Path, raw: bool = False, member: int = 0, best: bool = False) -> Sampler:
    """Reads the last sound checkpoint of a run, or with `best` the best one: the averaged generator, or with `raw` the one
    that was trained; of a population that of `member`, counted from 0.

    The experiment that made the run is imported by the path in its config.json, and must still build the same networks.
    UserError where there is no run, no checkpoint yet, no such member, or the experiment cannot be imported.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"{workdir.absolute()} is no run's directory: it has no config.json")
    saved = json.loads(path.read_text())
    try:
        module = importlib.import_module(saved["experiment"])
    except ImportError as error:
        raise UserError(
            f"the run's experiment, {saved['experiment']}, cannot be imported ({error}); start Python where it can"
        ) from error
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in saved["config"].items()}
    config = module.Config(**fields)
    members = config.members()
    if not 0 <= member < len(members):
        raise UserError(f"member {member} of {workdir.absolute()}, which has {len(members)}: 0 to {len(members) - 1}")
    spec = Spec(tuple(saved["identity"]["shape"]), saved["identity"]["classes"])
    recipe = module.build(config, spec)

    def fresh() -> tuple[game.State, jax.Array]:
        state = game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, jax.random.key(0), spec.blank(1))
        both = (state, jnp.zeros(2, jnp.int32))
        return jax.tree.map(lambda x: jnp.stack([x] * len(members)), both) if config.population else both

    like = jax.eval_shape(fresh)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir.absolute()} {NONE_YET}")
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = (
            checkpoints.best if best else checkpoints.sound(lambda text: print(text, file=sys.stderr), set_aside=False)
        )
        if step is None:
            raise UserError(f"{workdir.absolute()} {NO_BEST if best else NONE_YET}")
        state, _ = checkpoints.restore(step, template(like, jax.tree.map(lambda x: here, like)))
    gen = state.gen if raw else state.ema
    if config.population:
        gen = jax.tree.map(lambda x: x[member], gen)

    @jax.jit
    def apply(z: jax.Array, label: jax.Array | None) -> jax.Array:
        with jax.default_matmul_precision(config.matmul_precision):
            return recipe.game.sample(gen.params, gen.stats, z, label)

    return Sampler(apply, recipe.z_dim, recipe.classes, step, saved["config"])
