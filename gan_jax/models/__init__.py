"""Networks, as linen modules: `gen(z, label=None, *, train)` and `disc(x, label=None, *, train) -> logits [b]`."""
