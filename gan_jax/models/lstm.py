"""A generator of sequences of symbols, one after another, by an LSTM: the network of SeqGAN (Yu et al. 2017, arXiv:1609.05473,
section 3.1), of its oracle, and of maximum likelihood.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import precision
from gan_jax.types import Array, at_least_float32


def chosen(logits: Float[Array, "b k"], uniform: Float[Array, " b"]) -> Int[Array, " b"]:
    """Returns for each row the symbol whose share of [0, 1], in their order, the number lies in: of uniform numbers, draws from softmax(logits).

    In two steps, which block of about sqrt(k) symbols, and which of these: sums of all k before each are 10 times as slow.
    """
    logits = at_least_float32(logits)
    rows, k = logits.shape
    side = max(1, round(k**0.5))
    side = next((n for n in range(side, 2 * side) if k % n == 0), side)
    if k % side:
        logits = jnp.pad(logits, ((0, 0), (0, -k % side)), constant_values=-jnp.inf)
    blocks = logits.reshape(rows, -1, side)  # [b m s]
    highest = jax.lax.stop_gradient(blocks.max((1, 2), keepdims=True))
    block, rest = _reached(jnp.exp(blocks - highest).sum(-1), jnp.asarray(uniform))
    # The exponentials anew, of one block: all of them are then never in memory.
    found = jnp.take_along_axis(blocks, block[:, None, None], 1)[:, 0]
    inside, _ = _reached(jnp.exp(found - highest[:, 0]), rest)
    return jnp.minimum(block * side + inside, k - 1).astype(jnp.int32)


def _reached(shares: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of shares [b n], which one a number in [0, 1] lies in, [b], and where in it, in [0, 1]."""
    ends = jnp.cumsum(shares, -1)
    at = uniform * ends[:, -1]
    # Not past the first that reaches the whole: those after it have no share.
    which = jnp.sum((ends <= at[:, None]) & (ends < ends[:, -1:]), -1)
    end, share = (jnp.take_along_axis(x, which[:, None], -1)[:, 0] for x in (ends, shares))
    return which, jnp.clip(1 - (end - at) / jnp.maximum(share, 1e-30), 0.0, 1.0)


class LanguageModel(nn.Module):
    """tokens [b t] -> logits [b t k] of each token, given those before it; a line begins after the symbol `start`.

    `end` is the symbol that ends a line: after it there is only itself. -1: every line has all t symbols. `std` is that of the
    normal distribution from which all weights and biases begin; without it they begin as usual. Computes in `dtype`; parameters
    and logits are float32 (float64 with dtype float64).
    """

    symbols: int
    width: int = 32  # of the LSTM's state
    embedding: int = 32
    start: int = 0
    end: int = -1
    std: float | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        kind: dict[str, Any] = precision(self.dtype)
        if self.std is not None:
            normal = nn.initializers.normal(self.std)
            kind |= {"kernel_init": normal, "bias_init": normal}
        of: dict[str, Any] = {"embedding_init": nn.initializers.normal(self.std)} if self.std is not None else {}
        self.embed = nn.Embed(max(self.symbols, self.start + 1), self.embedding, **of, **precision(self.dtype))
        more = {"recurrent_kernel_init": kind["kernel_init"]} if self.std is not None else {}
        self.cell = nn.OptimizedLSTMCell(self.width, **more, **kind)
        self.out = nn.Dense(self.symbols, **kind)

    def __call__(self, tokens: Int[Array, "b t"], *, train: bool = False) -> Float[Array, "b t k"]:
        before = jnp.pad(jnp.asarray(tokens)[:, :-1], ((0, 0), (1, 0)), constant_values=self.start)
        x = self.embed(before)  # [b t e]
        carry = self._first(x.shape[0])

        def body(cell: nn.Module, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
            return cell(carry, x)

        run = nn.scan(body, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        _, states = run(self.cell, carry, x)  # [b t w]: the product with the vocabulary is outside of the loop
        return at_least_float32(self.out(states))

    def draw(
        self, uniform: Float[Array, "b t"], temperature: Float[Array, " b"], given: Int[Array, "b t"]
    ) -> Int[Array, "b t"]:
        """Returns tokens drawn one after another from softmax(logits / temperature) by uniform numbers (`chosen`), but for those
        that are `given`: below 0 for none.
        """

        def body(net: LanguageModel, carry: Any, now: tuple) -> tuple[Any, jax.Array]:
            state, last, over = carry
            state, out = net.cell(state, net.embed(last))
            token = chosen(at_least_float32(net.out(out)) / jnp.asarray(temperature)[:, None], now[0])
            token = jnp.where(now[1] < 0, token, now[1])
            token = jnp.where(over, net.end, token).astype(jnp.int32)
            return (state, token, over | (token == net.end)), token

        rows = uniform.shape[0]
        carry = self._first(rows), jnp.full(rows, self.start, jnp.int32), jnp.zeros(rows, bool)
        run = nn.scan(body, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        return run(self, carry, (jnp.asarray(uniform), jnp.asarray(given)))[1]

    def soft(
        self, gumbel: Float[Array, "b t k"], sharpness: Float[Array, ""], hard: bool = False
    ) -> tuple[Float[Array, "b t k"], Int[Array, "b t"]]:
        """Returns softmax(sharpness (logits + gumbel)), and the tokens at its largest entries, which are what the next logits are given:
        no gradient goes through them. With `hard` the shares are the ones and zeros of these tokens, and only their gradient is that of
        the soft ones (straight-through). Of noise from Gumbel's distribution the tokens are draws from softmax(logits) (the
        Gumbel-softmax: Jang et al. 2017, arXiv:1611.01144, equation 2; RelGAN's use of it: Nie et al. 2019, OpenReview rJedV3R5tm).
        """

        def body(net: LanguageModel, carry: Any, noise: jax.Array) -> tuple[Any, tuple]:
            state, last, over = carry
            state, out = net.cell(state, net.embed(last))
            noisy = at_least_float32(net.out(out)) + noise
            token = jnp.where(over, net.end, jnp.argmax(noisy, -1)).astype(jnp.int32)
            ones = jax.nn.one_hot(token, net.symbols, dtype=noisy.dtype)
            shares = jax.nn.softmax(sharpness * noisy)
            if hard:
                shares = ones + shares - jax.lax.stop_gradient(shares)
            shares = jnp.where(over[:, None], ones, shares)
            return (state, token, over | (token == net.end)), (shares, token)

        rows = gumbel.shape[0]
        carry = self._first(rows), jnp.full(rows, self.start, jnp.int32), jnp.zeros(rows, bool)
        run = nn.scan(body, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        return run(self, carry, jnp.asarray(gumbel))[1]

    def _first(self, rows: int) -> Any:
        zeros = jnp.zeros((rows, self.width), self.dtype)
        return zeros, zeros
