"""Tables of clips, beside real ones and what was made of these."""

from experiments.tools.given import answered

MOVED = {
    "trajectories": ("Fréchet distance of trajectories (less is better)", ".3f"),
    "content": ("content distance, 0..255 (less is better)", ".1f"),
    "objects": ("frames with one object (share)", ".3f"),
    "motion": ("moves as it was told (share)", ".3f"),
}
RUNS = {"mocogan_shapes": "MoCoGAN, told the way", "vgan_shapes": "VGAN"}


def moved() -> list[str]:
    return answered(
        "moving shapes, 16 frames of 32x32",
        RUNS,
        MOVED,
        {"real": "real clips held out", "shuffled": "real clips, frames in another order"},
    )
