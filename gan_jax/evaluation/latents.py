"""The latent space of a trained generator: ways between latents, truncation, directions, and the latents of given images.

sample = gan_jax.load("runs/dcgan_mnist")
z = latents.between(*np.asarray(sample.latents(2)), 9)
images = sample(z)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jaxtyping import Float

from gan_jax.metrics.path_length import lerp, slerp
from gan_jax.system.numerics import arithmetic
from gan_jax.types import Array, PyTree, UserError
from gan_jax.workdir.sampler import Sampler

DRAWS = 500  # latents among which a projection begins


def between(
    start: Float[Array, " z"], end: Float[Array, " z"], count: int, way: Callable[..., np.ndarray] = slerp
) -> Float[np.ndarray, "count z"]:
    """Returns latents at equal distances from `start` to `end`, both included.

    `way` is `slerp`, on which normal latents keep their length (White 2016, arXiv:1609.04468, section 2.1), or `lerp`,
    the straight line, in whose middle they are shorter. Raises ValueError for fewer than 2.
    """
    if count < 2:
        raise ValueError(f"{count} latents: 2 or more, the ends included")
    ends = [np.repeat(np.asarray(x)[None], count, 0) for x in (start, end)]
    return way(*ends, np.linspace(0, 1, count)).astype(np.asarray(start).dtype)


def round_trip(
    stops: Float[Array, "n z"], count: int, way: Callable[..., np.ndarray] = slerp
) -> Float[np.ndarray, "m z"]:
    """Returns latents from each stop to the next, and from the last back to the first: n times `count`, so that a film
    of them has no seam.
    """
    stops = np.asarray(stops)
    return np.concatenate(
        [between(a, b, count + 1, way)[:-1] for a, b in zip(stops, np.roll(stops, -1, 0), strict=True)]
    )


def truncated(z: Float[Array, "b z"], limit: float) -> Float[np.ndarray, "b z"]:
    """Returns noise from N(0, 1) as noise from N(0, 1) conditioned on |z| <= limit, in the same order, by the quantiles:
    F^-1(F(-t) + F(z) (F(t) - F(-t))) for the normal distribution F (Brock et al. 2019, arXiv:1809.11096, section 3.1).
    """
    z = np.asarray(z)
    low, high = scipy.special.ndtr([-limit, limit])
    moved = scipy.special.ndtri(low + scipy.special.ndtr(z.astype(np.float64)) * (high - low))
    return np.clip(moved, -limit, limit).astype(z.dtype)


def first_layer(sampler: Sampler) -> Float[np.ndarray, "z n"]:
    """Returns the weights by which the generator's first layer multiplies the latent: its output is z @ weights, plus
    what does not hang on z. Raises UserError where the first layer is given something else than the latent.
    """
    inputs = sampler.inputs(2)
    z = np.asarray(inputs[0])
    found: list[tuple[np.ndarray, np.ndarray]] = []  # what a layer is given, and its weights

    def look(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        held = context.module.variables.get("params", {}) if context.method_name == "__call__" else {}
        if "kernel" in held and not found:
            found.append((np.asarray(args[0]), np.asarray(held["kernel"])))
        return call(*args, **kwargs)

    generator = sampler.generator
    with nn.intercept_methods(look), arithmetic("float32", "float32"):
        sampler.recipe.game.sample(generator.params, generator.stats, *inputs)
    given = found[0][0].reshape(len(z), -1) if found else np.zeros((2, 0))
    if given.shape[1] < z.shape[1] or not np.array_equal(given[:, : z.shape[1]], z):
        raise UserError(
            "the generator's first layer is not given the latent itself: it has no directions by its weights"
        )
    kernel = np.moveaxis(found[0][1], -2, 0)  # [... in out] -> [in ... out]
    return kernel.reshape(len(kernel), -1)[: z.shape[1]]


class Directions(NamedTuple):
    """Directions of a latent space, the strongest first."""

    vectors: Float[np.ndarray, "k z"]  # of length 1, at right angles to each other
    strengths: Float[np.ndarray, " k"]  # how far the first layer's output moves for a step of 1


def sefa(weights: Float[Array, "z n"], count: int = 5) -> Directions:
    """Returns the directions that move the first layer's output most: the eigenvectors of A^T A for z -> A z (SeFa: Shen
    and Zhou 2021, arXiv:2007.06600, equations 5 to 7), which are the left singular vectors of `weights` = A^T. Each is
    signed so that its largest entry is positive.
    """
    vectors, strengths, _ = np.linalg.svd(np.asarray(weights, np.float64), full_matrices=False)
    vectors = vectors[:, :count].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    return Directions((vectors * np.sign(largest)).astype(np.float32), strengths[:count].astype(np.float32))


class Projection(NamedTuple):
    """Latents whose images come near to given ones."""

    inputs: tuple[np.ndarray, ...]  # of the sampler: [b z], and labels of a conditional generator
    images: Float[np.ndarray, "b h w c"]  # what the generator makes of them
    begun: Float[np.ndarray, "b h w c"]  # what it made of those where the search began
    losses: Float[np.ndarray, "steps b"]  # before each step, then at the end


def project(
    sampler: Sampler, images: Float[Array, "b h w c"], steps: int = 300, lr: float = 0.05, seed: int = 0
) -> Projection:
    """Searches latents of given images, in [-1, 1]: Adam on the mean squared error of the pixels.

    The search begins at the nearest of DRAWS samples, whose label it keeps, and its rate falls to 0 along a cosine. Its
    losses are means over the pixels of an image. Raises ValueError for images of another shape than the generator's.
    """
    images = np.asarray(images, np.float32)
    if images.shape[1:] != sampler.spec.shape or not len(images):
        raise ValueError(f"images are [b{''.join(f' {n}' for n in sampler.spec.shape)}]; got {images.shape}")
    drawn = sampler.inputs(DRAWS, seed)
    made = np.asarray(sampler(*drawn)).reshape(DRAWS, -1)
    flat = images.reshape(len(images), -1)
    distances = (made**2).sum(1) - 2 * flat @ made.T  # [b draws], up to what all draws share
    nearest = distances.argmin(1)
    z, *rest = (jnp.asarray(np.asarray(x)[nearest]) for x in drawn)
    sample, generator, kind = sampler.recipe.game.sample, sampler.generator, sampler.config.get("precision", "float32")
    tx = optax.adam(optax.cosine_decay_schedule(lr, max(steps, 1)))

    def errors(params: PyTree, stats: PyTree, z: jax.Array, rest: tuple, target: jax.Array) -> jax.Array:
        return ((sample(params, stats, z, *rest) - target) ** 2).reshape(len(target), -1).mean(1)

    def search(params: PyTree, stats: PyTree, z: jax.Array, rest: tuple, target: jax.Array) -> tuple:
        def step(carry: tuple, _: None) -> tuple:
            def total(z: jax.Array) -> tuple[jax.Array, jax.Array]:
                each = errors(params, stats, z, rest, target)
                return each.sum(), each  # rows hang on their own latent alone

            z, state = carry
            (_, each), slope = jax.value_and_grad(total, has_aux=True)(z)
            change, state = tx.update(slope, state)
            return (optax.apply_updates(z, change), state), each

        (z, _), before = jax.lax.scan(  # type: ignore[var-annotated]
            step, (z, tx.init(z)), None, length=steps
        )
        return z, jnp.concatenate([before, errors(params, stats, z, rest, target)[None]])

    with arithmetic(kind, "float32"):
        nearby, losses = jax.jit(search)(generator.params, generator.stats, z, tuple(rest), jnp.asarray(images))
    inputs = (np.asarray(nearby), *map(np.asarray, rest))
    return Projection(inputs, np.asarray(sampler(*inputs)), made[nearest].reshape(images.shape), np.asarray(losses))


__all__ = [
    "Directions",
    "Projection",
    "between",
    "first_layer",
    "lerp",
    "project",
    "round_trip",
    "sefa",
    "slerp",
    "truncated",
]
