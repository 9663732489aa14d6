"""The commands of `gan-jax NAME`, a module each, for runs and folders of images."""

import ast
import importlib.util
from pathlib import Path


def first_line(module: str) -> str:
    """Returns the first sentence of a module's docstring, as one line without its full stop; "" where there is none.

    The module, given by its import path, is not imported, so that a list of programs need not wait for JAX.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n", 1)[0].split()).split(". ", 1)[0].rstrip(".")
