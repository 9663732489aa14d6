"""Lines of text: what is read of files, there and back as numbers, networks at their published sizes, and what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import dcgan_digits, wgan_gp_text
from gan_jax.commands import sample
from gan_jax.data import texts
from gan_jax.evaluation import reading
from gan_jax.models import text_resnet
from gan_jax.types import UserError

WORDS = [a + b for a in "abcdefgh" for b in "ijklm"]


def test_a_file_of_lines(tmp_path):
    (tmp_path / "x.txt").write_text("\n".join([*WORDS, "aj", " ak ", "", "a" * 9]) + "\r\n", encoding="utf-8")
    learnt, test = texts.load(str(tmp_path / "x.txt"), length=8)
    assert {*learnt.lines} | {*test.lines} == {*WORDS} and len(test.lines) == 4 and not {*learnt.lines} & {*test.lines}
    assert (
        learnt.alphabet == "abcdefghijklm"
        and "36 distinct lines, 4 held out, of up to 8 of 13 characters" in learnt.facts["layout"]
    )
    assert "2 are empty or longer and left out" in learnt.facts["layout"]
    assert texts.load(str(tmp_path / "x.txt"), length=8) == (learnt, test)


def test_a_folder_with_held_out_lines(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(WORDS))
    (tmp_path / "test.txt").write_text("ai\nbi\nzz\nab\nba\n")
    learnt, test = texts.load(str(tmp_path), length=8)
    assert len(learnt.lines) == 38 and sorted(test.lines) == ["ab", "ai", "ba", "bi"]
    assert (
        "2 are in both files and held out, 1 held out have other characters and are left out, such as 'zz'"
        in learnt.facts["layout"]
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file or folder"),
        (b"a\xff\n", "byte 1 is not UTF-8"),
        (b"ab\nac\n", "distinct lines of 1 to 8 characters are too few"),
    ],
)
def test_what_is_no_use(tmp_path, content, words):
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        texts.load(str(tmp_path / "x.txt"), length=8)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no train.txt and no test.txt"):
        texts.load(str(tmp_path / "folder"), length=8)


def test_there_and_back():
    lines = ["", "a", "cab", "abcabc"]
    numbers = texts.encoded(lines, "abc", 6)
    assert numbers.shape == (4, 7) and numbers[1].tolist() == [0, 3, 3, 3, 3, 3, 3]
    assert texts.decoded(numbers, "abc") == lines
    held = texts.one_hot(texts.Lines(tuple(lines), "abc", "x", {}), 6)
    assert held.images.shape == (4, 7, 4) and (held.images.sum(-1) == 1).all()
    assert texts.decoded(0.5 * held.images + 0.1, "abc") == lines
    assert texts.decoded(np.array([[0, 1, 2]]), "abc") == ["abc"]  # a line without an end
    with pytest.raises(ValueError, match="longer than 2"):
        texts.encoded(["abc"], "abc", 2)


def count(net, *inputs):
    made = jax.eval_shape(lambda: net.init(jax.random.key(0), *inputs, train=False))["params"]
    return sum(x.size for x in jax.tree.leaves(made))


def test_published_sizes():
    """15.28 and 13.18 million, of a hundred characters at 32 places."""
    assert count(text_resnet.Generator((32, 100)), jnp.zeros((1, 128))) == 15_277_156
    assert count(text_resnet.Discriminator(), jnp.zeros((1, 32, 100))) == 13_180_417


def test_shares_of_symbols_and_blocks_that_begin_as_nothing():
    net = text_resnet.Generator((5, 4), 8)
    made, _ = net.init_with_output(jax.random.key(0), jnp.ones((3, 6)), train=False)
    assert made.shape == (3, 5, 4)
    np.testing.assert_allclose(made.sum(-1), 1, rtol=1e-6)
    x = jnp.float32(np.random.default_rng(0).normal(size=(2, 5, 8)))
    block = text_resnet.Block()
    zeros = jax.tree.map(jnp.zeros_like, block.init(jax.random.key(0), x))
    np.testing.assert_array_equal(block.apply(zeros, x), x)


def test_real_lines_beside_others():
    learnt, test = texts.load("syllables", length=12)
    evaluate = reading.measures(learnt, test, lambda samples: samples)
    found = evaluate.measure(lambda count: list(learnt.lines[:count]))
    assert {*found} == {*evaluate.names} and found["copied"].value == 1 and found["found"].value == 0
    answers = found["js_3"].protocol["answers"]
    assert (
        found["js_3"].value < 1.3 * answers["real"]
        and max(answers["5-grams"], answers["2-grams"]) < 0.5 * answers["shuffled"]
    )
    assert found["nll_5_grams"].value < found["nll_5_grams"].protocol["answers"]["shuffled"]


def test_samples_are_lines(tmp_path):
    common = {"steps": 1, "batch_size": 8, "devices": 1, "width": 4, "evaluate_every": 0}
    wgan_gp_text.main(wgan_gp_text.Config(workdir="run", n_disc=1, **common))
    sample.main(sample.Config(run="run", out="made/lines.txt", count=70, seed=1))
    lines = (tmp_path / "made" / "lines.txt").read_text().splitlines()
    assert len(lines) == 70 and {*"".join(lines)} <= {*texts.load("syllables", length=12)[0].alphabet}
    for out, words in (("folder", "are lines: --out folder.txt"), ("x.npz", "are lines: --out x.txt")):
        with pytest.raises(UserError, match=words):
            sample.main(sample.Config(run="run", out=out))
    dcgan_digits.main(dcgan_digits.Config(workdir="other", features="none", **common))
    with pytest.raises(UserError, match="are no lines: name a folder"):
        sample.main(sample.Config(run="other", out="x.txt"))
