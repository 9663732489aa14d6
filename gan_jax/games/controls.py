"""What moves with D's logits and is kept in the state: terms of D's loss, and probabilities of augmentation."""

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax import augment
from gan_jax.types import Array, Control, Key, UserError, at_least_float32


def augmented(kind: str, batch_size: int, *, mirror: bool, signs: bool = True) -> dict[str, Any]:
    """Returns the arguments of `adversarial` for a flag --augment (`config.Augmented`); `mirror` is whether images may be
    mirrored, turned and inverted, `signs` whether those of D's logits mean something: not where only their differences
    enter the loss. Raises ValueError for another word, and UserError for ada without such signs.
    """
    if kind == "ada" and not signs:
        raise UserError(
            "--augment ada follows the signs of D's logits, which mean nothing with this loss: take --augment diffaugment"
        )
    match kind:
        case "none":
            return {}
        case "diffaugment":
            return {"augment": augment.diffaugment}
        case "ada":
            pipe = augment.pipe(mirror=mirror, rotate=mirror, luma_flip=mirror)
            return {"augment": pipe, "controls": [ada(batch_size)]}
    raise ValueError(f"augment {kind!r}: none, diffaugment or ada")


def _adaptive(name: str, batch_size: int, target: float, images: float, every: int, most: float) -> Control:
    def init() -> dict[str, jax.Array]:
        floats = {key: jnp.zeros((), jnp.float32) for key in (name, f"{name}_signs", f"{name}_r")}
        return {**floats, f"{name}_steps": jnp.zeros((), jnp.int32)}

    def step(aux: dict, real: jax.Array, fake: jax.Array) -> tuple:
        signs = aux[f"{name}_signs"] + jnp.mean(jnp.sign(real))
        steps = aux[f"{name}_steps"] + 1
        due = steps % every == 0
        r = jnp.where(due, signs / every, aux[f"{name}_r"])
        moved = jnp.clip(aux[name] + jnp.sign(r - target) * (batch_size * every / images), 0.0, most)
        value = jnp.where(due, moved, aux[name])
        kept = {name: value, f"{name}_signs": jnp.where(due, 0.0, signs), f"{name}_steps": steps, f"{name}_r": r}
        return 0.0, {**aux, **kept}, {f"augment/{name}": value, f"augment/{name}_r": r}

    return Control(init, step)  # type: ignore[arg-type]


def ada(batch_size: int, *, target: float = 0.6, images: float = 500_000, every: int = 4, most: float = 1.0) -> Control:
    """Keeps the probability p of augmentation in aux["p"], which starts at 0.

    r is the mean sign of D's logits of augmented real images over `every` steps of D; then p moves by `every` batches /
    `images` up where r is above `target`, else down, and stays in [0, most]. The log tells "augment/p" and
    "augment/p_r". Karras et al. 2020, arXiv:2006.06676, section 3.2: `images` is what p takes from 0 to 1. They have no
    upper limit, and D's logits in penalties' steps count too; here the penalties are part of the same step. r means
    something where D's logits have a zero of their own: not with relativistic losses.
    """
    return _adaptive("p", batch_size, target, images, every, most)


def drift() -> Control:
    """The mean square of D's logits of real images, E D(x)^2, told as "disc/drift": it keeps those of a Wasserstein critic
    near 0, weighted by 0.001. Karras et al. 2018, arXiv:1710.10196, appendix A.1.
    """

    def step(aux: Any, real: jax.Array, fake: jax.Array) -> tuple:
        value = jnp.mean(at_least_float32(real) ** 2)
        return value, dict(aux), {"disc/drift": value}

    return Control(dict, step)


def apa(batch_size: int, *, target: float = 0.6, images: float = 500_000, every: int = 4, most: float = 1.0) -> Control:
    """Keeps the probability with which D is shown a fake as a real image in aux["deceive"], moved as `ada` moves p.

    Jiang et al. 2021 (adaptive pseudo augmentation), arXiv:2111.06849, section 3. Their fakes are those of the step
    before, kept in memory; here they are those of this step, of other rows (`deceived`).
    """
    return _adaptive("deceive", batch_size, target, images, every, most)


def deceived(real: Array, fake: Array, key: Key, p: float | Array) -> jax.Array:
    """Returns the real images, each with probability p replaced by the fake of a neighbouring row."""
    pairs = real.shape[0] // 2 * 2
    swapped = jnp.flip(fake[:pairs].reshape(pairs // 2, 2, *fake.shape[1:]), 1).reshape(fake[:pairs].shape)
    swapped = jnp.concatenate([swapped, fake[pairs:]]) if pairs < real.shape[0] else swapped
    return augment.gate(key, p, swapped, real)


def lecam(*, decay: float = 0.99) -> Control:
    """Adds E relu(D(x) - e_F)^2 + E relu(e_R - D(G(z)))^2 to D's loss, with e_R and e_F averages of the mean logits of
    real and of fake images over the steps before, e <- decay e + (1 - decay) mean; weigh it by `weighted`.

    The averages start at zero, and that bias is divided away; in the first step, without any, the term is 0. Tseng et
    al. 2021, arXiv:2104.03310, equation 3; the ReLU is that of google/lecam-gan, whose decay is 0.9 for BigGAN and 0.99
    for StyleGAN2. Of constant logits a of real and b < a of fake images it becomes 2 (a - b)^2.
    """

    def init() -> dict[str, jax.Array]:
        return {"lecam": jnp.zeros(3, jnp.float32)}  # sums of real, of fake, and of weights

    def step(aux: dict, real: jax.Array, fake: jax.Array) -> tuple:
        real_mean, fake_mean, share = aux["lecam"] / jnp.maximum(aux["lecam"][2], 1e-8)
        above = jnp.mean(jax.nn.relu(real - fake_mean) ** 2)
        below = jnp.mean(jax.nn.relu(real_mean - fake) ** 2)
        term = jnp.where(share > 0, above + below, 0.0)
        now = jnp.stack([jnp.mean(real), jnp.mean(fake), jnp.ones(())])
        return term, {**aux, "lecam": decay * aux["lecam"] + (1 - decay) * now}, {"disc/lecam": term}

    return Control(init, step)  # type: ignore[arg-type]


def weighted(weight: float | jax.Array, control: Control) -> Control:
    """Returns the control with its term times `weight`."""

    def step(aux: dict, real: jax.Array, fake: jax.Array) -> tuple:
        term, aux, told = control.step(aux, real, fake)
        return weight * term, aux, told

    return Control(control.init, step)  # type: ignore[arg-type]
