"""Networks, as linen modules: `gen(z, label=None, *, train)` and `disc(x, label=None, *, train) -> logits [b]`.

They compute in `dtype`. Parameters and statistics are float32, or float64 with dtype float64.
"""
