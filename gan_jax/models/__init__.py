"""Networks, as linen modules: `gen(z, label=None, *, train)` and `disc(x, label=None, *, train) -> logits [b]`.

They compute in `dtype`. Linen initialises parameters and statistics in float32; `game.init` converts them for float64.
"""
