"""The oracle of SeqGAN (Yu et al. 2017, arXiv:1609.05473, section 4): an LSTM with random weights writes the data, so that it is known
how likely what a generator writes is.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from gan_jax.models.lstm import LanguageModel
from gan_jax.types import Array, Draw, Evaluate, Record

ROWS = 1_000  # sequences at a time
# 1 / temperature. Published NLL_oracle of LeakGAN is at 1.5.
COOLER = (0.7, 1.25, 1.5, 2.0, 2.5)


class Oracle:
    """An LSTM of `symbols`, states and embeddings of `width`, all weights and biases from N(0, 1), drawn by a seed; the start, 0, is a symbol
    like others.
    """

    def __init__(self, symbols: int, length: int, seed: int, width: int = 32):
        self.symbols, self.length, self.seed, self.width = symbols, length, seed, width
        net: Any = LanguageModel(symbols, width, width, std=1.0, dtype=np.float64)
        with _exactly():
            params = LanguageModel(symbols, width, width, std=1.0).init(
                jax.random.key(seed), np.zeros((1, length), np.int32)
            )
            self._params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

        def drawn(params: Any, uniform: jax.Array) -> jax.Array:
            return net.apply(params, uniform, np.ones(ROWS), np.full((ROWS, length), -1, np.int32), method="draw")

        def logs(params: Any, tokens: jax.Array) -> jax.Array:
            found = jax.nn.log_softmax(net.apply(params, tokens))
            return jax.numpy.take_along_axis(found, tokens[..., None], -1)[..., 0].sum(1)

        self._drawn, self._logs = jax.jit(drawn), jax.jit(logs)

    def sequences(self, count: int, seed: int) -> Int[np.ndarray, "n t"]:
        """Returns what it writes, drawn by a seed."""
        rng, parts = np.random.default_rng([self.seed, seed]), []
        with _exactly():
            for _ in range(-(-count // ROWS)):
                parts.append(np.asarray(self._drawn(self._params, rng.random((ROWS, self.length)))))
        return np.concatenate(parts)[:count]

    def nll(self, tokens: Int[Array, "n t"]) -> Float[np.ndarray, " n"]:
        """Returns the mean of -ln p of the tokens of each sequence, in nats."""
        tokens = np.asarray(tokens, np.int32)
        whole = np.resize(tokens, (-(-len(tokens) // ROWS) * ROWS, tokens.shape[1]))
        with _exactly():
            parts = [np.asarray(self._logs(self._params, whole[i : i + ROWS])) for i in range(0, len(whole), ROWS)]
        return -np.concatenate(parts)[: len(tokens)] / tokens.shape[1]


@contextlib.contextmanager
def _exactly() -> Iterator[None]:
    """On the CPU in 64 bits: what the oracle writes is then the same on every machine, but for a draw within 1e-15 of another."""
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision("float32"),
        jax.default_device(jax.local_devices(backend="cpu")[0]),
    ):
        yield


def measures(oracle: Oracle, test: Int[np.ndarray, "n t"]) -> Evaluate:
    """Returns the measures of a generator of sequences (`games.sequence`): "nll_oracle", how unlikely what it writes is to the oracle, and
    "nll_test", how unlikely what the oracle writes is to it, both in nats a symbol, of as many sequences as `test` has. When the run is
    over, both at 1 / temperature of COOLER too, "nll_oracle_at_1.5" and others: the first alone falls for a generator that repeats
    itself.

    Protocols hold as "answers" those of the oracle's own sequences, of these with their symbols in another order, and of
    uniform symbols.
    """
    rng = np.random.default_rng(0)
    trivial = {
        "real": oracle.sequences(len(test), 2),
        "shuffled": rng.permuted(test, axis=1),
        "uniform": rng.integers(0, oracle.symbols, test.shape),
    }
    beside = {name: float(oracle.nll(x).mean()) for name, x in trivial.items()}
    floor = {"real": float(oracle.nll(test).mean()), "uniform": float(np.log(oracle.symbols))}
    how: dict[str, Any] = {
        "real": len(test), "fake": len(test), "real_split": "test", "data": f"oracle {oracle.seed}", "symbols": oracle.symbols,
        "length": oracle.length, "width": oracle.width,
    }  # fmt: skip

    def at(draw: Draw, cooler: float, after: str = "") -> dict[str, Record]:
        warm = np.full(len(test), 1 / cooler, np.float32)
        made = np.asarray(draw({"tokens": np.zeros_like(test), "temperature": warm}))
        found = {
            "nll_oracle": (float(oracle.nll(made).mean()), beside),
            "nll_test": (-float(np.mean(draw.ask("log_likelihood", test, warm), dtype=np.float64)), floor),
        }
        more = {**how, "inverse_temperature": cooler}
        return {key + after: Record(value, False, {**more, "answers": of}) for key, (value, of) in found.items()}

    def measure(draw: Draw) -> dict[str, Record]:
        return at(draw, 1.0)

    def final(draw: Draw) -> dict[str, Record]:
        out = measure(draw)
        for cooler in COOLER:
            out |= at(draw, cooler, f"_at_{cooler:g}")
        return out

    return Evaluate(measure, ("nll_oracle", "nll_test"), final)
