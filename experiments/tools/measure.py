"""What the benchmark measures: the device's rates, the operations and memory of a program, and other programs."""

import collections
import json
import math
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from jax.interpreters import partial_eval

from gan_jax import game
from gan_jax.types import PyTree, UserError


def seconds(action: Callable[[], Any], repeats: int = 5) -> float:
    """Returns the least time of `repeats` calls, after one that is not counted."""
    jax.block_until_ready(action())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(action())
        times.append(time.perf_counter() - begin)
    return min(times)


def matrix_rate(precision: str, matmul_precision: str) -> float:
    """Returns the GFLOP/s of the product of two large square matrices."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size), precision)
    with jax.default_matmul_precision(matmul_precision):
        product = jax.jit(lambda a: a @ a)
        return 2 * size**3 / seconds(lambda: product(a)) / 1e9


def bandwidth() -> float:
    """Returns the GB/s, read and written, of x -> 2 x on 256 MB."""
    x = jnp.ones(2**26)
    double = jax.jit(lambda x: 2 * x)
    return 2 * x.nbytes / seconds(lambda: double(x)) / 1e9


def flop(action: Callable, *args: Any) -> float:
    """Returns the floating-point operations of the matrix products and convolutions of `action(*args)`: a
    multiplication and an addition count as two. Operations on zeros between pixels or around an image are counted;
    those on zeros that a transposed convolution inserts between its inputs are not, nor is what no result needs.
    """
    jaxpr = jax.make_jaxpr(action)(*args).jaxpr
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _flop(jaxpr)


def _flop(jaxpr: Any) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        inside = sum(_flop(sub) for sub in jaxprs_in_params(eqn.params)) * eqn.params.get("length", 1)
        if eqn.primitive.name == "dot_general":
            ((contracted, _), _), x = eqn.params["dimension_numbers"], eqn.invars[0].aval
            inside = 2 * eqn.outvars[0].aval.size * math.prod(x.shape[axis] for axis in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            numbers, w = eqn.params["dimension_numbers"], eqn.invars[1].aval
            taps = w.size // w.shape[numbers.rhs_spec[0]]
            inside = 2 * eqn.outvars[0].aval.size * taps / math.prod(eqn.params["lhs_dilation"])
        total += inside
    return total


def memory(recipe: Any, update: Callable, state: game.State, batch: Any) -> dict[str, float]:
    """Returns MB: the peak of the compiled round, and the least that it needs: state, batch and gradients, and what the
    passes of one D step, with G's among them, store for their gradients.
    """
    key = jax.random.key(0)
    # The state is donated as in `game.make_update`, since this outer jit does not see its donation.
    stats: Any = jax.jit(update, donate_argnums=0).lower(state, batch, key).compile().memory_analysis()
    peak = (
        stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes + stats.temp_size_in_bytes
    )
    first = jax.tree.map(lambda x: x[:: recipe.n_disc], batch)

    def residuals(loss: Callable, params: PyTree) -> Any:
        """The arrays that the backward pass of `loss` needs, without the parameters, which are in the state already."""

        def back(params: PyTree, state: game.State, batch: Any) -> Any:
            return jax.vjp(lambda params: loss(params, state, batch, key), params, has_aux=True)[1]

        parameters = collections.Counter((x.shape, x.dtype) for x in jax.tree.leaves(params))
        stored = []
        for x in jax.tree.leaves(jax.eval_shape(back, params, state, first)):
            if parameters[x.shape, x.dtype]:
                parameters[x.shape, x.dtype] -= 1
            else:
                stored.append(x)
        return stored

    def disc_loss(params: PyTree, state: game.State, batch: Any, key: Any) -> Any:
        return recipe.game.disc_loss(params, state, batch, key, jnp.zeros_like(batch["image"]))

    stored = residuals(recipe.game.fakes, state.gen.params) + residuals(disc_loss, state.disc.params)
    needed = [*stored, *jax.tree.leaves((state, batch, state.disc.params))]
    return {
        "peak_mb": round(peak / 2**20, 1),
        "needed_mb": round(sum(math.prod(x.shape) * x.dtype.itemsize for x in needed) / 2**20, 1),
    }


def peer(command: str, **values: Any) -> Iterator[float]:
    """Yields milliseconds per round of another program, which is run anew at each request. {game}, {batch}, {width} and
    {steps} in the command are filled in; its last line must be JSON with "ms", or UserError is raised.
    """
    line = command.format(**values)
    while True:
        try:
            process = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True)
            yield float(json.loads(process.stdout.strip().splitlines()[-1])["ms"])
        except (OSError, ValueError, LookupError, subprocess.CalledProcessError) as error:
            message = getattr(error, "stderr", None) or str(error)
            raise UserError(
                f"--peer {line}: {message.strip().splitlines()[-1]}; a last line of JSON with ms is needed"
            ) from error


def spread(values: list[float]) -> dict[str, float]:
    return {
        "ms": round(statistics.median(values), 3),
        "ms_min": round(min(values), 3),
        "ms_max": round(max(values), 3),
    }
