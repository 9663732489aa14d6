"""What one convolution is, dimension by dimension."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """One convolution, dimension by dimension: n inputs, k taps, `dilation` apart, moved by `strides`, `low` zeros before
    the inputs, m outputs.
    """

    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def high(self) -> tuple[int, ...]:
        """Zeros after the inputs; less than none where the last inputs are not reached."""
        return tuple((m - 1) * s + (k - 1) * d + 1 - n - low for n, k, s, d, low, m in zip(*self, strict=True))

    @property
    def dense(self) -> bool:
        """Whether it is a matrix product over the channels."""
        taps = (*self.kernel, *self.strides)
        return all(k == 1 for k in taps) and not any((*self.low, *self.high))
