"""Tables of what is made of given images: pairs, domains without pairs, fillings, and enlargements, beside answers that take no
learning. The values of these stand in the protocols of the runs beside them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from experiments.tools.kept import EFFORT, head, made, measured, read, row, value

Columns = Mapping[str, tuple[str, str]]
TOLD = {
    "log_spectral": ("log-magnitudes, L1 at four resolutions (nats)", ".3f"),
    "trajectories": ("Fréchet distance of trajectories (less is better)", ".3f"),
    "nll_oracle": ("-ln p by the oracle (nats a symbol)", ".3f"),
    "js_3": ("Jensen-Shannon divergence of 3-grams (bits)", ".3f"),
    "frechet_sounds": ("Fréchet distance (less is better)", ".2f"),
    "l1_to_b": ("to edges: L1 (pixels in [-1, 1])", ".3f"),
    "psnr_y_set5": ("PSNR of the luma, Set5 (dB)", ".2f"),
    "kid_vgg": ("1,000 x KID, VGG-19 (less is better)", ".1f"),
    "psnr": ("PSNR (dB)", ".2f"),
}
PAIRS = {
    "l1": ("L1 (pixels in [-1, 1])", ".3f"),
    "psnr": ("PSNR (dB)", ".2f"),
    "kid_projection": ("1,000 x KID, sums of pixels", ".0f"),
    "return_l1": ("L1 of the way back", ".3f"),
    "return_colours": ("colours of the map, found again (share)", ".3f"),
}
EDGES = {
    "l1_to_b": ("to edges: L1 (pixels in [-1, 1])", ".3f"),
    "agreement_to_b": ("pixels that agree, rounded (share)", ".3f"),
    "l1_to_a": ("to digits: L1", ".3f"),
    "agreement_to_a": ("pixels that agree", ".3f"),
    "class_kept_to_a": ("still the same digit (share)", ".3f"),
}
DOMAINS = {
    "kid_vgg": ("1,000 x KID, VGG-19 (less is better)", ".1f"),
    "content": ("SSIM with what was given, grey (share kept)", ".3f"),
}
FILLED = {
    "psnr": ("PSNR of what was missing (dB)", ".2f"),
    "l1": ("L1 there (pixels in [-1, 1])", ".3f"),
    "class_accuracy": ("still the same class (share)", ".3f"),
}
ENLARGED = {
    f"{key}_{name.lower()}": (f"{name}: {title}", form)
    for name in ("Set5", "Set14")
    for key, title, form in (
        ("psnr_y", "PSNR of the luma (dB)", ".2f"),
        ("ssim_y", "SSIM", ".4f"),
        ("features", "distance of SqueezeNet's features (less is better)", ".3f"),
    )
}
# Answers in protocols, and what they are.
ANSWERS = {
    "copy": "the input itself",
    "mean_target": "the mean target",
    "target of the nearest input": "the target of the nearest input",
    "black": "a black image",
    "another": "another of the true ones, whichever",
    "colours": "a transfer of colours",
    "laplace": "harmonic (Laplace's equation)",
    "mean": "the mean of the training images there",
    "nearest": "what the nearest context has there",
    "unfilled": "unfilled",
    "bicubic": "bicubic",
    "griffin_lim": "Griffin-Lim, 32 iterations",
    "5-grams": "5-grams, Witten-Bell",
    "2-grams": "2-grams",
    "shuffled": "characters of real ones in another order",
    "uniform": "uniform symbols",
    "noise": "noise with the mean spectrum and envelope",
    "backwards": "real sounds, backwards",
    "vocoder": "real sounds through the vocoder",
    "frozen": "real clips, frozen at the first frame",
    "others": "frames of real clips, each of another one",
    "one class": "real clips of one class only",
    "real": "real images",
    "floor": "real images learnt from",
}


def answered(
    first: str, runs: Mapping[str, str], columns: Columns, titles: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """A row for each run, then those of the answers beside them, which have `titles` of their own or those of ANSWERS."""
    lines = head(first, *(title for title, _ in columns.values()), *EFFORT)
    answers: dict[str, dict[str, float]] = {}
    for name, title in runs.items():
        found = measured(result := read(name))
        lines.append(row(title, *(value(found.get(key), form) for key, (_, form) in columns.items()), *made(result)))
        for key in columns:
            for answer in ANSWERS:
                number = _beside(found.get(key), answer)
                if isinstance(number, float):
                    answers.setdefault(answer, {})[key] = number
    for answer, title in ANSWERS.items():
        if answer in answers:
            cells = [
                f"{answers[answer][key]:{form}}" if key in answers[answer] else "" for key, (_, form) in columns.items()
            ]
            lines.append(row(f"*{titles.get(answer, title)}*", *cells, "", "", ""))
    return lines


def _beside(metric: Mapping[str, Any] | None, answer: str) -> Any:
    how = metric["protocol"] if metric else {}
    return how.get("floor") if answer == "floor" else how.get("answers", {}).get(answer)


def pairs() -> list[str]:
    lines: list[str] = []
    for name, what in (("pix2pix_facades", "maps of facades to photographs"), ("pix2pix_emoji", "emoji of two sets")):
        runs = {name: "pix2pix", f"{name}_alone": "the same G by L1 alone"}
        columns = {key: column for key, column in PAIRS.items() if name == "pix2pix_facades" or key != "return_colours"}
        lines += [*([""] if lines else []), *answered(what, runs, columns)]
    return lines


def domains() -> list[str]:
    lines: list[str] = []
    methods = {"cyclegan": "CycleGAN", "discogan": "DiscoGAN", "dualgan": "DualGAN"}
    for data, what in (("digits", "8x8 digits and their edges"), ("mnist", "MNIST and its edges")):
        runs = {f"cyclegan_digits_{method}_{data}": title for method, title in methods.items()}
        lines += [*answered(what, runs, EDGES), ""]
    runs = {"cyclegan_monet": "CycleGAN", "cut_monet": "CUT", "cut_monet_fast": "FastCUT"}
    return [*lines, *answered("photographs to Monet, 64x64", runs, DOMAINS)]


def fillings() -> list[str]:
    lines: list[str] = []
    ways = {"partial": "partial convolutions", "context": "context encoder", "cc": "CC-GAN, D alone"}
    for name, what in (("inpaint_facades", "facades, 64x64"), ("inpaint_mnist", "MNIST")):
        columns = {key: column for key, column in FILLED.items() if name == "inpaint_mnist" or key != "class_accuracy"}
        runs = {f"{name}_{way}": title for way, title in ways.items()}
        lines += [*([""] if lines else []), *answered(f"{what}: the centre is missing", runs, columns)]
    return lines


def enlargements() -> list[str]:
    lines: list[str] = []
    for scale, network, what in (
        (4, "residual", "MSRResNet, 6 blocks of 32"),
        (2, "compact", "compact, 6 blocks of 32"),
    ):
        stages = {"psnr": what, "gan": f"{what}, then a discriminator"}
        runs = {f"superres_photos_{scale}_{stage}_{network}": title for stage, title in stages.items()}
        lines += [*([""] if lines else []), *answered(f"{scale} times larger", runs, ENLARGED)]
    return lines
