"""gan-jax compare: numbers side by side only where they were measured in one way."""

import json
import shutil
from pathlib import Path

import pytest
import tyro

from experiments import dcgan_digits, gan_ring
from gan_jax.commands import compare
from gan_jax.types import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one experiment that can be compared, one of another, one without a result."""
    home = tmp_path_factory.mktemp("compared")
    common = {"steps": 2, "batch_size": 16, "devices": 1, "log_every": 1}
    digits = {**common, "width": 4, "features": "pixels", "evaluate_samples": 40, "final_samples": 40}
    dcgan_digits.main(dcgan_digits.Config(workdir=str(home / "one"), **digits))
    dcgan_digits.main(dcgan_digits.Config(workdir=str(home / "two"), lr=1e-3, **digits))
    gan_ring.main(gan_ring.Config(workdir=str(home / "ring"), seeds=2, width=4, gen_blocks=1, disc_blocks=1, **common))
    shutil.copytree(home / "two", home / "unfinished")
    (home / "unfinished" / "result.json").unlink()
    shutil.copytree(home / "two", home / "other")
    result = json.loads((home / "other" / "result.json").read_text())
    result["metrics"]["frechet_pixels"]["protocol"]["fake"] = 39
    (home / "other" / "result.json").write_text(json.dumps(result))
    return home


def start(home, *names, out="page.html"):
    return compare.main(tyro.cli(compare.Config, args=[*(str(home / name) for name in names), "--out", str(out)]))


def test_equal_protocols_stand_side_by_side(runs, tmp_path, capsys):
    result = start(runs, "one", "two")
    assert result["refused"] == [] and "frechet_pixels" in result["common"]["on the way"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "How they differ" in text and "<th>lr</th><td>0.0002</td><td>0.001</td>" in text
    assert "<th>steps</th><td>2</td><td>2</td>" not in text
    assert "2 runs, 7 measures that can be compared: page.html" in capsys.readouterr().out
    start(runs, "one", "two")  # written over


def test_unlike_numbers_do_not(runs, tmp_path, capsys):
    result = start(runs, "one", "other")
    (refused,) = result["refused"]
    assert refused == "frechet_pixels, measured on the way, in other otherwise than in one (fake: 40 and 39)"
    assert refused in capsys.readouterr().out
    assert "frechet_pixels" not in result["common"]["on the way"] and "kid_pixels" in result["common"]["on the way"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"Not set side by side: {refused}" in text
    held = json.loads(text.split("id=data>")[1].split("</script>")[0])
    assert "frechet_pixels" not in [curve["title"] for curve in held["curves"]]


def test_runs_of_other_kinds(runs, tmp_path):
    """One that is a population, and measures other things."""
    result = start(runs, "one", "ring")
    assert not result["common"] and len(result["refused"]) == 3
    assert "modes, high_quality, reverse_kl, overlap, measured on the way, not in one" in result["refused"]
    # Losses of other games are no like numbers either.
    held = json.loads((tmp_path / "page.html").read_text(encoding="utf-8").split("id=data>")[1].split("</script>")[0])
    assert {"gen/loss of dcgan_digits", "gen/loss of gan_ring"} <= {curve["title"] for curve in held["curves"]}


def test_one_that_cannot_be_compared_does_not_hide_the_others(runs):
    """They keep their numbers, it has a dash, and the reason is told once for all metrics that share it."""
    result = start(runs, "one", "ring", "two", "other")
    assert result["common"]["on the way"]["frechet_pixels"] == [0, 2]
    assert result["common"]["on the way"]["kid_pixels"] == [0, 2, 3]
    assert sum("kid_pixels" in line for line in result["refused"]) == 1
    text = open_page()
    assert text.count("<td class=n>–</td>") >= 14
    held = json.loads(text.split("id=data>")[1].split("</script>")[0])
    lines = {curve["title"]: [line["name"] for line in curve["lines"]] for curve in held["curves"]}
    assert lines["frechet_pixels"] == ["one", "two"] and lines["kid_pixels"] == ["one", "two", "other"]
    assert lines["gen/loss of dcgan_digits"] == ["one", "two", "other"]


def open_page():
    return Path("page.html").read_text(encoding="utf-8")


def test_steps_are_thinned_alike(runs):
    """Of a population the first member is shown, at the steps of the others."""
    start(runs, "one", "ring")
    held = json.loads(open_page().split("id=data>")[1].split("</script>")[0])
    steps = [[frame["step"] for frames in run["frames"].values() for frame in frames] for run in held["runs"]]
    assert steps == [[0, 2], [0, 2]]


def test_a_run_without_a_result_is_told(runs):
    result = start(runs, "one", "unfinished")
    assert result["refused"] == ["unfinished has no result yet, and so no protocols: none of its numbers"]
    assert not result["common"]


def test_names_are_as_long_as_they_must_be(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert compare.names_of(paths) == ["a/run", "b/run"] and compare.names_of([paths[0], tmp_path / "x"]) == [
        "run",
        "x",
    ]


@pytest.mark.parametrize(
    ("names", "out", "words"),
    [
        (["one"], "x.html", "two or more different runs"),
        (["one", "one"], "x.html", "two or more different runs"),
        (["one", "nowhere"], "x.html", "no config.json"),
        (["one", "two"], "mine.html", "not a page of this command"),
        (["one", "two"], ".", "is a directory"),
        (["one", "two"], "mine.html/x.html", "cannot be written"),
    ],
)
def test_refusals_come_before_anything_is_written(runs, tmp_path, names, out, words):
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UserError, match=words):
        start(runs, *names, out=out)
    assert (tmp_path / "mine.html").read_text() == "mine" and not (tmp_path / "x.html").exists()
