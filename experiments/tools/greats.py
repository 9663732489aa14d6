"""Tables of the larger image GANs: ways to tell the class, patches of what is grown, and what truncated noise does."""

from experiments.tools.arms import of_arms
from experiments.tools.kept import EFFORT, head, made, measured, read, row, value

WAYS = {
    "concatenation": "label beside z and as a channel, DCGAN's networks",
    "projection": "conditional norms and projection",
    "acgan": "conditional norms and AC-GAN",
    "reacgan": "conditional norms and ReACGAN",
}
TOLD = {
    "frechet_classifier": ("Fréchet distance (less is better)", ".2f"),
    "intra_frechet_classifier": ("within classes", ".2f"),
    "class_accuracy_classifier": ("fakes of the class asked for (share)", ".3f"),
    "cas": ("accuracy of a classifier learnt from fakes (CAS, share)", ".3f"),
    "cas_real": ("learnt from as many real images (share)", ".3f"),
    "recall_classifier": ("recall (share)", ".3f"),
}
FEW = {
    "stylegan2_sprites_0_none": "StyleGAN2, all 9,000",
    "stylegan2_sprites_1000_none": "StyleGAN2, 1,000 of them",
    "stylegan2_sprites_1000_ada": "StyleGAN2, 1,000 of them, ADA",
}
PICTURES = {
    "frechet_projection": ("Fréchet distance (less is better)", ".0f"),
    "precision_projection": ("precision (share)", ".3f"),
    "recall_projection": ("recall (share)", ".3f"),
}
LIMITS = ("inf", "1.5", "1", "0.7", "0.5", "0.3")


def conditional() -> list[str]:
    return of_arms("conditional_fashion", WAYS, TOLD, "Fashion-MNIST")


def sprites() -> list[str]:
    """Pictures of 64x64 in colour, of which few or many were learnt from; all of them measure."""
    lines = head("sprites, 64x64 in colour", *(title for title, _ in PICTURES.values()), *EFFORT)
    for name, title in FEW.items():
        found = measured(result := read(name))
        cells = [value(found.get(key), form) for key, (_, form) in PICTURES.items()]
        lines.append(row(title, *cells, *made(result)))
    return lines


def patches() -> list[str]:
    """Sliced Wasserstein distances of patches; images of 28x28 have one scale, whose half is under 16 pixels."""
    lines = head("1,000 x sliced Wasserstein distance", "7x7 patches at 28x28 (less is better)", "real images", *EFFORT)
    for name in ("progressive_mnist", "progressive_fashion"):
        found = measured(result := read(name)).get("swd_28")
        floor = "not run" if found is None else format(found["protocol"]["floor"], ".1f")
        lines.append(row(f"`{name}`", value(found, ".1f"), floor, *made(result)))
    return lines


def truncation() -> list[str]:
    """A row for each experiment with a curve, a column for each limit of the numbers of z."""
    titles = ["no limit" if limit == "inf" else f"within {limit}" for limit in LIMITS]
    lines = head("each number of z", "", *titles, "code")
    for name in ("biggan_fashion", "biggan_cifar10"):
        found = measured(result := read(name))
        for metric in ("frechet", "precision", "recall"):
            form = ".2f" if metric == "frechet" else ".3f"
            cells = [value(found.get(f"{metric}_{limit}_classifier"), form).split(" (")[0] for limit in LIMITS]
            lines.append(row(f"`{name}`", metric, *cells, made(result)[-1]))
    return lines
