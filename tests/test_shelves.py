"""The shelves: what a module may import hangs on the folder it stands in. Read from the source, so imports inside
functions count as well.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What anybody may import: the words, the flags every run has, and the mathematics.
FREE = {"types", "config", "losses", "penalties", "optim", "augment"}
SHELVES = {
    "system": set(),
    "metrics": set(),
    "models": set(),
    "game": {"system"},
    "data": {"system"},
    "games": {"game", "system"},
    "workdir": {"game", "system"},
    "evaluation": {"data", "models", "metrics", "workdir", "game", "system"},
    "training": {"workdir", "game", "metrics", "system"},
    "commands": {"system", "metrics", "models", "game", "data", "games", "workdir", "evaluation", "training"},
}
# The free ones among themselves, in order.
MAY = {name: set() for name in FREE} | {"config": {"types"}}
MAY |= {name: {"types"} for name in ("losses", "penalties", "optim", "augment")}
MAY |= {shelf: FREE | others | {shelf} for shelf, others in SHELVES.items()}
# The notebook's door opens on load; the program's, on all.
MAY |= {"": {"workdir", ""}, "__main__": {"commands", "training", "system", ""}}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.glob("gan_jax/**/*.py"))}


def shelf(module):
    return module.removeprefix("gan_jax").lstrip(".").partition(".")[0]


def imports(module, path, known):
    """What a module imports: each as the module it is, or the module a name was taken from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            origin = ".".join(filter(None, [package if node.level else "", node.module]))
            found |= {whole if (whole := f"{origin}.{alias.name}") in known else origin for alias in node.names}
    return found


def faults(module, path, known):
    """Each forbidden import in words."""
    here = shelf(module)
    if here not in MAY:
        return [f"{module} stands on no shelf: there are {', '.join(filter(None, MAY))}"]
    out = []
    for other in sorted(imports(module, path, known)):
        top = other.partition(".")[0]
        if top in ("experiments", "tests", "notebooks"):
            out.append(f"{module} imports {other}: the library knows nothing of what is made with it")
        elif top == "gan_jax" and shelf(other) not in MAY[here]:
            out.append(f"{module} imports {other}: {here or 'gan_jax'} may not")
    return out


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    assert faults(module, MODULES[module], MODULES) == []


def circle(graph):
    """Modules of which each imports the next, and the last the first; [] where there are none."""
    done = set()

    def walk(module, way):
        if module in way:
            return way[way.index(module) :]
        if module in done:
            return []
        done.add(module)
        return next(filter(None, (walk(other, [*way, module]) for other in sorted(graph[module]))), [])

    return next(filter(None, (walk(module, []) for module in graph)), [])


def test_there_is_no_circle():
    assert circle({module: imports(module, path, MODULES) & {*MODULES} for module, path in MODULES.items()}) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"] and circle({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize(
    ("module", "source", "word"),
    [
        ("gan_jax.losses", "import gan_jax.training.loop", "gan_jax.training.loop"),
        ("gan_jax.losses", "from gan_jax import penalties", "gan_jax.penalties"),
        ("gan_jax.losses", "def fn():\n    from gan_jax.data.arrays import load", "gan_jax.data.arrays"),
        ("gan_jax.models.mlp", "from ..game import Game", "gan_jax.game"),
        ("gan_jax.metrics.kid", "from gan_jax.workdir.members import mean_std", "gan_jax.workdir.members"),
        ("gan_jax.training.loop", "from gan_jax.evaluation import evaluators", "gan_jax.evaluation.evaluators"),
        ("gan_jax.evaluation.features", "from gan_jax.training import run", "gan_jax.training.run"),
        ("gan_jax.workdir.log", "import experiments.gan_ring", "experiments.gan_ring"),
        ("gan_jax.workdir.log", "from experiments import gan_ring", "experiments"),
        ("gan_jax.workdir.manifest", "from gan_jax import __version__", "gan_jax"),
        ("gan_jax", "from gan_jax import training", "gan_jax.training"),
        ("gan_jax.gadgets", "", "gan_jax.gadgets stands on no shelf"),
    ],
)
def test_what_is_forbidden_is_found(tmp_path, module, source, word):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert len(found := faults(module, path, MODULES)) == 1 and word in found[0]


def test_every_shelf_is_of_use():
    """A name that is no module any more would let a new one stand there unread."""
    assert {*MAY} == {shelf(module) for module in MODULES}


FILES = [path for folder in ("gan_jax", "experiments", "tests") for path in sorted((ROOT / folder).glob("**/*.py"))]


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert len(lengths) > 50 and {name: length for name, length in lengths.items() if length > 400} == {}
