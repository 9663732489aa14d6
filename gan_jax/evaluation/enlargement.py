"""Measures of enlarged photographs, by the protocol of papers on super-resolution, beside bicubic enlargement."""

from collections.abc import Collection, Mapping

import numpy as np

from gan_jax.data import bicubic
from gan_jax.metrics.fidelity import enlarged
from gan_jax.types import Draw, Evaluate, Record, UserError
from gan_jax.workdir.pictures import to_uint8


def measures(photographs: Mapping[str, np.ndarray], scale: int, grey: Collection[str] = ()) -> Evaluate:
    """Returns the measures "psnr_y" (dB) and "ssim_y" of a generator that is given "low", averaged over photographs.

    Each one, uint8 [h w 3], is cut to multiples of `scale`, made smaller by `data.bicubic`, enlarged by the generator, and
    rounded; both are compared by `metrics.fidelity.enlarged`. `grey` are the names of those whose first channel is scored
    at its full range. The protocol has the values of bicubic enlargement. Raises UserError without photographs, and
    where one is too small.
    """
    if not photographs:
        raise UserError("no photographs to measure by: name a folder of some")
    truth = {}
    for name, image in photographs.items():
        h, w = (side - side % scale for side in image.shape[:2])
        if min(h, w) < 16 + 2 * scale:
            raise UserError(f"{name} is {image.shape[1]}x{image.shape[0]}, too small to be measured at scale {scale}")
        truth[name] = image[:h, :w]
    low = {name: bicubic.resized(x, (x.shape[0] // scale, x.shape[1] // scale)) for name, x in truth.items()}

    def scores(made: Mapping[str, np.ndarray]) -> dict[str, float]:
        each = [enlarged(made[name], x, scale, colour=name not in grey) for name, x in truth.items()]
        return {key: float(np.mean([one[key] for one in each])) for key in ("psnr", "ssim")}

    beside = scores({name: bicubic.resized(low[name], x.shape[:2]) for name, x in truth.items()})
    how = {
        "real": len(truth), "scale": scale, "small images": "bicubic, antialiased, 8 bits", "pixels": "8 bits",
        "of": "luma (BT.601, 16 to 235)" + (f", but for {', '.join(sorted(grey))}" if grey else ""), "border": scale,
    }  # fmt: skip

    def measure(draw: Draw) -> dict[str, Record]:
        made = {
            name: to_uint8(np.asarray(draw({"low": x[None].astype(np.float32) / 127.5 - 1}))[0])
            for name, x in low.items()
        }
        return {f"{key}_y": Record(value, True, {**how, "bicubic": beside[key]}) for key, value in scores(made).items()}

    return Evaluate(measure, ("psnr_y", "ssim_y"))
