"""The truncation trick: noise without its tails gives better samples of fewer kinds (Brock et al. 2019, arXiv:1809.11096,
section 3.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gan_jax.evaluation.batch_norm import ROWS, standing
from gan_jax.evaluation.evaluators import ImageMeasures
from gan_jax.types import Batch, Draw, Evaluate, PyTree, Record, rows_of
from gan_jax.workdir.sampler import Draw as SamplersDraw


class Truncated:
    """Samples of a generator of normal noise, plain or conditional, every number of which is drawn within +-limit. Where
    there is batch norm, its statistics are standing ones, of such noise. It is a `types.Draw`; `limit` may be infinite.
    """

    def __init__(self, draw: SamplersDraw, limit: float, seed: int = 0):
        sampler = draw.sampler
        shape = sampler.programs.kinds.arrays[0].shape[1:]

        def noise(key: jax.Array, count: int) -> Batch:
            return {"z": jax.random.truncated_normal(key, -limit, limit, (count, *shape))}

        settled = standing(sampler, seed, lambda key: noise(key, ROWS))
        self._draw, self._noise, self._key = (
            SamplersDraw(sampler.with_generator(settled), seed),
            noise,
            jax.random.key(seed),
        )
        self.how: Mapping[str, Any] = {
            **draw.how,
            "batch_norm": "standing",
            "truncation": limit if np.isfinite(limit) else "none",
        }
        self.ask = draw.ask

    def __call__(self, rows: int | Batch, /) -> PyTree:
        count = rows if isinstance(rows, int) else rows_of(rows)
        known = self._draw.sampler.spec.blank(count) if isinstance(rows, int) else rows
        return self._draw(jax.tree.map(np.asarray, {**known, **self._noise(self._key, count)}))


def with_curve(evaluate: Evaluate, measures: ImageMeasures, count: int, limits: Sequence[float]) -> Evaluate:
    """Returns the measures of a run with a curve at its end: Fréchet distance, precision and recall of `count` samples, each
    number of whose noise is within the limits, under the names "frechet_0.5_classifier", ...; "inf" is no limit, and all
    are by standing statistics. Without a final measure there is no curve.
    """
    if evaluate.final is None:
        return evaluate
    count, whole = measures.reference.most(count), evaluate.final

    def final(draw: Draw) -> dict[str, Record]:
        records = dict(whole(draw))
        for limit in limits:
            truncated = Truncated(draw, limit)  # type: ignore[arg-type]
            for name, record in measures.records(("frechet", "prdc"), truncated, count).items():
                metric, _, features = name.partition("_")
                how = {**record.protocol, **truncated.how}
                if metric in ("frechet", "precision", "recall"):
                    records[f"{metric}_{limit:g}_{features}"] = record._replace(protocol=how)
        return records

    return evaluate._replace(final=final)
