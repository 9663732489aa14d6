"""The floors: a module imports only from strictly lower ones. Read from the source, so imports inside functions count
as well.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    0: ["types"],
    0.5: ["config", "geometry"],
    1: [
        "losses",
        "penalties",
        "augment",
        "optim",
        "mesh",
        "order",
        "validate",
        "prepare",
        "processes",
        "spread",
        "parts",
        "memory",
        "cache",
        "winograd",
        "torchfile",
        "resize",
    ],
    1.25: ["compiled", "convolution", "monitors", "protocol"],
    1.5: ["layers"],
    1.75: ["metrics/inputs"],
    2: ["models/*", "metrics/*"],
    2.5: ["weights"],
    3: ["game"],
    4: ["games/*"],
    4.5: ["data/ondisk"],
    5: ["data/*", "checkpoint", "log", "images", "record", "report", "stop", "lock", "outbox"],
    5.25: ["classify"],
    5.5: ["rounds"],
    5.75: ["samples", "features"],
    5.9: ["judge", "standing"],
    6: ["evaluate", "player", "saved", "cli"],
    7: ["loop"],
}
# Beside the floors: the record writes the version down; the door opens on saved.
ALLOWED = {("gan_jax.record", "gan_jax"), ("gan_jax", "gan_jax.saved")}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.glob("gan_jax/**/*.py"))}


def floor(module):
    inside = module.removeprefix("gan_jax.").replace(".", "/")
    for number, names in FLOORS.items():
        for name in names:
            if inside == name or (name.endswith("/*") and (inside + "/").startswith(name[:-1])):
                return number
    return None


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
    here = floor(module)
    out = []
    if here is None and module != "gan_jax":
        out.append(f"{module} stands on no floor: name it in FLOORS, or it may not be")
    for other in sorted(imports(module, path, known)):
        top = other.partition(".")[0]
        if top in ("experiments", "tests", "notebooks"):
            out.append(f"{module} imports {other}: the library knows nothing of what is made with it")
        if top != "gan_jax" or (module, other) in ALLOWED:
            continue
        own = path.name == "__init__.py" and module != "gan_jax" and other.startswith(module + ".")
        there = floor(other)
        if not own and (here is None or there is None or not there < here):
            out.append(f"{module} (floor {here}) imports {other} (floor {there}): only from strictly lower floors")
    return out


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    assert faults(module, MODULES[module], MODULES) == []


@pytest.mark.parametrize(
    ("module", "source", "word"),
    [
        ("gan_jax.losses", "import gan_jax.loop", "gan_jax.loop"),
        ("gan_jax.losses", "from gan_jax import penalties", "gan_jax.penalties"),  # sideways
        ("gan_jax.losses", "def fn():\n    from gan_jax.data.arrays import load", "gan_jax.data.arrays"),
        ("gan_jax.models.mlp", "from . import dcgan", "gan_jax.models.dcgan"),
        ("gan_jax.models.mlp", "from ..game import Game", "gan_jax.game"),
        ("gan_jax.log", "import experiments.gan_ring", "experiments.gan_ring"),
        ("gan_jax.log", "from experiments import gan_ring", "experiments"),
        ("gan_jax.log", "from gan_jax import __version__", "gan_jax"),  # the door is for the record alone
        ("gan_jax", "from gan_jax import loop", "gan_jax.loop"),
        ("gan_jax.gadgets", "", "gan_jax.gadgets stands on no floor"),
    ],
)
def test_what_is_forbidden_is_found(tmp_path, module, source, word):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert len(found := faults(module, path, MODULES)) == 1 and word in found[0]


def test_every_floor_is_of_use():
    """A name that is no module any more would let a new one stand there unread; augment is planned."""
    inside = {module.removeprefix("gan_jax.").replace(".", "/") for module in MODULES}
    for name in (name for names in FLOORS.values() for name in names):
        assert name == "augment" or name.removesuffix("/*") in inside, name


FILES = [path for folder in ("gan_jax", "experiments", "tests") for path in sorted((ROOT / folder).glob("**/*.py"))]


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert len(lengths) > 50 and {name: length for name, length in lengths.items() if length > 400} == {}
