"""Reading kept results, experiments/results/NAME.json, and writing their cells of tables."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

from experiments.tools import golden
from experiments.tools.earlier import as_today
from gan_jax.metrics import protocol

RESULTS = Path(__file__).parents[1] / "results"
# Runs of published protocols are distinguished by these flags, and may have fewer --steps where the paper's take days.
VARIANTS = {
    "pacgan_mixtures": ("mixture", "packing"),
    "unrolled_ring": ("unroll",),
    "stacked_mnist": ("width", "packing"),
    "stacked_mnist_dcgan": ("width",),
    "tricks_mnist": ("trick",),
    "few_fashion": ("arm", "data"),
    "semisup_mnist": ("labels", "draw", "steps"),
    "entropy_ring": ("estimate", "noise"),
    "entropy_grid": ("estimate", "noise"),
    "entropy_stacked": ("estimate", "noise"),
    "cheap_penalties_grid": ("penalty",),
    "cheap_penalties_stacked": ("penalty",),
    "conditional_fashion": ("way",),
    "best_mnist": ("conditional",),
    "best_fashion": ("conditional",),
    "stacked_mnist_r3gan": ("width",),
    "stylegan2_sprites": ("images", "augment"),
    "pix2pix_facades": ("alone",),
    "pix2pix_emoji": ("alone",),
    "cyclegan_digits": ("method", "data"),
    "cyclegan_monet": (),
    "cut_monet": ("fast",),
    "inpaint_facades": ("way",),
    "inpaint_mnist": ("way",),
    "superres_photos": ("scale", "stage", "network"),
    "vocoder_digits": (),
    "specgan_digits": ("by", "vocoder"),
    "wavegan_digits": (),
    "wgan_gp_text": (),
    "mle_names": ("data",),
    "gumbel_names": (),
    "seqgan_oracle": ("way",),
    "mocogan_shapes": (),
    "mocogan_actions": (),
    "vgan_shapes": (),
}
# Flags that say where something lies, beside the data.
PLACES = {
    "mle_names": {"stream", "length"},
    "cyclegan_monet": {"perceptual"},
    "cut_monet": {"perceptual"},
    "superres_photos": {"test", "grey", "perceptual", "judge", "start-from"},
}
EFFORT = ("seeds", "steps and real images of each seed, minutes of all", "code")


def flags(result: dict[str, Any]) -> dict[str, str]:
    """Returns the flags that the command was given."""
    return dict(re.findall(r" --([a-z0-9-]+)(?: ((?!--)\S+))?", result["command"]))


def default_config(result: dict[str, Any]) -> Any:
    """The default configuration of the experiment."""
    return importlib.import_module(f"experiments.{result['name']}").Config()


def allowed(name: str) -> set[str]:
    """Returns the flags that the command of a kept run may have: where the data lie is told apart by their digest."""
    sweep = {"sweep"} if "noise" in VARIANTS.get(name, ()) else set()
    variants = {"steps", *VARIANTS[name]} | sweep if name in VARIANTS else set()
    return {"seeds", "data"} | PLACES.get(name, set()) | variants


def kept_as(result: dict[str, Any]) -> str:
    """Returns the file name of a result: its experiment's, and the values of the flags that distinguish its runs; of one
    that is set or not, its name where it is set.
    """
    name, config, given = result["name"], default_config(result), flags(result)
    defaults = {flag: getattr(config, flag) for flag in VARIANTS.get(name, ())}
    values = {flag: str(value) for flag, value in defaults.items()} | given
    values |= {flag: flag if flag in given else "" for flag, value in defaults.items() if isinstance(value, bool)}
    for place in {"data", "vocoder"} & values.keys():
        values[place] = Path(values[place]).stem
    return "_".join([name, *filter(None, (values[flag] for flag in defaults))])


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def value(metric: dict[str, Any] | None, form: str) -> str:
    """last (best), or only last where both read the same; for a population each with its standard deviation"""
    if metric is None:
        return "not run"

    def shown(which: str) -> str:
        if metric[which] is None:
            return "infinite"
        spread = f" ± {metric[f'{which}_std']:{form}}" if f"{which}_std" in metric else ""
        return f"{metric[which]:{form}}{spread}"

    text = shown("last") if shown("last") == shown("best") else f"{shown('last')} ({shown('best')})"
    last = [one["last"] for one in metric.get("members", {}).values()]
    if 0 < last.count(None) < len(last):  # the mean leaves these out
        return f"{text}, of {len(last) - last.count(None)} seeds, else not finite"
    return text


def seeds(result: dict[str, Any] | None) -> str:
    """Their number, and how many of them collapsed or diverged."""
    if result is None:
        return "not run"
    lost, count = len(result.get("diverged", ())), len(result["seeds"])
    collapsed = result["metrics"].get("collapsed", {}).get("last")
    fallen = "" if collapsed is None else f", {round(collapsed * (count - lost))} collapsed"
    return f"{count}{fallen}{f', {lost} diverged' if lost else ''}"


def effort(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run"
    steps = f"{result['steps']:,}"
    if "steps" in flags(result):
        steps += f" of {default_config(result).steps:,}"
    return f"{steps} steps, {result['images']:,} images, {result['seconds'] / 60:.1f} min"


def code(result: dict[str, Any] | None) -> str:
    """The commit of the result, and whether the first steps of its experiment are still the same."""
    if result is None:
        return "not run"
    now = golden.read().get(result["name"], [])
    return result["commit"][:7] + ("" if golden.agree(result.get("first_steps", []), now) else ", earlier code")


def made(result: dict[str, Any] | None) -> list[str]:
    """The cells under EFFORT."""
    return [seeds(result), effort(result), code(result)]


def measured(result: dict[str, Any] | None) -> dict[str, Any]:
    """The values of a result by metric; those of the final measurement, with more samples, replace the others."""
    return result["metrics"] | result.get("final", {}) if result else {}


def row(*cells: str) -> str:
    return "| " + " | ".join(cell or "-" for cell in cells) + " |"


def head(*cells: str) -> list[str]:
    return [row(*cells), "|---" * len(cells) + "|"]


def require_one_way(names: tuple[str, ...], metric: str) -> None:
    """UserError where two results on one set were not measured in the same way, apart from the labels of a conditional
    generator.
    """
    by_set: dict[str, dict[str, Any]] = {}
    for result in filter(None, map(read, names)):
        metrics = result["metrics"] | result.get("final", {})
        if metric in metrics:
            how = as_today(metric, metrics[metric]["protocol"])
            how.pop("labels", None)
            by_set.setdefault(result["data"]["name"], {})[result["name"]] = how
    for protocols in by_set.values():
        protocol.require_same(protocols)
