"""Runs whose samples are heard: what people are asked of them, and the files that are written."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import tyro

from experiments import specgan_digits, vocoder_digits, wavegan_digits
from gan_jax.commands import judge, sample
from gan_jax.evaluation import classifier, judging, vocoding
from gan_jax.types import UserError
from gan_jax.workdir.answers import Answers
from gan_jax.workdir.load import load

NAMES = ("no", "yes")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("heard")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for i, name in enumerate(NAMES):
            (home / "sounds" / split / name).mkdir(parents=True)
            for j in range(24):
                tone = np.sin(np.arange(1_000) * (0.2 + 0.3 * i)) * rng.uniform(0.2, 0.9)
                held = np.round(tone * 32_767).astype(np.int16)
                scipy.io.wavfile.write(
                    home / "sounds" / split / name / f"{'ann' if j % 2 else 'bob'}_{j}.wav", 8_000, held
                )
    common = {"steps": 1, "batch_size": 8, "devices": 1, "length": 1_024, "data": str(home / "sounds")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "STEPS", 5)
        patch.setattr(vocoding, "RESOLUTIONS", (128,))  # what is measured is not looked at here
        wavegan_digits.main(wavegan_digits.Config(workdir=str(home / "made"), width=2, n_disc=1, **common))
        shutil.copytree(home / "made", home / "again")
        vocoder_digits.main(
            vocoder_digits.Config(workdir=str(home / "voice"), width=8, disc_width=1, segment=768, **common)
        )
    return home


def config(*flags):
    return tyro.cli(judge.Config, args=[str(flag) for flag in flags])


def test_which_class_is_heard(runs, tmp_path):
    """The right answer is the class of a recording, and of a sample the one that it was asked for."""
    plan, (real, made), asked = judge.questions(config(runs / "made", "--protocol", "classes", "--count", 7))
    assert real.shape == made.shape == (12, 1_024) and asked["rate"] == 8_000 and asked["classes"] == [*NAMES]
    crossings = (np.diff(np.sign(real[:, :1_000]), axis=1) != 0).sum(1)
    assert [NAMES[int(n > 100)] for n in crossings] == asked["labels"]
    labels = np.array([NAMES.index(name) for name in asked["labels"]], np.int32)
    np.testing.assert_array_equal(made, np.asarray(load(runs / "made").draw({"label": labels}))[..., 0])
    with Answers(Path("answers.jsonl"), asked) as stored:
        judging_ = judge.Judging(plan, [real, made], stored)
        assert b'classes = ["no", "yes"]' in judging_.page and b'heard = "yes"' in judging_.page
        right = 0
        for number, trial in enumerate(plan.trials("ann")):
            shown = json.loads(judging_.post("/next", {"judge": "ann"}).content)
            kind, index = trial.shown[0]
            reply = judging_.get(shown["images"][0])
            rate, heard = scipy.io.wavfile.read(io.BytesIO(reply.content))
            assert reply.kind == "audio/wav" and rate == 8_000
            np.testing.assert_allclose(heard / 32_767, np.clip((real, made)[kind][index], -1, 1), atol=1e-4)
            answer = asked["labels"][index] if kind == 0 or trial.practice else "no"
            said = json.loads(judging_.post("/answer", {"judge": "ann", "number": number, "answer": answer}).content)
            assert said.get("truth") == (asked["labels"][index] if trial.practice else None)
            right += kind == 1 and not trial.practice and asked["labels"][index] == "no"
        found = judging.found(plan, stored.rows)["values"]
    assert found["right_on_real"]["value"] == 1 and found["right_on_generated"]["value"] == pytest.approx(right / 7)
    assert {*found} == {"right_on_real", "right_on_generated"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["made", "--protocol", "time"], "makes sounds, which take their time"),
        (["voice"], "is given mels: judge the one that makes them"),
        (["voice", "--protocol", "classes"], "is not told classes"),
    ],
)
def test_what_cannot_be_asked(runs, flags, words):
    with pytest.raises(UserError, match=words):
        judge.main(config(runs / flags[0], *flags[1:]))


def test_samples_are_wavs(runs):
    done = sample.main(sample.Config(run=str(runs / "made"), out="heard", count=6, seed=3))
    assert done["count"] == 6
    files = sorted(str(path.relative_to("heard")) for path in Path("heard").rglob("*.wav"))
    assert files == [f"{name}/3_{i:06d}.wav" for name, rows in (("no", (0, 2, 4)), ("yes", (1, 3, 5))) for i in rows]
    rate, held = scipy.io.wavfile.read("heard/no/3_000002.wav")
    sampler = load(runs / "made")
    inputs = list(sampler.inputs(6, 3))
    inputs[1] = np.arange(6, dtype=np.int32) % 2
    drawn = np.asarray(sampler(*inputs))[2, :, 0]
    assert rate == 8_000
    np.testing.assert_allclose(held / 32_767, drawn, atol=1e-4)
    sample.main(sample.Config(run=str(runs / "made"), out="heard.npz", count=6, seed=3))
    with np.load("heard.npz") as stored:
        assert (
            stored["sounds"].shape == (6, 1_024) and stored["rate"] == 8_000 and stored["labels"].tolist() == [0, 1] * 3
        )
        np.testing.assert_array_equal(stored["sounds"][2], drawn)


def test_the_classes_of_other_recordings(runs, tmp_path):
    """By name, however they are numbered; where they are others, or none, it is said."""
    for split in ("train", "test"):
        for name in NAMES:
            (tmp_path / "plain" / split).mkdir(parents=True, exist_ok=True)
            for file in (runs / "sounds" / split / name).iterdir():
                (tmp_path / "plain" / split / f"{name}{file.name}").write_bytes(file.read_bytes())
                for other in (f"other/{split}/{name}", f"other/{split}/a"):
                    (tmp_path / other).mkdir(parents=True, exist_ok=True)
                    (tmp_path / other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="has no labels, so nobody knows what is right"):
        judge.main(config(runs / "made", "--protocol", "classes", "--count", 7, "--data", tmp_path / "plain"))
    with pytest.raises(UserError, match="has the classes a, which"):
        judge.main(config(runs / "made", "--protocol", "classes", "--count", 7, "--data", tmp_path / "other"))


def test_two_runs_that_are_heard(runs):
    _, sounds, asked = judge.questions(config(runs / "made", runs / "again", "--protocol", "pairs", "--count", 3))
    assert [one.shape for one in sounds] == [(3, 1_024)] * 2 and asked["rate"] == 8_000


@pytest.mark.parametrize(
    ("module", "flags", "words"),
    [
        (vocoder_digits, {"length": 8_000}, "--length 8000: a multiple of 128 from 1024 on, as 7936|as 8064"),
        (vocoder_digits, {"length": 640, "segment": 640}, "as 1024"),
        (vocoder_digits, {"segment": 1_000}, "--segment 1000: a multiple of 128"),
        (vocoder_digits, {"rate": 0}, "--rate 0: it must be at least 1"),
        (wavegan_digits, {"length": 8_000}, "5 to 16 times a power of 4"),
        (specgan_digits, {"length": 8_000}, "multiples of 4"),
    ],
)
def test_lengths_are_refused_before_anything_is_learnt(module, flags, words, monkeypatch):
    monkeypatch.setattr(classifier, "trained", None)
    with pytest.raises(UserError, match=words):
        module.setup(module.Config(**flags))


def test_a_vocoder_of_other_mels(runs):
    make, name = specgan_digits.voice(specgan_digits.Config(vocoder=str(runs / "voice")))
    assert name.startswith("vocoder, weights ") and make(np.zeros((3, 8, 64, 1), np.float32)).shape == (3, 1_024, 1)
    for flags in ({"rate": 16_000, "vocoder": str(runs / "voice")}, {"vocoder": str(runs / "made")}):
        with pytest.raises(UserError, match="a vocoder of .* is needed, and it is of"):
            specgan_digits.voice(specgan_digits.Config(**flags))
