"""The Inception network against pytorch-fid's and torch-fidelity's, on weights from a seed, block by block."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest
from references.inception import HERE, fingerprint, images, seeded

from gan_jax.evaluation import resize
from gan_jax.evaluation.inception_net import Inception, variables
from gan_jax.types import UserError

KEPT = json.loads((HERE / "inception.json").read_text())
SEEDED = seeded(KEPT["shapes"])
BLOCKS = [*KEPT["blocks"], "unbiased"]


@pytest.fixture(scope="module")
def blocks():
    """What every block makes of the seeded images, and the logits without their bias, compiled as one program."""

    def apply(variables, x):
        (features, logits), kept = Inception().apply(
            variables, x, capture_intermediates=lambda module, _: module.name, mutable=["intermediates"]
        )
        made = {
            name: out.get("__call__", out) if isinstance(out, dict) else out
            for name, out in kept["intermediates"].items()
        }
        made = {name: out[0] for name, out in made.items()}
        # A unit's convolution is captured before its ReLU, and two of them before their border is cut.
        made |= {name: nn.relu(made[name]) for name in made if name.startswith("Conv")}
        made |= {name: made[name][:, 1:-1, 1:-1] for name in ("Conv2d_2a_3x3", "Conv2d_4a_3x3")}
        unbiased = Inception(logit_bias=False).apply(variables, x)[1]
        return made | {"avgpool": features[:, None, None], "fc": logits, "unbiased": unbiased}

    return jax.jit(apply)(variables(SEEDED), resize.tensorflow(images()))


@pytest.mark.parametrize("name", BLOCKS)
def test_block_is_the_packages(blocks, name):
    expected = KEPT["blocks"][name] if name != "unbiased" else KEPT["unbiased"]
    found = fingerprint(blocks[name])
    assert found["shape"] == expected["shape"]
    assert expected["std"] > 0.3  # there is something to compare
    # Up to 48 layers in float32 here and there, of batch norms that keep the size: roundings add as chance does.
    for part in ("mean", "std", "entries"):
        np.testing.assert_allclose(found[part], expected[part], rtol=0, atol=1e-5 * expected["std"], err_msg=part)


def test_every_block_is_compared(blocks):
    assert blocks.keys() == {*BLOCKS} and len(BLOCKS) == 21


def spoilt(**changes):
    return {
        name: changes.get(name.replace(".", "_"), array)
        for name, array in SEEDED.items()
        if name not in changes.get("lacks", ())
    }


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        (
            {},
            r"not the tensors of the FID Inception, 472 of them: it lacks 472 of them, Conv2d_1a_3x3.bn.bias, .* \.\.\.$",
        ),
        (spoilt(lacks=["fc.bias"]), "it lacks 1 of them, fc.bias$"),
        (SEEDED | {"AuxLogits.fc.bias": np.zeros(1000)}, "it has beyond them 1 of them, AuxLogits.fc.bias$"),
        (
            spoilt(fc_weight=np.zeros((1000, 2048))),
            r"it has of another shape 1 of them, fc.weight \(1000, 2048\), not \(1008, 2048\)$",
        ),
        (spoilt(fc_bias=np.full(1008, np.nan)), "it has not finite 1 of them, fc.bias$"),
        (
            spoilt(lacks=["fc.bias"], fc_weight=np.zeros(3)),
            r"it lacks .*fc.bias; it has of another shape .* \(3,\), not",
        ),
    ],
)
def test_other_tensors_are_refused(state_dict, message):
    with pytest.raises(UserError, match=message):
        variables(state_dict)


def test_counts_of_batches_are_not_asked_for():
    without = {name: array for name, array in SEEDED.items() if not name.endswith("num_batches_tracked")}
    assert len(without) == len(SEEDED) - 94
    jax.tree.map(np.testing.assert_array_equal, variables(without), variables(SEEDED))
