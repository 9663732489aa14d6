"""What the networks compute in, and in how many parts of a batch."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivalence import GAMES, ROWS, Config, difference, play, setting

from experiments import dcgan_digits, gan_ring
from gan_jax.system import mesh
from gan_jax.system.numerics import arithmetic
from gan_jax.training import loop
from gan_jax.training.program import Program
from gan_jax.types import UserError


def text(name, **flags):
    """A round of the game as it is lowered, with these flags."""
    config = Config(devices=1, **flags)
    grid = mesh.make(1, ROWS)
    with jax.set_mesh(grid), arithmetic(config.precision, config.matmul_precision):
        return Program(config, GAMES[name], setting(name), grid).text()


@pytest.mark.parametrize("name", ["DCGAN, batch norm, least squares", "DCGAN, Wasserstein, wgan_gp"])
def test_bfloat16_is_for_the_networks_alone(name):
    plain, _, _ = play(name, 1, precision="float32")
    half, _, state = play(name, 1, precision="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    assert all(value.dtype == np.float32 for value in half[1].values())
    lines = text(name, precision="bfloat16").splitlines()
    products = [line for line in lines if "stablehlo.dot_general" in line or "stablehlo.convolution" in line]
    assert products and all("bf16" in line for line in products)
    # bfloat16 rounds to 2^-9 = .002: more than nothing, and after a round of few layers less than .1.
    assert 1e-5 < difference(plain, half) < 0.1


@pytest.mark.parametrize("name", GAMES)
def test_float32_is_float32(name):
    """Also where jax_enable_x64 is on."""
    with jax.enable_x64(True):
        found = text(name)
    assert "bf16" not in found and "f64" not in found


@pytest.mark.parametrize("name", ["MLP, relativistic paired, every penalty", "conditional DCGAN, batch norm, hinge"])
def test_a_precision_is_what_the_configuration_says(name):
    """The same program with and without jax_enable_x64; and in float64 no value is rounded to less."""
    plain = text(name)
    with jax.enable_x64(True):
        assert text(name) == plain
    wide = text(name, precision="float64")
    assert "bf16" not in wide and not re.search(r"f64>\) -> tensor<[0-9x]*f32>", wide)


@pytest.mark.parametrize("chosen, said", [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "DEFAULT")])
def test_the_precision_of_products(chosen, said):
    """As a GPU or TPU is told of it; on the CPU it makes no difference."""
    found = text("MLP, minimax", matmul_precision=chosen)
    assert f"precision = [{said}, {said}]" in found or (said == "DEFAULT" and "precision = [H" not in found)


def test_precision_is_recorded():
    flags = {"width": 8, "gen_blocks": 1, "disc_blocks": 1, "batch_size": 8, "steps": 1, "devices": 1}
    gan_ring.main(gan_ring.Config(workdir="run", precision="bfloat16", matmul_precision="tensorfloat32", **flags))
    with open("run/result.json") as file:
        assert json.load(file)["precision"] == {"networks": "bfloat16", "matrix products": "tensorfloat32"}
    with pytest.raises(UserError, match="precision: 'bfloat16' there, 'float32' now"):
        gan_ring.main(gan_ring.Config(workdir="run", matmul_precision="tensorfloat32", **flags))


def test_parts_need_less_memory():
    from dataclasses import replace

    from gan_jax import data

    config = replace(dcgan_digits.Config(), batch_size=256, devices=1)
    held = []
    for parts in (1, 8):
        grid = mesh.make(1, 256)
        source = data.source(data.load("digits"), 256, 0)
        with jax.set_mesh(grid):
            program = Program(replace(config, accumulate=parts), dcgan_digits.build, source, grid)
            held.append(program.lower(program.fresh()).compile().memory_analysis().temp_size_in_bytes)
    assert held[1] < held[0] / 2


def test_batch_norm_in_parts_is_explained(capfd, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "play", lambda self, state, *rest: state)  # the greeting is before
    flags = {"width": 4, "batch_size": 8, "steps": 1, "devices": 1}
    dcgan_digits.main(dcgan_digits.Config(workdir="run", accumulate=2, **flags))
    text = "--accumulate 2: batch norm takes its statistics of 4 rows at a time: another update than that of 8"
    assert text in capfd.readouterr().out
    gan_ring.main(gan_ring.Config(workdir="ring", accumulate=2, gen_blocks=1, disc_blocks=1, **flags))
    assert "--accumulate" not in capfd.readouterr().out
