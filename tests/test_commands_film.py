"""`gan-jax film`: the samples of a run, one after another."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax.commands import film
from gan_jax.types import UserError

RNG = np.random.default_rng(0)


class _Run:
    def __init__(self, workdir, stems):
        self.workdir, self.config = workdir, self
        self.population = len(stems) > 1
        self._stems = stems

    def members(self):
        return [type("Member", (), {"stem": stem})() for stem in self._stems]


def pictures(root, names, shape=(40, 60, 3)):
    (root / "samples").mkdir(parents=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full(shape, 2 * i, np.uint8)).save(root / "samples" / f"{name}.png")


@pytest.fixture
def run(tmp_path, monkeypatch):
    def made(names, stems=("",), **how):
        pictures(tmp_path / "run", names, **how)
        monkeypatch.setattr(film, "saved_run", lambda name: _Run(Path(name), stems))
        return str(tmp_path / "run")

    return made


def frames_of(path):
    with Image.open(path) as opened:
        found = []
        for i in range(opened.n_frames):
            opened.seek(i)
            found.append((opened.size, opened.info["duration"], np.asarray(opened.convert("RGB"))))
        return found


def test_steps_in_order(run):
    home = run(["00000000", "00000100", "00001000"])
    result = film.main(film.Config(run=home, out="film.gif", seconds=3.0))
    assert result["steps"] == [0, 100, 1_000]
    found = frames_of("film.gif")
    assert [size for size, _, _ in found] == [(60, 56)] * 3 and [time for _, time, _ in found] == [1_000, 1_000, 3_000]
    assert [int(image[:40].mean().round()) for _, _, image in found] == [0, 2, 4]
    with pytest.raises(UserError, match="--out film.gif exists"):
        film.main(film.Config(run=home, out="film.gif"))


def test_a_member_and_another_width(run):
    home = run([f"{step:08d}_{stem}" for step in (0, 10) for stem in ("seed0", "seed1")], ("seed0", "seed1"))
    film.main(film.Config(run=home, out="film.gif", member=1, width=30))
    found = frames_of("film.gif")
    assert [size for size, _, _ in found] == [(30, 36)] * 2
    assert [int(image[:20].mean().round()) for _, _, image in found] == [2, 6]
    with pytest.raises(UserError, match="--member 2: .* has 2, from 0"):
        film.main(film.Config(run=home, out="other.gif", member=2))


def test_the_last_of_many_steps_is_there(run, monkeypatch):
    monkeypatch.setattr(film, "MOST", 4)
    home = run([f"{step:08d}" for step in range(10)])
    assert film.main(film.Config(run=home, out="film.gif"))["steps"] == [0, 3, 6, 9]


@pytest.mark.parametrize("flags, words", [
    ({"out": "film.mp4"}, "FILE.gif"),
    ({"out": "film.gif", "seconds": 0.0}, "more than 0 seconds"),
    ({"out": "film.gif"}, "has 1 pictures of samples, and a film needs two"),
])  # fmt: skip
def test_what_makes_no_film(run, flags, words):
    home = run(["00000000"])
    with pytest.raises(UserError, match=words):
        film.main(film.Config(run=home, **flags))
    assert not Path("film.gif").exists()


def test_a_real_run_is_found_by_its_configuration(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(UserError):
        film.main(film.Config(run=str(tmp_path), out="film.gif"))
