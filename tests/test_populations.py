"""Populations: each member is the single run with its seed, on any devices, and what is said of them together."""

import dataclasses
import json
import statistics
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import ringrun
from equivalence import EXACT, collectives, compiled, difference, play
from ringrun import rows, same

import gan_jax
from experiments import dcgan_digits, gan_digits, gan_ring, wgan_mnist
from gan_jax import data, training
from gan_jax.evaluation import evaluators
from gan_jax.training import evaluation, program
from gan_jax.types import Evaluate, UserError
from gan_jax.workdir import sampler
from gan_jax.workdir.members import mean_std

CONFIG = gan_ring.Config(
    width=8, gen_blocks=1, disc_blocks=1, batch_size=16, steps=8, log_every=2, sample_every=4, evaluate_every=4, checkpoint_every=3, devices=1,
    workdir="run", seeds=3, seed=5,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("programs_once")


def run(config=CONFIG, evaluator=None, build=gan_ring.build):
    return ringrun.play(config, evaluator, build)


def member(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name", ["MLP, non-saturating, dropout", "DCGAN, batch norm, least squares"])
def test_a_member_is_the_single_run(name, devices):
    """The MLP by vmap on one device, the others one after another; on eight devices two for each of four members."""
    many, program, _ = play(name, devices, rounds=3, seeds=4, seed=2)
    assert dict(program._mesh.shape) == {"member": 4 if devices == 8 else 1, "data": 2 if devices == 8 else 1}
    for i in (0, 3):
        alone, _, _ = play(name, 1, rounds=3, seed=2 + i)
        assert difference(alone, member(many, i)) < EXACT


def test_members_are_split_over_the_devices_first():
    """Eight on eight devices: each plays alone, and only the metrics, and whether all is finite, are gathered. Two on eight: their own four add up."""
    for seeds, expected in ((8, {"all-gather"}), (2, {"all-reduce", "all-gather"})):
        (_, metrics), program, state = play("DCGAN, Wasserstein, wgan_gp", 8, seeds=seeds)
        found = collectives(compiled(program).as_text())
        assert set(found) == expected and found["all-gather"] <= len(metrics) + 1, found
        held = {leaf.addressable_shards[0].data.shape[0] for leaf in jax.tree.leaves(state)}
        assert held == {max(1, seeds // 8)}


def test_what_is_done_in_some_rounds_only_is_not_paid_by_members_side_by_side():
    """Members by vmap have one step: what hangs on it stays a conditional, not a choice of two things both computed."""
    _, program, _ = play("MLP, minimax", 1, seeds=2)
    assert program._vmap
    text = compiled(program).as_text()
    assert text.count(" conditional(") >= 2  # of the norms of each side


def test_a_population_with_sharded_state():
    plain, _, _ = play("MLP, minimax", 8, seeds=2)
    split, _, state = play("MLP, minimax", 8, seeds=2, shard_state=True)
    assert difference(plain, split) < EXACT
    kernel = state.gen.params["Dense_1"]["kernel"]  # [2 32 64]
    assert kernel.addressable_shards[0].data.shape == (1, 32, 16)


def test_sweep_and_seeds():
    """Member by member the single runs with those values."""
    many, program, _ = play("MLP, minimax", 1, rounds=2, seeds=2, sweep=("lr=0.125,0.0625",))
    labels = [one.label for one in program.members]
    assert labels == ["lr 0.125, seed 0", "lr 0.125, seed 1", "lr 0.0625, seed 0", "lr 0.0625, seed 1"]
    for i, (lr, seed) in enumerate([(0.125, 0), (0.125, 1), (0.0625, 0), (0.0625, 1)]):
        alone, _, _ = play("MLP, minimax", 1, rounds=2, seed=seed, lr=lr)
        assert difference(alone, member(many, i)) < EXACT


@pytest.mark.parametrize(
    "module, flags",
    [
        (
            gan_ring,
            {
                "gen_blocks": 1,
                "disc_blocks": 1,
                "width": 8,
                "sweep": ("lr=0.001,0.002", "gamma=0.1,0.5", "ema_images=10,1000"),
            },
        ),
        (dcgan_digits, {"sweep": ("b1=0,0.5", "lr=1e-4,2e-4"), "width": 4}),
        (wgan_mnist, {"sweep": ("clip=0.01,0.1",), "width": 4}),
    ],
)
def test_what_experiments_can_sweep(module, flags):
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8))
    flags |= {"data": "x.npy"} if hasattr(module.Config(), "data") else {}
    module.main(module.Config(workdir="run", steps=2, batch_size=8, devices=1, **flags))
    result = json.loads(Path("run/result.json").read_text())
    assert len(result["members"]) == 2 ** len(flags["sweep"])
    metric = next(iter(result["metrics"].values()))
    assert set(metric["members"]) == set(result["members"]) == set(metric["groups"])
    assert all(np.isfinite(row["gen/loss"]).all() for row in rows())


def test_a_value_that_shapes_the_program_cannot_be_swept():
    def build(config, spec):
        return gan_ring.build(dataclasses.replace(config, width=8 if config.lr > 0.1 else 16), spec)

    with pytest.raises(UserError, match="--sweep lr=0.1,0.5: one of these is needed as a plain number"):
        run(dataclasses.replace(CONFIG, sweep=("lr=0.1,0.5",)), build=build)
    assert not Path("run").exists()


def test_what_a_population_leaves(capfd):
    run()
    logged = rows()
    assert [row["step"] for row in logged] == [2, 4, 6, 8]
    for row in logged:
        assert all(len(value) == 3 for name, value in row.items() if name not in ("step", "images"))
    names = [f"{step:08d}_seed{seed}.png" for step in (0, 4, 8) for seed in (5, 6, 7)]
    assert sorted(path.name for path in Path("run/samples").iterdir()) == names
    result = json.loads(Path("run/result.json").read_text())
    assert result["seeds"] == [5, 6, 7] and result["members"] == ["seed 5", "seed 6", "seed 7"]
    for name, metric in result["metrics"].items():
        last = logged[-1][f"eval/{name}"]
        if None not in last:
            assert metric["last"] == pytest.approx(statistics.fmean(last))
            assert metric["last_std"] == pytest.approx(statistics.stdev(last))
        assert [one["last"] for one in metric["members"].values()] == last
    assert "3 members, each: generator 186 parameters" in capfd.readouterr().out
    page = Path("run/report.html").read_text()
    assert "seed7" in page and " ± " in page and '"std": [' in page

    # The second member is the run of its seed, by its rows and loaded from disk: by their samples of the same noise, which
    # eight rounds with Adam carry apart by more than their own rounding, but not to where another seed's are. How far in
    # float64, the tables of devices say.
    run(dataclasses.replace(CONFIG, seeds=1, seed=6, workdir="alone"))
    for row, alone in zip(logged, rows("alone"), strict=True):
        for name in ("disc/loss", "gen/loss", "disc/real"):
            np.testing.assert_allclose(row[name][1], alone[name], rtol=1e-3, atol=1e-4)
    z = gan_jax.load("alone").latents(4)
    apart = [np.abs(gan_jax.load("run", member=i)(z) - gan_jax.load("alone")(z)).max() for i in (0, 1)]
    assert apart[1] < apart[0] / 10, apart


@pytest.mark.parametrize("intervals", [{}, {"log_every": 3, "checkpoint_every": 5}])
def test_a_population_resumes_bit_for_bit(intervals):
    """However its rounds were parted into calls."""
    config = dataclasses.replace(CONFIG, steps=30, evaluate_every=15, sample_every=10, **intervals)
    whole = run(dataclasses.replace(config, workdir="whole"))
    measure = evaluators.mixture(data.ring_centres(), 0.01, 100)

    def dies(draw):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, Evaluate(dies, measure.names))
    same(run(config), whole)
    assert rows() == rows("whole")
    assert {path.name: path.read_bytes() for path in Path("run/samples").iterdir()} == {
        path.name: path.read_bytes() for path in Path("whole/samples").iterdir()
    }


def test_a_call_ends_where_another_attempt_begins():
    """At the step that a run once went back to, whatever the intervals are now."""
    run(
        dataclasses.replace(CONFIG, steps=10, log_every=10, checkpoint_every=10, sample_every=0, evaluate_every=0),
        build=ringrun.steady,
    )
    saved = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**saved, "rollbacks": [{"step": 17, "to": 14}]}))
    long = dataclasses.replace(CONFIG, steps=20, log_every=20, checkpoint_every=20, sample_every=0, evaluate_every=0)
    calls = []

    play = program.Program.play

    def watched(self, state, first_fault, step, count, attempt=0, vote=None):
        calls.append((step, count, attempt))
        return play(self, state, first_fault, step, count, attempt, vote)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program.Program, "play", watched)
        run(long, build=ringrun.steady)
    assert calls == [(10, 4, 0), (14, 6, 1)]


def lost(seed_of_round_five):
    """gan_ring, in which the second member's loss is no number in its fifth round, once."""

    def build(config, spec):
        recipe = gan_ring.build(config, spec)

        def disc_loss(params, state, batch, key, fake):
            total, (stats, aux, metrics) = recipe.game.disc_loss(params, state, batch, key, fake)
            bad = (state.step == 4) & (batch["image"][0, 0] == seed_of_round_five)
            return total, (stats, aux, metrics | {"disc/loss": jnp.where(bad, jnp.nan, metrics["disc/loss"])})

        return recipe._replace(game=recipe.game._replace(disc_loss=disc_loss))

    return build


def test_a_member_that_diverges_is_left_out_and_stays_so(capfd):
    build = lost(np.asarray(data.ring(16, 6)[4]["image"])[0, 0])
    whole = run(dataclasses.replace(CONFIG, workdir="whole"), build=build)
    said = capfd.readouterr().err
    assert (
        said.count("warning: seed 6 has diverged: disc/loss is not finite at step 5; it is left out from here on") == 1
    )
    logged = rows("whole")
    assert [[value is None for value in row["gen/loss"]] for row in logged] == [[False] * 3] * 2 + [
        [False, True, False]
    ] * 2
    result = json.loads(Path("whole/result.json").read_text())
    assert result["diverged"] == ["seed 6"]
    last = [value for value in logged[-1]["eval/modes"] if value is not None]
    assert len(last) == 2 and result["metrics"]["modes"]["last"] == statistics.fmean(last)
    assert not Path("whole/samples/00000008_seed6.png").exists() and Path("whole/samples/00000008_seed7.png").exists()

    short = dataclasses.replace(CONFIG, workdir="short")

    def dies(draw):
        if len(rows("short")) == 3:
            raise KeyboardInterrupt
        return measure.measure(draw)

    measure = evaluators.mixture(data.ring_centres(), 0.01, 100)
    with pytest.raises(KeyboardInterrupt):
        run(short, Evaluate(dies, measure.names), build)
    capfd.readouterr()
    state = run(short, build=build)
    assert "seed 6 has diverged: disc/loss is not finite at step 5" in capfd.readouterr().err
    same(jax.tree.map(lambda x: np.asarray(x)[0], state), jax.tree.map(lambda x: np.asarray(x)[0], whole))
    assert [value is None for value in rows("short")[-1]["gen/loss"]] == [False, True, False]


def test_all_members_diverge():
    def build(config, spec):
        recipe = gan_ring.build(config, spec)

        def gen_loss(params, state, batch, key, fake):
            total, (stats, aux, metrics) = recipe.game.gen_loss(params, state, batch, key, fake)
            return total * jnp.where(state.step == 4, jnp.inf, 1.0), (stats, aux, metrics)

        return recipe._replace(game=recipe.game._replace(gen_loss=gen_loss))

    with pytest.raises(UserError, match="the gradient of gen/.* is not finite at step 5, .* checkpoint is of step 4"):
        run(build=build)


def test_collapse_is_flagged_per_member(capfd):
    turn = iter([8.0, 3.0, 2.0] * 3)

    def measure(draw):
        records = measured.measure(draw)
        modes = next(turn)
        return records | {"collapsed": records["collapsed"]._replace(value=float(modes < 4))}

    measured = evaluators.mixture(data.ring_centres(), 0.01, 100)
    run(evaluator=Evaluate(measure, measured.names))
    assert "warning: collapsed: seed 6; seed 7 (fewer than half of the modes found)" in capfd.readouterr().err
    assert json.loads(Path("run/result.json").read_text())["metrics"]["collapsed"]["last"] == pytest.approx(2 / 3)


def test_a_set_that_stays_on_the_host():
    """The members' rows are gathered one by one, and are those of the resident set."""
    images = data.arrays.read(_images(), "train")
    config = gan_digits.Config(
        workdir="resident", steps=4, batch_size=8, devices=2, seeds=2, log_every=1, precision="float64"
    )
    states = []
    for name, most in (("resident", 2**30), ("host", 0)):
        source = data.source(images, 8, 0, resident_bytes=most)
        states.append(training.run(dataclasses.replace(config, workdir=name), gan_digits.build, training.Setup(source)))
    assert source.resident is False
    for a, b in zip(rows("resident"), rows("host"), strict=True):
        np.testing.assert_allclose(a["disc/loss"], b["disc/loss"], rtol=1e-9)  # Adam divides by small numbers


def _images():
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8))
    return "x.npy"


@pytest.mark.parametrize(
    "value, mean, std",
    [(3.0, 3.0, 0.0), (None, None, 0.0), ([1.0, 2.0, 4.0], 7 / 3, np.std([1, 2, 4], ddof=1)), ([1.0], 1.0, 0.0),
     ([1.0, None, 3.0], 2.0, 2**0.5), ([None, None], None, 0.0), ([2.0, float("inf")], 2.0, 0.0)],
)  # fmt: skip
def test_mean_std(value, mean, std):
    assert mean_std(value) == (pytest.approx(mean) if mean is not None else None, pytest.approx(std))


def test_games_of_every_kind_run_as_a_population():
    for name in ("MLP, relativistic paired, every penalty",):
        (_, metrics), _, _ = play(name, 2, seeds=2)
        assert all(value.shape == (2,) for value in metrics.values()), name
        assert all(np.isfinite(x).all() for key, x in metrics.items() if not key.startswith("monitor/")), name


def test_samples_are_drawn_one_call_after_another(monkeypatch):
    """Each call gathers from all devices: of two in flight the CPU may start one device's share of each, and then neither ends."""
    config = dataclasses.replace(CONFIG, seeds=2, steps=1)
    drawn, before = [], []

    class Spied(sampler.Programs):
        def __init__(self, *args):
            super().__init__(*args)
            draw = self.draw

            def spied(*args):
                before.append(all(one.is_ready() for one in drawn))
                drawn.append(draw(*args))
                return drawn[-1]

            self.draw = spied

    monkeypatch.setattr(sampler, "CHUNK", 10)
    monkeypatch.setattr(evaluation, "Programs", Spied)
    ringrun.play(config, evaluators.mixture(data.ring_centres(), 0.01, 400))
    assert len(drawn) >= 80 and all(before)
