"""What a person does with runs and folders: `gan-jax NAME`, a module each."""

import ast
import importlib.util
from pathlib import Path


def first_line(module: str) -> str:
    """The first sentence of the docstring of a module, by its import path, as one line; "" where it has none. The module is
    not imported: a list of programs must not take the seconds that JAX takes.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n", 1)[0].split()).split(". ", 1)[0].rstrip(".")
