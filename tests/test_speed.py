"""What makes runs quick changes nothing else: rounds in one call, rows read ahead, what is kept; the benchmark counts."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
import pytest
from comparing import begin
from equivalence import EXACT, difference

import experiments
from experiments import dcgan_digits, gan_digits, gan_ring, wgan_gp_mnist
from experiments.tools import benchmark, benchmark_metrics, measure
from gan_jax import data, game, losses, penalties, training
from gan_jax.data.validate import image_set
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan, mlp
from gan_jax.system import cache, compile_cache, mesh
from gan_jax.training import cli
from gan_jax.training.program import Program
from gan_jax.types import UserError

ROOT = Path(experiments.__file__).parents[1]
IMAGES = image_set(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8), None, "random")


def rounds_of(module, source, **change):
    config = module.Config(batch_size=4, **change)
    grid = mesh.make(1, 4, len(config.members()))
    with jax.set_mesh(grid):
        return Program(config, module.build, source, grid), grid


def played(rounds, grid, steps, start=0, state=None):
    with jax.set_mesh(grid):
        state, watch, step = state or rounds.fresh(), rounds.no_fault(), start
        while step < start + steps:
            count = min(rounds.rounds_a_call, start + steps - step)
            state, watch, metrics, _ = rounds.play(state, watch, step, count)
            step += count
    return jax.tree.map(np.asarray, (state, metrics))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("module", [gan_ring, gan_digits, dcgan_digits, wgan_gp_mnist], ids=lambda m: m.__name__)
def test_rounds_in_one_call_are_those_one_by_one(module):
    """To the bit, however many: it is one program."""
    small = {"width": 4, "n_disc": 2, "gen_blocks": 1, "disc_blocks": 1}
    change = {name: value for name, value in small.items() if hasattr(module.Config(), name)}
    source = data.ring(4, 0) if module is gan_ring else data.source(IMAGES, 4 * change.get("n_disc", 1), 0)
    rounds, grid = rounds_of(module, source, **change)
    states = []
    for rounds.rounds_a_call in (1, 2, 4, 6):
        states.append(played(rounds, grid, 6))
        same(states[-1], states[0])


def test_the_number_of_rounds_a_call():
    """By itself many for a small game and for a population, one for others and where rows are sent."""
    ring, digits = data.ring(4, 0), data.source(IMAGES, 4, 0)
    sent = data.source(IMAGES, 4, 0, resident_bytes=0)
    assert rounds_of(gan_ring, ring, width=8, gen_blocks=1, disc_blocks=1)[0].rounds_a_call == 20
    assert rounds_of(dcgan_digits, digits, width=64)[0].rounds_a_call == 1
    assert rounds_of(dcgan_digits, digits, width=64, seeds=2)[0].rounds_a_call == 20
    assert rounds_of(dcgan_digits, digits, width=64, steps_per_call=7)[0].rounds_a_call == 7
    assert rounds_of(dcgan_digits, sent, width=4, steps_per_call=7)[0].rounds_a_call == 1


@pytest.mark.parametrize("seeds", [1, 2])
def test_rows_read_ahead_are_those_fetched(seeds, monkeypatch, tmp_path):
    """In order, after a jump, and with one reader a member."""
    np.save(tmp_path / "images.npy", IMAGES.images)
    disk = data.load(str(tmp_path / "images.npy"), stream=True)
    source = data.source(disk, 4, 0)
    begun = []

    def follow(key, step, which=slice(None)):
        begun.append(step)
        return source.follow(key, step, which)

    ahead, grid = rounds_of(dcgan_digits, dataclasses.replace(source, follow=follow), width=4, seeds=seeds)
    plain, _ = rounds_of(dcgan_digits, dataclasses.replace(source, follow=None), width=4, seeds=seeds)
    same(played(ahead, grid, 5), played(plain, grid, 5))
    assert begun == [0] * seeds
    same(played(ahead, grid, 2, start=30), played(plain, grid, 2, start=30))
    assert begun == [0] * seeds + [30] * seeds


@pytest.mark.parametrize("classes", [0, 3])
def test_one_pass_is_two(classes):
    """Where a row's logit is its own, D's step is the same whether real and fake are judged together or apart."""
    gen = dcgan.Generator((8, 8, 1), 4, classes=classes, dtype="float64")
    disc = dcgan.Discriminator(4, batch_norm=False, classes=classes, dtype="float64")
    batch = {"image": IMAGES.images[:8] / 127.5 - 1}
    batch |= {"label": np.arange(8) % 3} if classes else {}
    key = jax.random.key(3)
    games = [
        adversarial(
            gen,
            disc,
            losses.relativistic_paired(),
            z_dim=3,
            classes=classes,
            penalties=[(1.0, penalties.r1)],
            one_pass=one,
        )
        for one in (False, True)
    ]
    tx = optax.sgd(0.1)
    with jax.enable_x64(True):
        after = [game.make_update(g, tx, tx)(begin(g, tx, tx, key, batch, "float64"), batch, key) for g in games]
    assert difference(*after) < EXACT


def test_one_pass_refuses_batch_norm():
    with pytest.raises(ValueError, match="without batch norm"):
        adversarial(dcgan.Generator((8, 8, 1), 4), dcgan.Discriminator(4), losses.hinge(), z_dim=3, one_pass=True).init(
            jax.random.key(0), {"image": jnp.zeros((2, 8, 8, 1))}
        )


# -- kept for the next start


def test_arrays_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))
    made = []

    def make():
        made.append(1)
        return {"x": np.arange(5), "y": np.eye(2, dtype=np.float32)}

    for _ in range(3):
        same(cache.arrays("name", make), {"x": np.arange(5), "y": np.eye(2, dtype=np.float32)})
    assert len(made) == 1
    cache.arrays("other", make)
    assert len(made) == 2
    kept = tmp_path / "cache" / "arrays" / "name.npz"
    kept.write_bytes(kept.read_bytes()[:-40])  # cut short: made anew
    cache.arrays("name", make)
    assert len(made) == 3
    monkeypatch.setattr(cache, "MOST", 1)  # too large to be kept, and it is given all the same
    assert cache.arrays("third", make)["x"].sum() == 10 and not (tmp_path / "cache" / "arrays" / "third.npz").exists()


@pytest.mark.parametrize("where", ["off", "/proc/none"])
def test_without_a_place_nothing_is_kept(where, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", where)
    made = []
    for _ in range(2):
        cache.arrays("name", lambda: made.append(1) or {"x": np.zeros(1)})
    assert len(made) == 2
    assert (compile_cache.directory() is None) == (where == "off")
    monkeypatch.setattr(jax.config, "update", lambda *args: pytest.fail("nothing can be kept there"))
    assert compile_cache.keep() in (None, Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))


def test_a_second_start_does_not_compile_the_rounds_again(tmp_path):
    """In a process of its own, in a directory that names XLA's version and the processor; and not with the flag."""
    program = """
import sys
from experiments import gan_ring
from gan_jax.training import cli
sys.argv = ["x", "--width", "8", "--gen-blocks", "1", "--disc-blocks", "1", "--steps", "2", "--batch-size", "8", "--devices", "1", *sys.argv[1:]]
cli.run(gan_ring.main, gan_ring.Config)
"""
    env = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION")}
    env |= {"GAN_JAX_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}

    def start(*flags):
        done = subprocess.run(
            [sys.executable, "-c", program, *flags], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return sorted(path.name for path in (tmp_path / "cache").rglob("jit__rounds*-cache"))

    assert start("--workdir", "a", "--no-compile-cache") == []
    first = start("--workdir", "b")
    assert len(first) == 1
    folder = next((tmp_path / "cache").iterdir()).name
    assert folder.startswith(f"jaxlib-{jaxlib.__version__}-")
    assert start("--workdir", "c") == first


def test_memory_is_kept_in_a_process_of_its_own():
    """Blocks that are freed and taken again are touched once only."""
    program = """
import resource, sys
import numpy as np
from gan_jax.system import malloc
if not malloc.keep():
    sys.exit(77)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**23)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
flagged = total = 0
for line in open("/proc/self/smaps"):
    if line[0] in "0123456789abcdef":
        heap = line.rstrip().endswith("[heap]")
    elif line.startswith("Size:"):
        size = heap * int(line.split()[1])
    elif line.startswith("VmFlags:"):
        total, flagged = total + size, flagged + size * ("hg" in line.split())
print(total // 1024, flagged / total)
import jax
assert jax.config.values["jax_cpu_enable_async_dispatch"] is False
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
    )
    if done.returncode == 77:
        pytest.skip("not glibc")
    assert done.returncode == 0, done.stderr
    faults, size, large = map(float, done.stdout.split())
    assert faults < 2_000  # of 327,680 that the system would have
    # And not only the first of the heap: what a process takes later is as fast.
    assert size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 * 0.4
    assert large > 0.99 or not Path("/sys/kernel/mm/transparent_hugepage").exists()


def test_members_are_split_over_cores():
    program = """
import os, jax
from gan_jax.system import mesh
for cores, members, flags, said in [
    (2, 16, "", 2), (2, 1, "", 1), (2, 3, "", 1), (8, 6, "", 6), (4, 6, "", 3), (1, 4, "", 1),
    (4, 4, "--xla_force_host_platform_device_count=8", 1), (4, 4, "", 4),
]:
    os.sched_getaffinity, os.environ["XLA_FLAGS"] = (lambda pid: set(range(cores))), flags
    jax.config.update("jax_num_cpu_devices", -1)
    assert mesh.core_each(members) == said, (cores, members, flags)
assert mesh.core_each(2) == 1 and len(jax.devices()) == 4  # it is settled
"""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_population_uses_every_core(tmp_path):
    """By itself; not where it is told otherwise, by the flag or by JAX's own setting. And it comes to the same, to rounding."""
    quick = " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag)
    given = os.environ | {"XLA_FLAGS": quick}
    program = (
        "from experiments import gan_ring; from gan_jax.training import cli; cli.run(gan_ring.main, gan_ring.Config)"
    )
    small = [
        "--gen-blocks",
        "1",
        "--disc-blocks",
        "1",
        "--seeds",
        "4",
        "--steps",
        "40",
        "--log-every",
        "20",
        "--width",
        "8",
    ]
    small += ["--precision", "float64"]
    results = []
    for name, flags, settled, devices in [
        ("a", [], {}, max(n for n in (1, 2, 4) if n <= len(os.sched_getaffinity(0)))),
        ("b", ["--devices", "1"], {}, 1),
        ("c", [], {"JAX_NUM_CPU_DEVICES": "2"}, 2),
    ]:
        done = subprocess.run(
            [sys.executable, "-c", program, "--workdir", name, *small, *flags],
            env={**given, "PYTHONPATH": str(ROOT), **settled},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"on {devices} x cpu" in done.stdout
        text = (tmp_path / name / "metrics.jsonl").read_text()
        results.append([[json.loads(row)[name] for name in ("disc/loss", "gen/loss")] for row in text.splitlines()])
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-9)


# -- the benchmark


def test_a_state_that_is_donated_counts_once():
    """Of parameters that are many beside a batch: the round holds them, Adam's moments and their average, and not twice."""
    gen, disc = mlp.Generator((8, 8, 1), (512, 512)), mlp.Discriminator((512, 512))
    recipe = training.Recipe(
        adversarial(gen, disc, losses.non_saturating(), z_dim=8), optax.adam(1e-3), optax.adam(1e-3)
    )
    update = game.make_update(recipe.game, recipe.gen_tx, recipe.disc_tx)
    batch = {"image": jnp.zeros((4, 8, 8, 1))}
    state = jax.eval_shape(lambda: game.init(recipe.game, recipe.gen_tx, recipe.disc_tx, jax.random.key(0), batch))
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / 2**20
    found = measure.memory(recipe, update, state, batch)
    assert held < found["peak_mb"] < 1.6 * held and held < found["needed_mb"] < 1.4 * held


def test_what_metrics_cost(capsys):
    found = benchmark_metrics.main(benchmark_metrics.Config(count=1_000, dimensions=4))
    assert found["command"] == "python -m experiments.tools.benchmark_metrics --count 1000 --dimensions 4"
    assert set(found["metrics"]) == set(benchmark_metrics.METRICS)
    assert all(one["seconds"] > 0 and one["peak_mb"] > 10 for one in found["metrics"].values())
    with pytest.raises(UserError, match="at least 1,000"):
        benchmark_metrics.main(benchmark_metrics.Config(count=10))


def test_operations_are_counted():
    """Matrix products and convolutions, in loops as often as they run; nothing that no result needs."""
    a, x, w = jnp.ones((3, 4)), jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))
    assert measure.flop(lambda a: a @ a.T, a) == 2 * 3 * 3 * 4
    assert measure.flop(lambda a: (a @ a.T, 0)[1], a) == 0
    assert (
        measure.flop(jax.jit(lambda a: jax.lax.scan(lambda c, _: (c @ a.T @ a, None), a, None, length=5)[0]), a)
        == 5 * 4 * 36
    )
    numbers = ("NHWC", "HWIO", "NHWC")
    conv = 2 * 2 * 4 * 4 * 4 * 4 * 3 * 5
    assert (
        measure.flop(lambda x, w: jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=numbers), x, w)
        == conv
    )
    up = jnp.ones((2, 4, 4, 3))
    assert (
        measure.flop(lambda x, w: jax.lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=numbers), up, w)
        == 2 * conv * 2 / 4
    )
    layer = mlp.Discriminator((16,))
    params = layer.init(jax.random.key(0), jnp.zeros((2, 7)), train=False)
    slope = jax.grad(lambda params, x: jnp.sum(layer.apply(params, x, train=False)))
    assert measure.flop(slope, params, jnp.ones((2, 7))) == 2 * 2 * (16 * 7 * 2 + 16 * 2)


def test_benchmark_runs_a_peer_in_turn(tmp_path, capsys):
    peer = f"{sys.executable} -c \"print('''loading'''); print('''{{{{\\\"ms\\\": 5}}}}''')\""
    flags = [
        "--games",
        "ring",
        "--steps",
        "20",
        "--repeats",
        "1",
        "--no-growth",
        "--json",
        str(tmp_path / "b.json"),
        "--peer",
        peer,
    ]
    cli.run_in_process(benchmark.main, benchmark.Config, flags)
    one = json.loads((tmp_path / "b.json").read_text())["games"]["ring"]
    assert one["peers"][0]["ms"] == 5 and one["peers"][0]["ratio"] == pytest.approx(5 / one["ms"], abs=2e-3)
    assert one["peak_mb"] > 0 and one["needed_mb"] > 0 and "over peers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--games", "chess"], "--games chess: there are ring"),
        (
            ["--games", "ring", "--steps", "1", "--repeats", "1", "--peer", "false"],
            "a last line of JSON with ms is needed",
        ),
        (["--games", "ring", "--steps", "1", "--repeats", "1", "--peer", "no_such_program"], "no_such_program"),
    ],
)
def test_what_the_benchmark_cannot_run(flags, said, capsys):
    with pytest.raises(SystemExit):
        cli.run_in_process(benchmark.main, benchmark.Config, flags)
    assert said in capsys.readouterr().err


def test_peers_are_for_the_games_they_name():
    settings = benchmark.Config(peer=("mlp,dcgan: a {game}", "b: c", "ring: d"))
    assert benchmark.peers_of("dcgan", settings) == ["a {game}", "b: c"]
    assert benchmark.peers_of("ring", settings) == ["b: c", "d"]


def test_a_child_that_fails_is_told_of():
    with pytest.raises(UserError, match="ZeroDivisionError"):
        benchmark.child("1 / 0")
