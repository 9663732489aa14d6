"""Asks the published packages for the values that the tests of the metrics compare with, and keeps them in
metrics.json.

    python tests/references/metrics.py

with torch (any build for the CPU), scipy<1.18, scikit-learn, scikit-image==0.26.0 and prdc==0.2, and, installed with
`pip install --no-deps`, torch-fidelity==0.4.0, pytorch-fid==0.3.0, clean-fid==0.1.35 and pytorch-msssim==1.0.0. Not run
by pytest. torchvision, which three of them import for networks and data sets that are not used here, is replaced.
"""

import importlib.metadata
import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np
from data import cases, images

SEED = 2020  # torch-fidelity's own
SUBSETS = 10
KID = (
    "torch-fidelity: rng = np.random.RandomState(seed); for each subset first rng.choice(len(fake), size, replace=False), then "
    "rng.choice(len(real), size, replace=False); the mean and the standard deviation (ddof 0) over subsets. clean-fid: the "
    "same draws from the global generator after np.random.seed(seed), and in the same order, as it is given (real, fake) and draws "
    "of its second argument first; its kid_all draws of equally many, so all of them. kid_all: one subset of all, of real[:k] and "
    "fake[:k], k the lesser count. Kernel (x.y / d + 1)^3, within sets without the diagonal over k (k - 1), between sets all over k^2."
)


class Nothing(type):
    """Classes that hold every name, each such a class again."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {})


for name in ("", ".datasets", ".models", ".transforms", ".transforms.functional"):
    module = types.ModuleType("torchvision" + name)
    module.__getattr__ = Nothing("torchvision", (), {}).__getattr__
    sys.modules[module.__name__] = module

import prdc  # noqa: E402
import pytorch_msssim  # noqa: E402
import skimage.metrics  # noqa: E402
import torch  # noqa: E402
from cleanfid import fid as clean_fid  # noqa: E402
from pytorch_fid import fid_score  # noqa: E402
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc  # noqa: E402


def moments(x):
    return x.mean(0), np.cov(x, rowvar=False)


def of_features(real, fake):
    one, two = torch.from_numpy(real), torch.from_numpy(fake)
    least = min(len(real), len(fake))
    size = min(100, least // 2)
    (m1, c1), (m2, c2) = moments(real), moments(fake)

    def kid(a, b, subsets, size):
        found = metric_kid.kid_features_to_metric(
            a, b, kid_subsets=subsets, kid_subset_size=size, rng_seed=SEED, verbose=False
        )
        return {"mean": found["kernel_inception_distance_mean"], "std": found["kernel_inception_distance_std"]}

    def clean_kid(a, b, subsets, size):
        np.random.seed(SEED)
        return clean_fid.kernel_distance(a, b, num_subsets=subsets, max_subset_size=size)

    def inception(splits, shuffle):
        found = metric_isc.isc_features_to_metric(two, splits, shuffle=shuffle, rng_seed=SEED)
        return {"mean": found["inception_score_mean"], "std": found["inception_score_std"]}

    return {
        "counts": {"real": len(real), "fake": len(fake), "d": real.shape[1]},
        "torch-fidelity": {
            "fid": metric_fid.fid_statistics_to_metric(
                *(metric_fid.fid_features_to_statistics(x) for x in (one, two)), verbose=False
            )["frechet_inception_distance"],
            "kid_subsets": {"seed": SEED, "subsets": SUBSETS, "size": size, **kid(two, one, SUBSETS, size)},
            "kid_all": kid(two[:least], one[:least], 1, least)["mean"],
            "isc_1": inception(1, False),
            "isc_10": inception(10, False),
            "isc_10_shuffled": {"seed": SEED, **inception(10, True)},
            "prc": {
                f"k={k}": metric_prc.prc_features_to_metric(two, one, prc_neighborhood=k, verbose=False) for k in (3, 5)
            },
        },
        "pytorch-fid": {"fid": float(fid_score.calculate_frechet_distance(m1, c1, m2, c2))},
        "clean-fid": {
            "fid": float(clean_fid.frechet_distance(m1, c1, m2, c2)),
            "kid_subsets": {
                "seed": SEED,
                "subsets": SUBSETS,
                "size": size,
                "mean": clean_kid(real, fake, SUBSETS, size),
            },
            "kid_all": clean_kid(real[:least], fake[:least], 1, least),
        },
        "prdc": {
            f"k={k}": {name: float(value) for name, value in prdc.compute_prdc(real, fake, k).items()} for k in (3, 5)
        },
    }


def of_images(x, y):
    one, two = (torch.from_numpy(z.astype(np.float64)).permute(0, 3, 1, 2) for z in (x, y))
    window = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (window / window.sum()).repeat(x.shape[3], 1, 1, 1)
    three = np.array([0.0448, 0.2856, 0.3001])

    def listed(measure, **options):
        return measure(one, two, data_range=255, size_average=False, **options).tolist()

    msssim = {"ssim": listed(pytorch_msssim.ssim), "ssim_window_float64": listed(pytorch_msssim.ssim, win=window)}
    if min(x.shape[1:3]) > 160:
        ms_ssim = pytorch_msssim.ms_ssim
        msssim |= {
            "ms_ssim": listed(ms_ssim),
            "ms_ssim_window_float64": listed(ms_ssim, win=window),
            "ms_ssim_3_scales_window_float64": listed(ms_ssim, win=window, weights=(three / three.sum()).tolist()),
        }
    return {
        "shape": list(x.shape),
        "pytorch-msssim": msssim,
        "scikit-image": {
            "ssim": [
                float(
                    skimage.metrics.structural_similarity(
                        a.astype(np.float64),
                        b.astype(np.float64),
                        data_range=255,
                        channel_axis=2,
                        gaussian_weights=True,
                        sigma=1.5,
                        use_sample_covariance=False,
                    )
                )
                for a, b in zip(x, y, strict=True)
            ]
        },
    }


def main():
    warnings.simplefilter("ignore")  # two packages call scipy.linalg.sqrtm with disp, and of singular matrices
    names = (
        "torch-fidelity",
        "pytorch-fid",
        "clean-fid",
        "prdc",
        "pytorch-msssim",
        "scikit-image",
        "torch",
        "numpy",
        "scipy",
    )
    kept = {
        "made_by": "tests/references/metrics.py",
        "data": "cases() and images() of tests/references/data.py; features float64; isc takes the fake features as logits; "
        "isc_1 and isc_10 of rows in their order, isc_10_shuffled after RandomState(seed).permutation, split i being rows "
        "i n // 10 to (i + 1) n // 10; images as float64 in 0..255 with data_range 255, one value for each pair",
        "packages": {name: importlib.metadata.version(name) for name in (*names, "scikit-learn")},
        "kid": KID,
        "fid": "of singular covariances (few, singular) the packages take roots of rounding errors: good to 3e-8 relative there, "
        "to 1e-12 elsewhere",
        "features": {name: of_features(*pair) for name, pair in cases().items()},
        "images": {name: of_images(*pair) for name, pair in images().items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
