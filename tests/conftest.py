"""Set before jax is imported: eight virtual CPU devices, and quick compilation, which is most of what tests spend time
on. What is compiled is kept in the user's cache for the next run of the tests; with GAN_JAX_CACHE=off it is not.
"""

import atexit
import os
import shutil
import sys
import tempfile
import uuid
from collections import Counter
from importlib.metadata import version
from pathlib import Path

QUICK = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):  # compiles in half of the time without; later ones do not know the flag
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK} {os.environ.get('XLA_FLAGS', '')}"
# experiments is not installed: processes that tests start find it, and this checkout's gan_jax, here.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.15"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**31)  # with a limit, processes that share it lock it

import jax
import jaxtyping
import pytest

pytest_plugins = ["browser", "catalogue", "remembered"]  # their fixtures

# Where shapes are; not the state's classes, which also hold shapes and shardings in the place of arrays.
SHAPED = [
    "losses",
    "penalties",
    "optim",
    "augment",
    "games.controls",
    "games.entropy",
    "games.semisupervised",
    "models",
    "metrics",
    "data",
    "evaluation.resize",
    "evaluation.classifier_net",
    "evaluation.inception_net",
    "workdir.pictures",
    "workdir.load",
    "workdir.report",
]
jaxtyping.install_import_hook([f"gan_jax.{name}" for name in SHAPED], "typecheck.checked")

from gan_jax.system import compile_cache

# Many tests compile the same programs, also those of another process. The directory is of this processor and this XLA;
# where nothing may be kept it is this run's, and goes with it.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
KEPT = compile_cache.directory()
COMPILED = str(KEPT.with_name(f"tests-{KEPT.name}") if KEPT else Path(tempfile.gettempdir(), f"gan_jax_tests_{RUN}"))
if not KEPT and "PYTEST_XDIST_WORKER" not in os.environ:
    atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
os.environ["GAN_JAX_CACHE"] = "off"
jax.config.update("jax_compilation_cache_dir", COMPILED)

# [b, 1] against [b] would give [b, b] and a plausible mean.
jax.config.update("jax_numpy_rank_promotion", "raise")


# What JAX calls the stages of a program's making, and what the table at the end of the tests does.
STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
_spent: Counter = Counter()


def _note(event, seconds, **_):
    if event in STAGES:
        _spent[STAGES[event]] += seconds
        _spent["programs"] += STAGES[event] == "compiling"


jax.monitoring.register_event_duration_secs_listener(_note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What the test has spent on programs travels with its report, also from another process."""
    report = yield
    report.user_properties.append(("spent", dict(_spent)))
    _spent.clear()
    return report


def pytest_terminal_summary(terminalreporter, config):
    """Seconds by file, and those of them that went to programs: where a slow suite is slow."""
    files: dict = {}
    for report in [report for each in terminalreporter.stats.values() for report in each]:
        if isinstance(report, pytest.TestReport):
            found = files.setdefault(report.nodeid.split("::")[0], Counter())
            found["all"] += report.duration
            for spent in [value for name, value in report.user_properties[-1:] if name == "spent"]:
                found.update(spent)
    columns = ("all", *STAGES.values(), "programs")
    if config.getoption("durations") is None or not files:
        return
    terminalreporter.section("seconds by file")
    for name, found in sorted(
        [*files.items(), ("together", sum(files.values(), Counter()))], key=lambda x: -x[1]["all"]
    ):
        terminalreporter.line("  ".join(f"{found[column]:7.1f} {column}" for column in columns) + f"  {name}")


def pytest_configure(config):
    if hasattr(config.option, "testrunuid"):  # what pytest-xdist tells its processes
        config.option.testrunuid = config.option.testrunuid or RUN


# Files that take long begin first, so that both processes end together.
LONG = (
    "experiments",
    "processes",
    "populations",
    "speed",
    "loop",
    "devices",
    "precision",
    "commands_evaluate",
    "faults",
)


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


def pytest_addoption(parser):
    parser.addoption("--write-results", action="store_true", help="keep what the tests measure in experiments/results")


@pytest.fixture(autouse=True, scope="module")
def _programs():
    """Each compiled program maps memory of its own, and a process may have so many maps only: a file's go with it."""
    yield
    if "equivalence" in sys.modules:
        sys.modules["equivalence"].play.cache_clear()
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Every test in a directory of its own: a run's default directory is under the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def x64():
    """The whole test with 64-bit numbers."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Without the annotations' own checks, which would come before the refusal that is tested."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
