"""Truncated noise and standing statistics, of a single run and of a member of a population."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from experiments import biggan_fashion
from gan_jax.evaluation import batch_norm, truncation
from gan_jax.game import Average, Player, State
from gan_jax.types import Evaluate, Record
from gan_jax.workdir.sampler import Draw

RNG = np.random.default_rng(0)
FLAGS = {"data": "digits", "features": "none", "steps": 2, "batch_size": 8, "width": 8, "z_dim": 6, "devices": 1}


@pytest.fixture(scope="module", autouse=True)
def a_shallow_discriminator():
    """D plays no part here, and its layers with spectral norm take most of the time."""
    whole = biggan_fashion.biggan.Discriminator
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            biggan_fashion.biggan,
            "Discriminator",
            lambda widths, downs, *rest, **how: whole(widths[:1], 1, *rest, **how),
        )
        yield


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("run"))
    biggan_fashion.main(biggan_fashion.Config(workdir=home, **FLAGS))
    return gan_jax.load(home)


def in_population(sampler):
    """The same sampler as the second member of two, the first of which has other numbers."""
    both = jax.tree.map(lambda x: jnp.stack([jnp.zeros_like(x), x]), (sampler.generator, sampler.state))
    programs = gan_jax.workdir.sampler.Programs(sampler.programs.game_of, sampler.spec, True)
    return dataclasses.replace(sampler, programs=programs, generator=both[0], state=both[1], member=1)


def test_standing_statistics_are_those_of_many_batches(sampler):
    """A mean of what each batch has by itself, and nothing of the vectors of spectral norm."""
    game, gen, spec = sampler.recipe.game, sampler.own, sampler.spec
    found = batch_norm.standing(sampler, seed=3)
    weights, total = 0.9 ** np.arange(batch_norm.BATCHES)[::-1], None
    fakes = jax.jit(lambda stats, key, batch: game.fakes(gen.params, state(stats), batch, key)[1])

    def state(stats):
        side = Player(gen.params, stats, ())
        return State(jnp.int32(0), side, Player({}, {}, ()), Average(gen.params, stats), {})

    for i, weight in enumerate(weights):
        batch = {**spec.blank(100), "label": (100 * i + jnp.arange(100)) % 10}
        stats = fakes(gen.stats, jax.random.fold_in(jax.random.key(3), i), batch)
        # momentum 0.9: new = 0.9 old + 0.1 of the batch
        own = jax.tree.map(
            lambda new, old, weight=weight: weight * (new - 0.9 * old) / 0.1 / weights.sum(), stats, gen.stats
        )
        total = own if total is None else jax.tree.map(jnp.add, total, own)
    seen = 0
    for (path, leaf), expected, before in zip(
        jax.tree.leaves_with_path(found.stats), jax.tree.leaves(total), jax.tree.leaves(gen.stats), strict=True
    ):
        if path[-1].key in ("mean", "var"):
            seen += 1
            np.testing.assert_allclose(leaf, expected, rtol=0.02, atol=1e-4)
        else:
            np.testing.assert_array_equal(leaf, before)
    assert seen == 2 * 5  # two conditional norms of each of two blocks, and the last


@pytest.mark.parametrize("member", [False, True])
def test_noise_within_a_limit(sampler, member):
    one = in_population(sampler) if member else sampler
    label = np.arange(12) % 10
    draw = truncation.Truncated(Draw(one), 0.5)
    made = draw({"label": label.astype(np.int32)})
    z = jax.random.truncated_normal(jax.random.key(0), -0.5, 0.5, (12, 6))
    assert float(jnp.abs(z).max()) <= 0.5
    settled = batch_norm.standing(sampler, 0, lambda key: {"z": jax.random.truncated_normal(key, -0.5, 0.5, (100, 6))})
    np.testing.assert_allclose(made, sampler.with_generator(settled)(z, label), atol=1e-5)
    np.testing.assert_allclose(draw(12), made, atol=1e-5)  # classes in turn
    images = RNG.uniform(-1, 1, (12, 8, 8, 1)).astype(np.float32)
    asked = one.with_generator(one.own).ask("logits", images, label)  # the member's own D
    np.testing.assert_allclose(asked, sampler.ask("logits", images, label), atol=1e-5)
    assert draw.how["truncation"] == 0.5 and draw.how["batch_norm"] == "standing"
    assert np.abs(truncation.Truncated(Draw(one), float("inf"))(12) - made).max() > 1e-3


def test_variances_of_truncated_noise():
    """Printed values: variance, and the share of normal numbers within the limit."""
    z = np.random.default_rng(0).normal(size=400_000)
    for limit, variance, share in ((0.5, 0.0806, 0.3829), (1.0, 0.2911, 0.6827), (2.0, 0.7737, 0.9545)):
        drawn = jax.random.truncated_normal(jax.random.key(1), -limit, limit, (400_000,))
        np.testing.assert_allclose(np.var(drawn), variance, rtol=0.01)
        np.testing.assert_allclose(np.mean(np.abs(z) <= limit), share, atol=0.003)


def test_a_run_measures_the_curve(tmp_path, monkeypatch):
    """Of each member, and in a file that any JSON parser reads."""
    monkeypatch.setattr(biggan_fashion, "LIMITS", (float("inf"), 0.3))
    monkeypatch.setattr(batch_norm, "BATCHES", 5)
    flags = {**FLAGS, "features": "pixels", "evaluate_samples": 20, "final_samples": 40, "seeds": 2}
    biggan_fashion.main(biggan_fashion.Config(workdir=str(tmp_path), **flags))
    final = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)["final"]
    for limit in ("inf", "0.3"):
        for metric in ("frechet", "precision", "recall"):
            assert len(final[f"{metric}_{limit}_pixels"]["last_members"]) == 2
    assert final["frechet_inf_pixels"]["protocol"]["truncation"] == "none"
    assert final["frechet_0.3_pixels"]["protocol"]["truncation"] == 0.3
    one, other = final["frechet_0.3_pixels"]["last_members"]
    assert one != other


def test_the_curve_stands_beside_the_final_measure(sampler):
    class Measures:
        class reference:
            most = staticmethod(lambda count: count)

        @staticmethod
        def records(metrics, draw, count):
            spread = float(np.std(draw(count)))
            return {
                f"{name}_pixels": Record(spread, False, {"fake": count}) for name in ("frechet", "recall", "density")
            }

    plain = Evaluate(lambda draw: {}, (), lambda draw: {"frechet_pixels": Record(1.0, False, {})})
    found = truncation.with_curve(plain, Measures, 20, (float("inf"), 0.3)).final(Draw(sampler))
    assert set(found) == {
        "frechet_pixels", "frechet_inf_pixels", "recall_inf_pixels", "frechet_0.3_pixels", "recall_0.3_pixels"
    }  # fmt: skip
    assert found["frechet_0.3_pixels"].protocol["truncation"] == 0.3
    assert found["frechet_0.3_pixels"].value != found["frechet_inf_pixels"].value
    without = Evaluate(lambda draw: {}, ())
    assert truncation.with_curve(without, Measures, 20, (0.3,)) is without
