"""Tables of experiments that are run in several arms: one thing is changed, and all else is as it was."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

from experiments.tools.kept import EFFORT, code, effort, head, made, measured, read, require_one_way, row, value

Columns = Mapping[str, tuple[str, str]]  # metric -> its title, and its format
TRICKS = {
    "none": "DCGAN",
    "feature_matching": "feature matching",
    "minibatch_discrimination": "minibatch discrimination",
    "historical_averaging": "historical averaging",
    "label_smoothing": "one-sided label smoothing",
    "virtual_batch_norm": "virtual batch norm in G",
    "minibatch_std": "minibatch standard deviation",
}
TRICKED = {
    "frechet_classifier": ("Fréchet distance (less is better)", ".2f"),
    "recall_classifier": ("recall (share)", ".3f"),
    "1nn_accuracy_classifier": ("1-NN tells real from fake (share; 0.5 is best)", ".3f"),
}
ARMS = {
    "none": "none",
    "diffaugment": "DiffAugment",
    "ada": "ADA",
    "lecam": "LeCam",
    "apa": "APA",
    "recommended": "relativistic, R1 + R2, DiffAugment (what gan_jax recommends)",
}
FEW = {
    "frechet_classifier": ("Fréchet distance (less is better)", ".2f"),
    "recall_classifier": ("recall (share)", ".3f"),
    "memory": ("memory: 1 where new images are to D as fakes", ".2f"),
    "logit_seen": ("D's logit of images seen", ".2f"),
    "logit_unseen": ("of others", ".2f"),
    "logit_fake": ("of fakes", ".2f"),
}
PENALTIES = {
    "exact": "exact",
    "jvp_25": "along a direction, a quarter of the rows",
    "difference_25": "difference over 0.01, a quarter of the rows",
    "difference_100": "difference over 0.01, all rows",
    "lazy_8": "exact, in every eighth round",
    "none": "none",
}
MODES = {
    "modes": ("modes found", ".1f"),
    "high_quality": ("high quality (share of samples)", ".3f"),
    "reverse_kl": ("reverse KL (nats)", ".3f"),
}
ESTIMATES = {"mixture": "mixture", "log_det": "log-determinant", "hmc": "PresGAN's HMC"}
# Errors of 10,000 by labels, mean ± standard deviation of ten choices: arXiv:1606.03498, table 1.
PUBLISHED_ERRORS = {20: "1677 ± 452", 50: "221 ± 136", 100: "93 ± 6.5", 200: "90 ± 4.2"}


def of_arms(experiment: str, arms: Mapping[str, str], columns: Columns, first: str, end: str = "") -> list[str]:
    """A row for each arm, and one of real images where the protocols have their values."""
    names = tuple(f"{experiment}_{arm}{end}" for arm in arms)
    require_one_way(names, next(iter(columns)))
    lines, floors = head(first, *(title for title, _ in columns.values()), *EFFORT), None
    for name, title in zip(names, arms.values(), strict=True):
        result = read(name)
        found = measured(result)
        lines.append(row(title, *(value(found.get(key), form) for key, (_, form) in columns.items()), *made(result)))
        floors = floors or ({key: found[key]["protocol"].get("floor") for key in columns} if result else None)
    if floors and any(floor is not None for floor in floors.values()):
        cells = ["" if floors[key] is None else f"{floors[key]:{form}}" for key, (_, form) in columns.items()]
        lines.append(row("*real images*", *cells, "", "", ""))
    return lines


def tricks() -> list[str]:
    return of_arms("tricks_mnist", TRICKS, TRICKED, "trick")


def few() -> list[str]:
    sprites = {key.replace("_classifier", "_projection"): column for key, column in FEW.items()}
    return [
        *of_arms("few_fashion", ARMS, FEW, "1,000 images of Fashion-MNIST", "_fashion_mnist"),
        "",
        *of_arms("few_fashion", ARMS, sprites, "1,000 sprites, 64x64 in colour", "_sprites"),
    ]


def cheap_penalties() -> list[str]:
    stacked = {key: column for key, column in MODES.items() if key != "high_quality"}
    return [
        *of_arms("cheap_penalties_grid", PENALTIES, MODES, "R1 + R2 on the grid of 25"),
        "",
        *of_arms("cheap_penalties_stacked", PENALTIES, stacked, "R1 + R2 on stacked MNIST"),
        "",
        *_costs(),
    ]


def _costs() -> list[str]:
    """What a round takes with each, and beside one without any."""
    result = read("benchmark_penalties")
    titles = ("R1 + R2 on stacked MNIST", "ms a round", "beside none", "temporary memory, MB", "code")
    lines = head(*titles)
    for name, title in PENALTIES.items():
        if result is None:
            lines.append(row(title, *["not run"] * 4))
            continue
        way, none = result["ways"][name], result["ways"]["none"]
        cells = [
            f"{way['ms']:.1f}",
            f"{way['ms'] / none['ms']:.2f}",
            f"{way['temporary_mb']:.0f}",
            result["commit"][:7],
        ]
        lines.append(row(title, *cells))
    return lines


def entropies() -> list[str]:
    """A table for each kind of data: the plain GAN, the noise alone, then each estimate with each weight."""
    lines: list[str] = []
    for data, modes, noise, estimates in (
        ("ring", 8, "0.05", ("mixture", "log_det")),
        ("grid", 25, "0.05", ("mixture", "log_det")),
        ("stacked", 1_000, "0.3", ("mixture", "hmc")),
    ):
        columns = {key: column for key, column in MODES.items() if data != "stacked" or key != "high_quality"}
        titles = [title.replace("found", f"found, of {modes:,}") for title, _ in columns.values()]
        lines += [""] if lines else []
        lines += head(f"{data}: entropy's weight", *titles, "mode entropy (nats)", *EFFORT)
        plain = read(f"entropy_{data}_mixture_0.0")
        lines.append(row("*none, no noise*", *_cells(measured(plain), columns, modes, ""), *made(plain)))
        for estimate in estimates:
            result = read(f"entropy_{data}_{estimate}_{noise}")
            if result is None:
                lines.append(row(ESTIMATES[estimate], *["not run"] * (len(columns) + 1), *made(None)))
                continue
            found = measured(result)
            for group in found["modes"]["groups"]:
                weight = group.removeprefix("entropy ")
                title = f"*0, noise {noise}*" if weight == "0" else f"{ESTIMATES[estimate]}, {weight}"
                count = len(result["members"]) // len(found["modes"]["groups"])
                fallen = found["collapsed"]["groups"][group]["last"]
                told = f"{count}, {round(fallen * count)} collapsed"
                lines.append(row(title, *_cells(found, columns, modes, group), told, effort(result), code(result)))
    return lines


def _cells(found: Mapping[str, Any], columns: Columns, modes: int, group: str) -> list[str]:
    """Values of a result, or of one group of a sweep, and the entropy of the modes: ln modes - reverse KL."""
    if not found:
        return ["not run"] * (len(columns) + 1)
    held = {key: found[key]["groups"][group] if group else found[key] for key in columns}
    cells = []
    for key, (_, form) in columns.items():
        mean = held[key]["last"]
        cells.append("infinite" if mean is None else f"{mean:{form}} ± {held[key]['last_std']:{form}}")
    kl = held["reverse_kl"]["last"]
    return [*cells, "" if kl is None else f"{math.log(modes) - kl:.3f}"]


def classifiers() -> list[str]:
    """A row for each kind of training images, a column for each number of real ones, a table for each set."""
    lines: list[str] = []
    for name, data in (("augmented_classifier_mnist", "MNIST"), ("augmented_classifier_fashion", "Fashion-MNIST")):
        result = read(name)
        lines += [""] if lines else []
        counts = ("10", "50", "100", "1000") if result is None else tuple(next(iter(result["accuracy"].values())))
        each = [f"{int(count):,} a class (%)" for count in counts]
        lines += head(f"{data}: learnt from", *each, "choices of labels x seeds", "code")
        if result is None:
            lines.append(row("all", *["not run"] * (len(counts) + 2)))
            continue
        for arm, by_count in result["accuracy"].items():
            cells, many = [], result["seeds"]
            for shares in by_count.values():  # seeds of one choice share its labels and its GANs
                means = [100 * statistics.mean(shares[i : i + many]) for i in range(0, len(shares), many)]
                cells.append(f"{statistics.mean(means):.2f} ± {statistics.stdev(means):.2f}")
            lines.append(row(arm, *cells, f"{result['draws']} x {many}", result["commit"][:7]))
    return lines


def semisup() -> list[str]:
    """A row for each number of labels and of steps, over its draws, with the published errors and the baselines beside."""
    lines = head("labels of MNIST", "errors of 10,000", "draws", *EFFORT[1:])
    baselines = read("semisup_baselines") or {"errors": {}, "commit": "", "steps": 0}
    for labels in (100, 50, 20, 200):
        for steps in (60_000, 30_000, 180_000):
            draws = [one for i in range(10) if (one := read(f"semisup_mnist_{labels}_{i}_{steps}"))]
            if draws:
                errors = [one["metrics"]["test_errors"]["last"] for one in draws]
                spread = f" ± {statistics.stdev(errors):.0f}" if len(errors) > 1 else ""
                title = f"{labels}: D of a GAN, {steps // 600} epochs"
                cells = [f"{statistics.mean(errors):.0f}{spread}", str(len(errors)), effort(draws[0]), code(draws[0])]
                lines.append(row(title, *cells))
            elif steps == 60_000:
                lines.append(row(f"{labels}: D of a GAN", "not run", "", "", ""))
        lines.append(row(f"*{labels}: published, 300 epochs*", PUBLISHED_ERRORS[labels], "10", "", ""))
        for arm, by_labels in baselines["errors"].items() if baselines else ():
            if errors := by_labels.get(str(labels)):
                spread = f" ± {statistics.stdev(errors):.0f}" if len(errors) > 1 else ""
                effort_of = f"{baselines['steps']:,} steps" if "network" in arm else ""
                told = [f"{statistics.mean(errors):.0f}{spread}", str(len(errors)), effort_of, baselines["commit"][:7]]
                lines.append(row(f"*{labels}: {arm}*", *told))
    return lines
