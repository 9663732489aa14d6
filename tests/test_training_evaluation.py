"""What a run does with its measures: early stop, the last measures, monitors and their warnings."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import ringrun
from comparing import begin
from rounding import float32

from experiments import gan_ring
from gan_jax import data, game, losses
from gan_jax.games.adversarial import adversarial
from gan_jax.models import mlp, resnet
from gan_jax.training import monitors, observe
from gan_jax.types import Evaluate, Record
from gan_jax.workdir.log import read_rows


def judged(values, final=False):
    """An evaluator that gives these values, one after another, and at the end 100 more."""
    calls = iter(values)
    told = {"how": "in turn", "fake": 1, "weights": "raw"}
    return Evaluate(
        lambda draw: {"score": Record(next(calls), True, told)},
        ("score",),
        (lambda draw: {"score": Record(100.0 + float(np.mean(draw(3))), True, {**told, "fake": 3})}) if final else None,
    )


def run(tmp_path, values, final=False, **flags):
    own = {
        "width": 8,
        "gen_blocks": 1,
        "disc_blocks": 1,
        "devices": 1,
        "steps": 12,
        "log_every": 2,
        "evaluate_every": 2,
        "checkpoint_every": 4,
        **flags,
    }
    config = gan_ring.Config(workdir=str(tmp_path / "run"), **own)
    ringrun.play(config, judged(values, final))
    return json.loads((tmp_path / "run" / "result.json").read_text()), read_rows(tmp_path / "run" / "metrics.jsonl")


@pytest.mark.parametrize(
    ("values", "patience", "steps"),
    [
        ([1, 2, 3, 4, 5, 6], 1, 12),
        ([1, 2, 1, 0, 5, 6], 2, 8),
        ([1, 2, 1, 3, 2, 1], 2, 12),  # the end came first
        ([5, 4, 3, 2, 1, 0], 3, 8),
        ([5, 5, 5, 5, 5, 5], 4, 10),  # the same is no improvement
        ([5, 4, 3, 2, 1, 0], 0, 12),
    ],
)
def test_a_run_stops_when_it_no_longer_improves(tmp_path, capsys, values, patience, steps):
    result, rows = run(tmp_path, values, patience=patience)
    assert result["steps"] == steps == rows[-1]["step"]
    assert (tmp_path / "run" / "samples" / f"{steps:08d}.png").exists()
    early = steps < 12
    assert ("stopped_early" in result) == early == ("run/stopped_early" in rows[-1])
    assert ("has not improved in" in capsys.readouterr().err) == early
    again, _ = run(tmp_path, [9] * 9, patience=patience)  # and stays so
    assert again == result


def test_the_last_and_the_best_checkpoint_are_measured_with_more_samples(tmp_path):
    result, rows = run(tmp_path, [1, 5, 2, 3, 4, 2], final=True)
    own = result["final"]["score"]
    assert own["best_step"] == 4 and own["protocol"]["fake"] == 3 and own["higher_is_better"]
    assert rows[-1]["final/score"] == own["last"] and rows[-1]["best/score"] == own["best"]
    assert own["last"] != own["best"] and result["metrics"]["score"]["best"] == 5
    assert [row for row in rows if "final/score" in row] == rows[-1:]


def test_of_a_population_every_member_is(tmp_path):
    result, rows = run(tmp_path, [1.0] * 20, final=True, seeds=2)
    assert len(rows[-1]["final/score"]) == 2 and result["final"]["score"]["last_std"] > 0


# ---- monitors


def tiny(disc=None, **options):
    gen = mlp.Generator((2,), (8,), last=None)
    return adversarial(gen, disc or mlp.Discriminator((8,)), losses.non_saturating(), z_dim=2, **options)


def observed(played, tx, every):
    """A round with what a run looks at around it."""
    play = game.make_round(played, tx, tx)

    def update(state, batch, key):
        after, metrics, steps = play(state, batch, key)
        return after, {**metrics, **observe.norms(steps, state.step, every)}

    return jax.jit(update)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_norms_are_those_of_the_gradients_and_parameters(every):
    played, tx, batch = tiny(), optax.sgd(0.1), data.ring(16, 0)[0]
    update = observed(played, tx, every)
    state = begin(played, tx, tx, jax.random.key(0), batch)
    for step in range(4):
        before = jax.tree.map(np.asarray, (state.gen.params, state.disc.params))
        state, metrics = update(state, batch, jax.random.key(1))
        for side, old in zip(("gen", "disc"), before, strict=True):
            new = jax.tree.map(np.asarray, getattr(state, side).params)
            taken = 1 if (step + 1) % every == 0 else np.nan  # in the other rounds they are not computed

            def norm(tree):
                return np.sqrt(sum(np.sum(np.float64(x) ** 2) for x in jax.tree.leaves(tree)))

            moved = jax.tree.map(lambda x, y: (x - y) / 0.1, old, new)
            lost = float32(4, size=norm(old) / 0.1)  # of a gradient that is read off rounded parameters
            np.testing.assert_allclose(
                metrics[f"monitor/{side}/grad_norm"], norm(moved) * taken, rtol=float32(32), atol=lost
            )
            np.testing.assert_allclose(metrics[f"monitor/{side}/param_norm"], norm(new) * taken, rtol=float32(32))


def test_sigma_is_the_largest_of_spectral_norms():
    disc, batch = resnet.Discriminator(8, spectral_norm=True), {"image": jnp.ones((4, 8, 8, 1))}
    gen = mlp.Generator((8, 8, 1), (8,))
    played, tx = adversarial(gen, disc, losses.hinge(), z_dim=2), optax.sgd(0.1)
    state = begin(played, tx, tx, jax.random.key(0), batch)
    state, metrics = observed(played, tx, 5)(state, batch, jax.random.key(1))
    sigmas = [float(x) for path, x in jax.tree.leaves_with_path(state.disc.stats) if "sigma" in str(path[-1])]
    assert (
        len(sigmas) > 8 and float(metrics["monitor/disc/sigma"]) == max(sigmas) and "monitor/gen/sigma" not in metrics
    )


def test_accuracies_gap_and_diversity():
    """Against a D whose logit is the first coordinate and a constant, as a critic's may be, and a G that halves the data's deviation."""
    real = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 4.0], [-1.0, 4.0]])
    fake = jnp.array([[-1.0, 1.0], [1.0, 1.0], [-1.0, 2.0], [1.0, 2.0]])
    played = tiny()

    class First(mlp.Discriminator):
        def __call__(self, x, label=None, *, train):
            return x[:, 0] + 10

    played = tiny(First())
    tx, batch = optax.sgd(0.1), {"image": real}
    state = begin(tiny(), tx, tx, jax.random.key(0), batch)
    _, (_, _, metrics) = played.disc_loss({}, state, batch, jax.random.key(0), fake)
    assert float(metrics["monitor/disc/real_accuracy"]) == 0.75 and float(metrics["monitor/disc/fake_accuracy"]) == 0.5
    assert float(metrics["monitor/disc/gap"]) == pytest.approx(1.25)
    expected = np.mean((fake[::2] - fake[1::2]) ** 2) / np.mean((real[::2] - real[1::2]) ** 2)
    assert float(metrics["monitor/gen/diversity"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        ({}, set()),
        ({"monitor/gen/diversity": 0.5, "monitor/disc/real_accuracy": 0.7, "monitor/disc/fake_accuracy": 1.0}, set()),
        ({"monitor/disc/real_accuracy": [1.0, 1.0]}, set()),
        ({"monitor/gen/diversity": 0.05}, {"diversity"}),
        ({"monitor/gen/diversity": [0.5, None]}, set()),
        ({"monitor/gen/diversity": [0.05, 0.5, None]}, {"diversity"}),
        ({"monitor/gen/diversity": [0.05, 0.01, None]}, {"diversity"}),
        ({"monitor/disc/real_accuracy": 1.0, "monitor/disc/fake_accuracy": 0.995}, {"certain"}),
        ({"monitor/disc/real_accuracy": [1.0, 0.5], "monitor/disc/fake_accuracy": [0.5, 1.0]}, set()),
        ({"monitor/disc/real_accuracy": [1.0, 0.5, None], "monitor/disc/fake_accuracy": [1.0, 1.0, None]}, {"certain"}),
    ],
)
def test_warnings(row, kinds):
    assert set(monitors.warnings(row)) == kinds


def test_the_line_on_the_terminal_stays_short():
    row = {
        "disc/loss": 1,
        "monitor/disc/real_accuracy": 1,
        "monitor/gen/grad_norm": 1,
        "monitor/gen/diversity": 1,
        "monitor/disc/gap": 1,
        "monitor/disc/sigma": 1,
    }
    assert monitors.main_values(row) == {"disc/loss": 1}
