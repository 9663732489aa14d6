"""Measures of enlarged photographs, by the protocol of papers on super-resolution, beside bicubic enlargement."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.data import bicubic
from gan_jax.metrics.fidelity import enlarged
from gan_jax.types import Array, Draw, Evaluate, Record, UserError
from gan_jax.workdir.pictures import to_uint8

Photographs = Mapping[str, np.ndarray]  # name -> uint8 [h w 3]


def measures(
    sets: Mapping[str, Photographs],
    scale: int,
    grey: Collection[str] = (),
    distance: Callable[[Array, Array], float] | None = None,
    weights: str = "",
) -> Evaluate:
    """Returns the measures of a generator that is given "low", for each set of photographs, by its name: "psnr_y_NAME" (dB) and
    "ssim_y_NAME", averaged over photographs, and with `distance`, of images [1 h w 3] in [-1, 1], "features_NAME".

    Each photograph, uint8 [h w 3], is cut to multiples of `scale`, made smaller by `data.bicubic`, enlarged by the generator,
    and rounded; both are compared by `metrics.fidelity.enlarged`. `grey` are the names, SET/NAME without a suffix, of those
    whose first channel is scored at its full range; `weights` describes the network of `distance`. Protocols have the
    values of bicubic enlargement as "answers". Raises UserError for a set without photographs, and where one is too
    small.
    """
    alone = {name: {one for one in held if f"{name}/{Path(one).stem}" in grey} for name, held in sets.items()}
    parts = {name: _measures(held, scale, alone[name], distance, weights) for name, held in sets.items()}
    keys = ("psnr_y", "ssim_y") + (() if distance is None else ("features",))

    def measure(draw: Draw) -> dict[str, Record]:
        return {f"{key}_{name}": record for name, of in parts.items() for key, record in of(draw).items()}

    return Evaluate(measure, tuple(f"{key}_{name}" for name in sets for key in keys))


def _measures(
    photographs: Photographs,
    scale: int,
    grey: Collection[str],
    distance: Callable[[Array, Array], float] | None,
    weights: str,
) -> Callable[[Draw], dict[str, Record]]:
    if not photographs:
        raise UserError("no photographs to measure by: name a folder of some")
    truth = {}
    for name, image in photographs.items():
        h, w = (side - side % scale for side in image.shape[:2])
        if min(h, w) < 16 + 2 * scale:
            raise UserError(f"{name} is {image.shape[1]}x{image.shape[0]}, too small to be measured at scale {scale}")
        truth[name] = image[:h, :w]
    low = {name: bicubic.resized(x, (x.shape[0] // scale, x.shape[1] // scale)) for name, x in truth.items()}

    def scores(made: Photographs) -> dict[str, float]:
        each = [enlarged(made[name], x, scale, colour=name not in grey) for name, x in truth.items()]
        found = {f"{key}_y": float(np.mean([one[key] for one in each])) for key in ("psnr", "ssim")}
        if distance is not None:
            both = [[_scaled(z)[None] for z in (made[name], x)] for name, x in truth.items()]
            found["features"] = float(np.mean([distance(*pair) for pair in both]))
        return found

    beside = scores({name: bicubic.resized(low[name], x.shape[:2]) for name, x in truth.items()})
    how: dict[str, Any] = {
        "real": len(truth), "fake": len(truth), "real_split": "test", "scale": scale, "small images": "bicubic, antialiased, 8 bits", "pixels": "8 bits",
    }  # fmt: skip
    luma = {
        "of": "luma (BT.601, 16 to 235)" + (f", but for {', '.join(sorted(grey))}" if grey else ""), "border": scale,
    }  # fmt: skip

    network = {"features": "channels of length 1, squared differences", "network_weights": weights}

    def measure(draw: Draw) -> dict[str, Record]:
        made = {name: to_uint8(np.asarray(draw({"low": _scaled(x)[None]}))[0]) for name, x in low.items()}
        return {
            key: Record(
                value,
                key != "features",
                {**how, **(network if key == "features" else luma), "answers": {"bicubic": beside[key]}},
            )
            for key, value in scores(made).items()
        }

    return measure


def _scaled(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 127.5 - 1
