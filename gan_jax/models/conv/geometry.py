"""The geometry of a convolution."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """The geometry of one convolution, for each dimension: n inputs, k taps that are `dilation` apart and move by
    `strides`, `low` zeros before the inputs, m outputs.
    """

    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def high(self) -> tuple[int, ...]:
        """Zeros after the inputs; negative where the last inputs are not reached."""
        return tuple((m - 1) * s + (k - 1) * d + 1 - n - low for n, k, s, d, low, m in zip(*self, strict=True))

    @property
    def dense(self) -> bool:
        """Whether the convolution is a plain matrix product over the channels."""
        taps = (*self.kernel, *self.strides)
        return all(k == 1 for k in taps) and not any((*self.low, *self.high))
