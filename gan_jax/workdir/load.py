"""The notebook's door: the generator of a run, from its work directory alone."""

import dataclasses
import functools
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
from gan_jax.types import Array, Spec, UserError
from gan_jax.workdir.checkpoint import Checkpoints, template, tensors

NONE_YET = "has no checkpoint yet; a run writes one every --checkpoint-every steps, and when it is stopped"
NO_BEST = "has no best checkpoint: a run keeps one when it is evaluated"


class Sampler(NamedTuple):
    """A trained generator: `sampler(z)` are samples [b ...] as float32, images in [-1, 1]."""

    apply: Any  # (z, label) -> samples, compiled
    z_dim: int
    classes: int
    step: int  # rounds it was trained for
    config: Mapping[str, Any]  # the flags of its run
    make: Any = None  # (generator, z, label) -> samples, compiled
    recipe: Any = None  # as its experiment builds it
    generator: Any = None  # its parameters and statistics
    spec: Spec | None = None  # of its data
    data_digest: str = ""  # of the data as they were

    def __call__(self, z: Float[Array, "..."], label: Int[Array, "..."] | None = None) -> np.ndarray:
        """Without `label`, a conditional generator takes the classes in turn. ValueError for other shapes than z [b z] and
        label [b], and for labels that are none of the classes.
        """
        if z.ndim != 2 or z.shape[-1] != self.z_dim:
            raise ValueError(
                f"the generator takes z [b {self.z_dim}], and was given {z.shape}; sampler.latents(n) makes some"
            )
        if self.classes and label is None:
            label = jnp.arange(len(z)) % self.classes
        if label is not None:
            known = np.asarray(label)
            if known.shape != z.shape[:1] or not ((known >= 0) & (known < max(self.classes, 1))).all():
                raise ValueError(
                    f"{len(z)} labels in [0, {self.classes}) go with z {z.shape}; got {known.shape}, {known.ravel()[:8].tolist()}"
                )
        return np.asarray(self.apply(z, label))

    def with_generator(self, generator: Any) -> "Sampler":
        """The same with other parameters and statistics, such as `standing.standing` makes."""
        return self._replace(apply=functools.partial(self.make, generator), generator=generator)

    def latents(self, count: int, seed: int = 0) -> jax.Array:
        """[count z] from N(0, I)."""
        if count < 1:
            raise ValueError(f"latents({count}): 1 or more")
        return jax.random.normal(jax.random.key(seed), (count, self.z_dim))


def load(workdir: str | Path, raw: bool = False, member: int = 0, best: bool = False) -> Sampler:
    """Reads the last sound checkpoint of a run, or with `best` the best one: the averaged generator, or with `raw` the one
    that was trained; of a population that of `member`, counted from 0.

    The experiment that made the run is imported by the path in its config.json, and must still build the same networks.
    UserError where there is no run, no checkpoint yet, no such member, or the experiment cannot be imported.
    """
    workdir = Path(workdir).expanduser()
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"{workdir.absolute()} is no run's directory: it has no config.json")
    try:
        saved = json.loads(path.read_text())
        name, flags, identity = saved["experiment"], saved["config"], saved["identity"]
        spec = Spec(tuple(identity["shape"]), identity["classes"])
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in flags.items()}
        if not (isinstance(name, str) and name):
            raise TypeError(f"experiment {name!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a run's configuration: {error!r}") from error
    try:
        module = importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        raise UserError(
            f"the run's experiment, {name}, cannot be imported ({error}); start Python where it can"
        ) from error
    try:
        # Parts of a batch are for training: samples are made at once.
        config = dataclasses.replace(module.Config(**fields), accumulate=1)
        recipe = module.build(config, spec)
    except (AttributeError, TypeError) as error:
        raise UserError(f"the experiment {name} is not the one that made {workdir.absolute()}: {error}") from error
    members = config.members()
    if not 0 <= member < len(members):
        raise UserError(f"member {member} of {workdir.absolute()}, which has {len(members)}: 0 to {len(members) - 1}")

    def fresh() -> tuple[game.State, jax.Array]:
        state = game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, jax.random.key(0), spec.blank(1))
        both = (state, jnp.zeros(2, jnp.int32))
        return jax.tree.map(lambda x: jnp.stack([x] * len(members)), both) if config.population else both

    like = jax.eval_shape(fresh)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir.absolute()} {NONE_YET}")
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        if best:
            step = checkpoints.best
            if step is not None and (fault := checkpoints.fault(step)):
                raise UserError(f"the best checkpoint of {workdir.absolute()}, of step {step}, is damaged: {fault}")
        else:
            step = checkpoints.sound(lambda text: print(text, file=sys.stderr), set_aside=False)
        if step is None:
            raise UserError(f"{workdir.absolute()} {NO_BEST if best else NONE_YET}")
        now = tensors(like[0], config.population)
        for key, kind in identity.get("tensor", {}).items():
            if now.get(key) != kind:
                raise UserError(
                    f"the networks of {name} are no longer those of {workdir.absolute()}: {key} was {kind} and is {now.get(key, 'absent')}"
                )
        state, watch = checkpoints.restore(step, template(like, jax.tree.map(lambda x: here, like)))
    gen = state.gen if raw else state.ema
    if (lost := int(watch.reshape(-1, 2)[member, 0])) >= 0:
        raise UserError(
            f"member {member} of {workdir.absolute()}, {members[member].label}, has diverged at step {lost}"
        )
    if config.population:
        recipe = module.build(dataclasses.replace(config, sweep=(), **members[member].values), spec)
        gen = jax.tree.map(lambda x: x[member], gen)

    @jax.jit
    def make(gen: Any, z: jax.Array, label: jax.Array | None) -> jax.Array:
        with jax.default_matmul_precision(config.matmul_precision):
            return recipe.game.sample(gen.params, gen.stats, z, label)

    return Sampler(
        functools.partial(make, gen),
        recipe.z_dim,
        recipe.classes,
        step,
        saved["config"],
        make,
        recipe,
        gen,
        spec,
        identity.get("data_digest", ""),
    )
