"""Writes the averaged generator of a run for programs that know nothing of gan_jax.

    pip install -e '.[export]'
    gan-jax export runs/dcgan_mnist --out generator/
    cd generator && python sample.py         # needs numpy, jax and flatbuffers

The folder holds the generator as StableHLO for any batch and for CPU, CUDA and TPU (generator.stablehlo), its weights
(model.safetensors), the run's configuration (config.json), a model card (README.md) and a program that samples
(sample.py): the layout of model hubs. The StableHLO file is read by the JAX that wrote it and by later ones.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from jax import export
from tyro.conf import Positional, arg

from gan_jax.system.numerics import arithmetic
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir.checkpoint import name_of
from gan_jax.workdir.load import load
from gan_jax.workdir.sampler import Sampler

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM = """import jax
import numpy as np

with open("generator.stablehlo", "rb") as file:
    generator = jax.export.deserialize(bytearray(file.read()))
rng, rows = np.random.default_rng(0), 16
{inputs}
samples = np.asarray(generator.call({names}))  # {shape}, {range}
np.save("samples.npy", samples)
print(samples.shape, samples.min(), samples.max())
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    run: Positional[Annotated[str, arg(metavar="RUN")]] = ""
    """Directory of the run."""
    out: str = ""
    """New folder for the files."""
    raw: bool = False
    """Export the trained generator instead of its average."""
    best: bool = False
    """Export that of the best checkpoint instead of the last."""
    member: int = 0
    """Index of the member of a population, from 0."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns the paths of the files. Raises UserError where packages are missing, `out` is not empty,
    or the generator is no function of a batch of any size.
    """
    try:
        import flatbuffers  # noqa: F401  # jax.export needs it, and does not bring it
        from safetensors.numpy import save_file
    except ImportError as error:
        raise UserError(f"an export needs {error.name}: pip install 'gan_jax[export]'") from error
    if not config.run or not config.out:
        raise UserError("name a run and a new folder: gan-jax export RUN --out DIR")
    out = Path(config.out).expanduser()
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"--out {config.out} exists: name a new folder")
    sampler = load(config.run, raw=config.raw, member=config.member, best=config.best)
    exported = stablehlo(sampler)
    run = json.loads((Path(config.run).expanduser() / "config.json").read_text(encoding="utf-8"))
    names = _names(sampler)
    program = PROGRAM.format(
        inputs="\n".join(_inputs(sampler, names)),
        names=", ".join(names), shape=list(exported.out_avals[0].shape), range="images in [-1, 1]" if len(sampler.spec.shape) == 3 else "as the data",
    )  # fmt: skip
    described = {
        "experiment": run["experiment"], "config": run["config"], "data": run.get("data", {}), "identity": run["identity"],
        "step": sampler.step, **sampler.how, "inputs": {
            name: {"dtype": str(kind.dtype), "shape": ["b", *kind.shape[1:]]}
            for name, kind in zip(names, sampler.programs.kinds.arrays, strict=True)
        },
        "class_names": list(sampler.class_names), "versions": run["starts"][-1].get("versions", {}) if run["starts"] else {},
    }  # fmt: skip
    files = {
        "generator.stablehlo": bytes(exported.serialize()),
        "config.json": (json.dumps(described, indent=2) + "\n").encode(),
        "README.md": _card(config, sampler, described, program).encode(),
        "sample.py": program.encode(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
    weights = {"params": sampler.generator.params, "stats": sampler.generator.stats}
    flat = {
        name_of(path).replace("/", "."): np.ascontiguousarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(weights)
    }
    save_file(flat, out / "model.safetensors", {"format": "flax linen", "experiment": run["experiment"]})
    say(
        f"the generator of {config.run} at step {sampler.step:,}, {sampler.how['weights']}: {out} (python sample.py there)"
    )
    return {"out": str(out), "files": sorted([*files, "model.safetensors"])}


def stablehlo(sampler: Sampler) -> export.Exported:
    """Returns the generator, with its weights in it, as a function of its inputs for any number of rows."""
    gen, game = sampler.generator, sampler.recipe.game
    (rows,) = export.symbolic_shape("b")
    kinds = [jax.ShapeDtypeStruct((rows, *kind.shape[1:]), kind.dtype) for kind in sampler.programs.kinds.arrays]
    with arithmetic(sampler.config.get("precision", "float32"), sampler.config.get("matmul_precision", "float32")):

        def sample(*inputs: jax.Array) -> Any:
            # The barrier keeps XLA from computing with the weights when it compiles, which would round otherwise.
            params, stats = jax.lax.optimization_barrier((gen.params, gen.stats))
            return game.sample(params, stats, *inputs)

        try:
            return export.export(jax.jit(sample), platforms=PLATFORMS)(*kinds)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(
                f"the generator is no function of a batch of any size: {str(error).splitlines()[0]}"
            ) from error


def _names(sampler: Sampler) -> list[str]:
    """Names of the inputs: arrays of the data by theirs, the label as such, noise as z, and what else there is."""
    kinds = sampler.programs.kinds
    needs = iter(kinds.needs)
    names = []
    for i, kind in enumerate(kinds.arrays):
        noise = "z" if "z" not in names and kind.ndim == 2 else f"input_{i}"
        names.append("label" if i == kinds.label else next(needs, noise))
    return names


def _inputs(sampler: Sampler, names: list[str]) -> list[str]:
    """The lines of the program that make the inputs."""
    kinds = sampler.programs.kinds
    drawn = [None] * len(names) if kinds.needs else sampler.inputs(2)
    return [_made(*of, sampler.classes) for of in zip(names, kinds.arrays, drawn, strict=True)]


def _made(name: str, kind: Any, drawn: Any, classes: int) -> str:
    """A line of the program that makes an input: `drawn` is what the run itself makes for two rows, None where it is given images."""
    shape = ", ".join(["rows", *map(str, kind.shape[1:])])
    if drawn is not None and name != "label":
        values = np.unique(np.asarray(drawn))
        if len(values) == 1:  # no noise: a temperature, what is given
            return f"{name} = np.full(({shape},), {values[0]}, np.{kind.dtype})"
        return f"{name} = rng.standard_normal(({shape})).astype(np.{kind.dtype})"
    if name == "label":
        return f"label = np.arange(rows, dtype=np.int32) % {classes}"
    if not np.issubdtype(kind.dtype, np.floating):
        return f"{name} = np.zeros(({shape},), np.{kind.dtype})"
    if kind.ndim > 2:
        return f"{name} = np.zeros(({shape},), np.{kind.dtype})  # images in [-1, 1]"
    return f"{name} = rng.standard_normal(({shape})).astype(np.{kind.dtype})"


def _card(config: Config, sampler: Sampler, described: dict[str, Any], program: str) -> str:
    """The model card: what it is, its data, its numbers with their protocol, and how to sample from it."""
    name = described["experiment"].rsplit(".", 1)[-1]
    result = Path(config.run).expanduser() / "result.json"
    lines = [
        "---", "library_name: jax", "tags: [gan, jax, flax, image-generation]", "---", "",
        f"# {name}", "",
        f"A generator trained by gan_jax (`{described['experiment']}`), at step {sampler.step:,}; weights: {sampler.how['weights']}.",
        f"Data: {described['identity'].get('data', 'not named')} (digest {described['identity'].get('data_digest', 'none')}).", "",
    ]  # fmt: skip
    if sampler.class_names:
        lines += [f"Classes: {', '.join(sampler.class_names)}.", ""]
    if result.exists():
        saved = json.loads(result.read_text(encoding="utf-8"))
        metrics = saved.get("final") or saved["metrics"]
        lines += ["| metric | value | protocol |", "|---|---|---|"]
        for metric, one in metrics.items():
            how = ", ".join(f"{key} {value}" for key, value in one["protocol"].items())
            lines.append(f"| {metric} | {one['last'] if one['last'] is not None else 'infinite'} | {how} |")
        lines.append("")
    return "\n".join(
        [*lines, "To sample, with numpy, jax and flatbuffers:", "", "```python", program.rstrip(), "```", ""]
    )
