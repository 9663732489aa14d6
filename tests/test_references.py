"""The metrics on features against the published packages, whose values are kept in references/metrics.json, and on the
features of a classifier. The table of all is in experiments/README.md.
"""

import json
import math
from pathlib import Path

import numpy as np
import prdc as authors
import pytest
from references.data import cases, images

import experiments
from gan_jax.metrics import frechet as frechet_module
from gan_jax.metrics import kid as kid_module
from gan_jax.metrics import precision_recall as precision_recall_module
from gan_jax.metrics.frechet import frechet, frechet_distance, moments
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kid import kid, mmd2
from gan_jax.metrics.precision_recall import prdc, precision_recall
from gan_jax.metrics.ssim import ms_ssim, ssim
from gan_jax.workdir.provenance import environment

KEPT = json.loads((Path(__file__).parent / "references" / "metrics.json").read_text())
RESULT = Path(experiments.__file__).parent / "results" / "metrics.json"
DATA, IMAGES = cases(), images()
WINDOWS = {"ssim": "", "ms_ssim": "", "ssim_window_float64": ", its window in float64"}
VERSIONS = KEPT["packages"]
largest = {}  # (metric, package) -> the largest relative difference of all cases; of shares, absolute


def compare(metric, package, ours, theirs, bound=1e-6):
    """Differences of values from 1 down are absolute: a KID or a share near 0 is a difference of larger numbers."""
    difference = abs(ours - theirs) / max(1.0, abs(theirs))
    key = f"{metric}, {package} {VERSIONS[package]}"
    largest[key] = max(largest.get(key, 0.0), difference)
    assert difference < bound, (ours, theirs)


@pytest.mark.parametrize("case", DATA)
def test_frechet(case):
    real, fake = DATA[case]
    streamed = frechet_distance(moments(np.array_split(real, 7)), moments(np.array_split(fake, 3)))
    for package in ("torch-fidelity", "pytorch-fid", "clean-fid"):
        theirs = KEPT["features"][case][package]["fid"]
        compare("Fréchet distance", package, frechet(real, fake), theirs)
        compare("Fréchet distance", package, streamed, theirs)


@pytest.mark.parametrize("case", DATA)
def test_kernel(case):
    real, fake = DATA[case]
    least = min(len(real), len(fake))
    for package in ("torch-fidelity", "clean-fid"):
        own = KEPT["features"][case][package]
        if "kid_subsets" in own:
            theirs = own["kid_subsets"]
            ours = kid(real, fake, theirs["subsets"], theirs["size"], theirs["seed"])
            compare("KID, subsets", package, ours.mean, theirs["mean"])
            if "std" in theirs:
                compare("KID, deviation over subsets", package, ours.std, theirs["std"])
        compare("KID, all", package, mmd2(real[:least], fake[:least]), own["kid_all"])


@pytest.mark.parametrize("case", DATA)
def test_inception_score(case):
    own = KEPT["features"][case]["torch-fidelity"]
    for name, splits, seed in (("isc_1", 1, None), ("isc_10", 10, None), ("isc_10_shuffled", 10, 2020)):
        ours = inception_score(DATA[case][1], splits, seed)
        compare("Inception Score", "torch-fidelity", ours.mean, own[name]["mean"])
        compare("Inception Score, deviation over splits", "torch-fidelity", ours.std, own[name]["std"])


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("k", [3, 5])
def test_neighbours(case, k):
    real, fake = DATA[case]
    theirs = KEPT["features"][case]["torch-fidelity"]["prc"][f"k={k}"]
    for name, value in precision_recall(real, fake, k).items():
        compare(name, "torch-fidelity", value, theirs[name])
    ours, theirs = prdc(real, fake, k), KEPT["features"][case]["prdc"][f"k={k}"]
    for name, value in ours.items():
        compare(f"{name} (strict)", "prdc", value, theirs[name])
    assert ours == pytest.approx(authors.compute_prdc(real, fake, k), abs=1e-12)  # and as installed here


@pytest.mark.parametrize("case", IMAGES)
def test_structural_similarity(case):
    x, y = IMAGES[case]
    theirs = KEPT["images"][case]
    for package, key in (
        ("scikit-image", "ssim"),
        ("pytorch-msssim", "ssim"),
        ("pytorch-msssim", "ssim_window_float64"),
    ):
        for one, other in zip(ssim(x, y), theirs[package][key], strict=True):
            compare("SSIM" + WINDOWS.get(key, ""), package, float(one), other)
    for key, scales in (("ms_ssim", 5), ("ms_ssim_window_float64", 5), ("ms_ssim_3_scales_window_float64", 3)):
        for one, other in zip(
            ms_ssim(x, y, scales) if key in theirs["pytorch-msssim"] else (),
            theirs["pytorch-msssim"].get(key, ()),
            strict=True,
        ):
            compare(
                f"MS-SSIM, {scales} scales" + WINDOWS.get(key, WINDOWS["ssim_window_float64"]),
                "pytorch-msssim",
                float(one),
                other,
            )


def test_blocks_change_nothing(monkeypatch):
    real, fake = DATA["near"]
    whole = frechet(real, fake), mmd2(real, fake), prdc(real, fake), precision_recall(real, fake)
    for module in (frechet_module, kid_module, precision_recall_module):
        monkeypatch.setattr(module, "BLOCK", 37)
    parts = frechet(real, fake), mmd2(real, fake), prdc(real, fake), precision_recall(real, fake)
    assert parts[2:] == whole[2:] and np.allclose(parts[:2], whole[:2], rtol=1e-12)


def test_the_table(request):
    """As kept, and written anew on request."""
    if request.config.getoption("--write-results"):
        assert len(largest) >= 16, "run the whole file"
        rounded = {key: float(f"{value:.0e}") for key, value in sorted(largest.items())}
        command = "pytest tests/test_references.py --write-results"
        result = {"name": "metrics", "command": command, **environment(), "cases": list(DATA), "difference": rounded}
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
    kept = json.loads(RESULT.read_text())
    assert kept["cases"] == list(DATA) and all(
        value < 1e-6 and math.isfinite(value) for value in kept["difference"].values()
    )
