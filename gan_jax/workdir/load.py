"""Loading a run from its work directory, for notebooks and commands."""

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import game
from gan_jax.system.numerics import arithmetic
from gan_jax.system.terminal import say
from gan_jax.types import PyTree, Spec, UserError
from gan_jax.workdir.audible import Sounding
from gan_jax.workdir.checkpoint import Checkpoints, template, tensors
from gan_jax.workdir.manifest import spec_from
from gan_jax.workdir.sampler import Programs, Sampler, weights

NONE_YET = "has no checkpoint yet; a run writes one every --checkpoint-every steps, and when it is stopped"
NO_BEST = "has no best checkpoint: a run keeps one when it is evaluated"


class Saved(NamedTuple):
    """A run, as described by its config.json."""

    workdir: Path
    module: ModuleType  # its experiment
    config: Any  # the experiment's Config
    spec: Spec
    flags: Mapping[str, Any]  # of the command that started it
    identity: Mapping[str, Any]


def saved_run(workdir: str | Path) -> Saved:
    """Reads a run's config.json, and imports its experiment by its module name, or else from its file.

    Raises UserError where there is no run, its config.json is damaged, or the experiment cannot be imported or takes
    other flags.
    """
    workdir = Path(workdir).expanduser()
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"{workdir.absolute()} is no run's directory: it has no config.json")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        name, flags, identity = saved["experiment"], saved["config"], saved["identity"]
        if "arrays" not in identity:
            raise UserError(
                f"{workdir.absolute()} was made by an earlier gan_jax: read it by the one in its config.json"
            )
        spec = spec_from(identity)
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in flags.items()}
        if not (isinstance(name, str) and name):
            raise TypeError(f"experiment {name!r}")
        file = saved.get("experiment_file", {})
        module_file, digest = file.get("path", ""), file.get("sha256", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a run's configuration: {error!r}") from error
    module = _imported(name, module_file, digest)
    try:
        # Accumulation over parts of a batch is for training only.
        config = dataclasses.replace(module.Config(**fields), accumulate=1)
    except (AttributeError, TypeError) as error:
        raise UserError(f"the experiment {name} is not the one that made {workdir.absolute()}: {error}") from error
    path_then = saved.get("data", {}).get("path", "")
    if path_then and not Path(config.data).expanduser().exists() and Path(path_then).exists():
        config = dataclasses.replace(
            config, data=path_then
        )  # a relative one, of the directory where the run was started
    return Saved(workdir, module, config, spec, flags, identity)


def sound_of(run: Saved) -> Sounding | None:
    """Returns how samples of a run are heard; None where they are not."""
    sounding: Sounding | None = run.module.build(run.config, run.spec).sound
    return sounding


def text_of(run: Saved) -> Callable[[PyTree], Sequence[str]] | None:
    """Returns the function from samples of a run to lines; None where they are not read."""
    lines_of: Callable[[PyTree], Sequence[str]] | None = run.module.build(run.config, run.spec).text
    return lines_of


def _imported(name: str, file: str, digest: str) -> ModuleType:
    """Imports the experiment by its name, or from its file where the name cannot be imported or is another module.

    Prints a warning where the file has changed since the run. Raises UserError where neither can be imported.
    """
    file_exists = bool(file) and Path(file).is_file()
    try:
        module = importlib.import_module(name)
        module_path = getattr(module, "__file__", None)
        if (
            file_exists
            and module_path is not None
            and Path(module_path).samefile(file)
            and _sha256(module_path) != digest
        ):
            _say_changed(file)
        if not file_exists or module_path is None or Path(module_path).samefile(file) or _sha256(module_path) == digest:
            return module
    except (ImportError, SyntaxError) as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        if not absent or not file_exists:  # the module is there, but fails to import, perhaps for a missing package
            raise UserError(
                f"the run's experiment, {name}, cannot be imported ({error}); start Python where it can"
            ) from error
    if _sha256(file) != digest:
        _say_changed(file)
    unique_name = f"{name.rpartition('.')[2]}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(unique_name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"the run's experiment, {name}, cannot be imported from {file}: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique_name] = module  # dataclasses look up their module there
    folder = str(Path(file).parent)
    sys.path.insert(0, folder)  # as when the file was run as a script: it may import modules beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[unique_name]
        raise UserError(f"the run's experiment, {name}, cannot be imported from {file} ({error!r})") from error
    finally:
        sys.path.remove(folder)
    return module


def _say_changed(file: str) -> None:
    say(f"warning: {file} has changed since the run was made by it", error=True)


def _sha256(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def load(workdir: str | Path, raw: bool = False, member: int = 0, best: bool = False) -> Sampler:
    """Loads a sampler of the averaged generator of a run, from its last intact checkpoint.

    With `raw` the generator is the one that was trained instead of its average, with `best` the checkpoint is the best
    one. `member` is the index into a population. D and the rest of the state are loaded too, for the views.

    The experiment of the run is imported, by the name or the file in config.json, for its `build`, and must still build
    the same networks. Raises UserError where there is no run, no such checkpoint, no such member or one that has
    diverged, or where the experiment cannot be imported or builds other networks.
    """
    run = saved_run(workdir)
    with arithmetic(run.config.precision, run.config.matmul_precision):
        return _load(run, raw, member, best)


def _load(run: Saved, raw: bool, member: int, best: bool) -> Sampler:
    workdir, config, spec = run.workdir, run.config, run.spec
    name = run.module.__name__

    def build(values: Mapping[str, Any]) -> Any:
        return run.module.build(dataclasses.replace(config, sweep=(), **values), spec)

    members = config.members()
    if not 0 <= member < len(members):
        raise UserError(f"member {member} of {workdir.absolute()}, which has {len(members)}: 0 to {len(members) - 1}")
    try:
        recipe = build(members[member].values)
    except (AttributeError, TypeError) as error:
        raise UserError(f"the experiment {name} is not the one that made {workdir.absolute()}: {error}") from error

    def fresh() -> tuple[game.State, jax.Array]:
        blank = spec.blank(1)
        state = game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, jax.random.key(0), blank, config.precision)
        both = (state, jnp.zeros(2, jnp.int32))
        return jax.tree.map(lambda x: jnp.stack([x] * len(members)), both) if config.population else both

    step, (state, first_fault) = _restored(workdir, best, jax.eval_shape(fresh), lambda like: _require(like, run))
    if (lost := int(first_fault.reshape(-1, 2)[member, 0])) >= 0:
        raise UserError(
            f"member {member} of {workdir.absolute()}, {members[member].label}, has diverged at step {lost}"
        )
    if config.population:
        state = jax.tree.map(lambda x: x[member], state)
    gen = game.Average(params=state.gen.params, stats=state.gen.stats) if raw else state.ema
    how = {"weights": "raw" if raw else weights(recipe.ema_decay), "batch_norm": "running averages"}
    programs = Programs(lambda values: recipe.game, spec, False, config.precision, config.matmul_precision)
    return Sampler(
        programs, gen, state, step, how, member, {name: np.float32(x) for name, x in members[member].values.items()},
        config=run.flags, recipe=recipe, data_digest=run.identity.get("data_digest", ""),
    )  # fmt: skip


def _restored(workdir: Path, best: bool, like: Any, check: Callable[[game.State], None]) -> tuple[int, Any]:
    """The step of the last or best checkpoint, and its content; `check` first sees the state's shapes."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if not (workdir / "checkpoints").is_dir():
        raise UserError(f"{workdir.absolute()} {NONE_YET}")
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        if best:
            step = checkpoints.best
            if step is not None and (fault := checkpoints.fault(step)):
                raise UserError(f"the best checkpoint of {workdir.absolute()}, of step {step}, is damaged: {fault}")
        else:
            step = checkpoints.sound(lambda text: say(text, error=True), set_aside=False)
        if step is None:
            raise UserError(f"{workdir.absolute()} {NO_BEST if best else NONE_YET}")
        check(like[0])
        return step, checkpoints.restore(step, template(like, jax.tree.map(lambda x: here, like)))


def _require(like: game.State, run: Saved) -> None:
    """Raises UserError unless the networks are those that were saved."""
    now = tensors(like, run.config.population)
    for key, kind in run.identity.get("tensor", {}).items():
        if now.get(key) != kind:
            raise UserError(
                f"the networks of {run.module.__name__} are no longer those of {run.workdir.absolute()}: {key} was {kind} and is {now.get(key, 'absent')}"
            )
