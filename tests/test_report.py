"""The page about a run: everything in it, well formed, nothing fetched from elsewhere, thinned to its size."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gan_jax.training import monitors
from gan_jax.workdir import comparison, curves, frames, pictures, report
from gan_jax.workdir.report import Shown

CONFIG = {
    "experiment": "experiments.gan_ring",
    "config": {"lr": 0.1, "data": "<b>&</script>"},
    "identity": {"shape": [2], "data": "digits"},
    "starts": [{"step": 0, "versions": {"jax": "0.10"}, "hardware": "a machine", "commit": "abc"}],
}
ROWS = [
    {"step": 10, "images": 640, "seconds": 1.0, "disc/loss": 1.5, "gen/loss": 0.5, "disc/real": 1.0, "disc/fake": -1.0},
    {
        "step": 20,
        "images": 1280,
        "seconds": 2.0,
        "disc/loss": 0.5,
        "gen/loss": 2.5,
        "disc/real": 2.0,
        "disc/fake": -3.0,
        "monitor/gen/diversity": 0.05,
        "eval/kl": None,
        "eval/modes": 8.0,
        "final/modes": 7.0,
    },
]
METRICS = {
    "modes": {"last": 8.0, "best": 8.0, "best_step": 20, "higher_is_better": True, "protocol": {"fake": 2500}},
    "kl": {"last": None, "best": None, "best_step": 20, "higher_is_better": False, "protocol": {"floor": 1 / 3}},
}
SIZE = 3_000_000


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.links = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def held(text):
    """What the script of a page is given."""
    return json.loads(re.search(r"<script type=application/json id=data>(.*?)</script>", text, re.S)[1])


def picture(path, side=8, rng=None):
    pixels = np.zeros((side, side, 3), np.uint8) if rng is None else rng.integers(0, 256, (side, side, 3), np.uint8)
    pictures.save(path, pictures.png(pixels))
    return path


def test_page(tmp_path):
    files = [picture(tmp_path / f"{step:08d}.png") for step in (0, 10, 20)]
    events = monitors.episodes(ROWS)
    run = Shown("gan_ring", CONFIG, ROWS, files, [], {"when it was over": METRICS, "on the way": METRICS}, events)
    text = report.page(run)
    read = Reader(text)
    assert read.text.count("Measured when it was over") == read.text.count("Measured on the way") == 1
    for words in (
        "20 steps, 1,280 real images, 2 seconds, on a machine",
        "fake2,500",
        "0.3333",
        "experiments.gan_ring on digits",
        "infinite",
        "<b>&</script>",
        "abc",
        "modes ↑",
        "kl ↓",
        "step 20: the fakes of a batch vary 0.05 times",
    ):
        assert words in read.text, words
    assert read.text.index("Measured") < read.text.index("Samples") < read.text.index("Curves")
    # Nothing is fetched, whatever a name in the page says, and no text ends the script early.
    assert "default-src 'none'" in text and all(link.startswith("data:") for link in read.links)
    assert read.tags.count("script") == 3 and "http-equiv=Content-Security-Policy" in text
    data = held(text)
    assert [frame["step"] for frame in data["runs"][0]["frames"][""]] == [0, 10, 20]
    titles = {curve["title"]: [line["name"] for line in curve["lines"]] for curve in data["curves"]}
    assert titles == {
        "modes": ["modes"],
        "losses": ["disc/loss", "gen/loss"],
        "output of D": ["disc/real", "disc/fake"],
        "diversity": ["gen/diversity"],
    }  # nothing to draw of kl, and values of the end are in the table


def test_page_of_a_run_that_has_just_begun():
    read = Reader(report.page(Shown("gan_ring", CONFIG, [])))
    assert "0 steps" in read.text and "Measured" not in read.text and "Samples" not in read.text


def test_files_are_embedded_by_what_they_are(tmp_path):
    kinds = {"png": "data:image/png;", "gif": "data:image/gif;", "wav": "data:audio/wav;", "txt": "<b>&"}
    for suffix in kinds:
        (tmp_path / f"00000020.{suffix}").write_bytes(b"<b>&")
    found = frames.frames(sorted(tmp_path.iterdir())).members[""][0]["files"]
    assert [file["src"].startswith(kinds[suffix]) for suffix, file in zip(sorted(kinds), found, strict=True)] == [
        True
    ] * 4
    page = report.page(Shown("gan_ring", CONFIG, ROWS, sorted(tmp_path.iterdir())))
    assert "<pre>&lt;b&gt;&amp;</pre>" in page


@pytest.mark.parametrize(("count", "side", "members"), [(200, 64, 1), (30, 700, 1), (40, 200, 12), (3, 2_500, 1)])
def test_the_page_stays_small(tmp_path, count, side, members):
    """Noise, which no format makes smaller: many steps, large pictures, many members."""
    rng = np.random.default_rng(0)
    content = picture(tmp_path / "one.png", side, rng).read_bytes()
    (tmp_path / "one.png").unlink()
    for step in range(count):
        for member in range(members):
            stem = f"{step * 10:08d}_seed{member}" if members > 1 else f"{step * 10:08d}"
            (tmp_path / f"{stem}.png").write_bytes(content)
    rows = [{"step": i, "images": i, "seconds": 1.0, **{f"x/{j}": 1 / 3 for j in range(20)}} for i in range(20_000)]
    text = report.page(Shown("gan_ring", CONFIG, rows, sorted(tmp_path.iterdir())))
    assert len(text.encode()) < SIZE
    found = held(text)["runs"][0]["frames"]
    assert len(found) == min(members, 8)
    for each in found.values():
        steps = [frame["step"] for frame in each]
        assert steps[-1] == (count - 1) * 10 and steps == sorted({*steps})
        assert len(steps) < 2 or steps[0] == 0
    assert (len(steps) < count) == ("This page has" in text)
    assert "all are in samples/" in text or len(steps) == count


def test_a_sound_that_is_too_large_is_named(tmp_path):
    (tmp_path / "00000010.wav").write_bytes(bytes(2_000_000))
    assert frames.embedded(tmp_path / "00000010.wav")["kind"] == "name"
    assert len(report.page(Shown("x", CONFIG, ROWS, [tmp_path / "00000010.wav"]))) < SIZE


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [([0, 1, 2], 5, [0, 1, 2]), (range(11), 3, [0, 5, 10]), (range(5), 1, [4]), (range(10), 2, [0, 9])],
)
def test_spread(values, count, expected):
    assert frames.spread([*values], count) == expected


def test_thinned_curves_keep_their_spikes():
    points = [(i, np.sin(i / 500), 0.0) for i in range(10_000)]
    points[1234] = (1234, 99.0, 0.0)
    points[7777] = (7777, -99.0, 0.0)
    found = curves.thinned(points, 200)
    assert len(found) <= 200 and {points[0], points[1234], points[7777], points[-1]} <= {*found}
    assert found == sorted(found)


def test_a_population_has_a_band_and_a_measure_its_floor():
    rows = [
        {"step": i, "images": 1, "seconds": 1, "eval/kl": [1.0, 3.0, None], "gen/loss": [1.0, 1.0, 1.0]} for i in (5, 6)
    ]
    measure, loss = curves.curves(rows, METRICS)
    assert measure["better"] == "lower is better" and not loss["better"]
    assert measure["lines"][0] == {"name": "kl", "x": [5, 6], "y": [2.0, 2.0], "std": [1.41421] * 2, "floor": 1 / 3}
    assert loss["lines"][0]["std"] == [0.0, 0.0] and loss["lines"][0]["floor"] is None


def test_values_that_are_not_finite_leave_no_trace():
    rows = [{"step": 1, "images": 1, "seconds": 1, "gen/loss": None, "disc/loss": float("nan")}]
    assert curves.curves(rows, {}) == []


def test_the_floor_of_a_curve_is_that_of_its_values():
    """What was measured when it was over has more samples, and another floor."""
    over = {"modes": {**METRICS["modes"], "protocol": {"floor": 1.0, "fake": 10_000}}}
    way = {"modes": {**METRICS["modes"], "protocol": {"floor": 8.0, "fake": 2_000}}}
    run = Shown("x", CONFIG, ROWS, measured={"when it was over": over, "on the way": way})
    assert held(report.page(run))["curves"][0]["lines"][0]["floor"] == 8.0
    assert (
        held(comparison.page([run, run._replace(name="y")], {"on the way": {"modes": [0, 1]}}, []))["curves"][0][
            "lines"
        ][1]["floor"]
        == 8.0
    )


def test_pictures_beside_leave_room_for_the_steps(tmp_path):
    """They are counted as the page has them, and however large they are some step is shown."""
    rng = np.random.default_rng(0)
    large = [picture(tmp_path / f"{name}.png", 1_500, rng) for name in ("real", "neighbours")]
    files = [picture(tmp_path / "s" / f"{step:08d}.png", 150, rng) for step in range(12)]
    found = held(report.page(Shown("x", CONFIG, ROWS, files, large)))["runs"][0]["frames"][""]
    assert len(found) == 12 and all(frame["files"][0]["kind"] == "img" for frame in found)


def test_a_member_that_diverged_early_has_its_last_frame(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{step:08d}_seed{seed}" for step in (0, 10, 20) for seed in range(3) if seed or not step]
    files = [picture(tmp_path / f"{name}.png", 500, rng) for name in names]
    found = frames.frames(files, budget=400_000).members
    assert {name: [frame["step"] for frame in each] for name, each in found.items()} == {
        "seed0": [0], "seed1": [20], "seed2": [20],
    }  # fmt: skip


class TestEpisodes:
    def rows(self, values):
        return [{"step": 10 * (i + 1), "monitor/gen/diversity": value} for i, value in enumerate(values)]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1, 1], []),
            ([0.05, 0.01, 1], [(10, 20)]),
            ([1, 0.05, 1, 0.05], [(20, 20), (40, 40)]),
            ([0.05] * 3, [(10, 30)]),
        ],
    )
    def test_a_warning_lasts_as_long_as_its_rows(self, values, expected):
        assert [(one["from"], one["to"]) for one in monitors.episodes(self.rows(values))] == expected

    def test_collapse_lasts_until_it_is_measured_again(self):
        rows = [
            {"step": 10, "eval/collapsed": 1.0},
            {"step": 15, "monitor/gen/diversity": 1.0},
            {"step": 20, "eval/collapsed": [1.0, 0.0]},
            {"step": 30, "eval/collapsed": 0.0},
            {"step": 40, "eval/collapsed": [0.0, 1.0]},
        ]
        found = [(one["from"], one["to"], one["text"]) for one in monitors.episodes(rows)]
        assert found == [(10, 20, "measured as collapsed"), (40, 40, "measured as collapsed (1 of 2 members)")]

    def test_an_infinite_value_is_no_divergence(self):
        """Nor does it hide one that follows."""
        rows = [
            {"step": 1, "monitor/x": [1, 2], "eval/kl": [None, 2.0]},
            {"step": 2, "monitor/x": [1, None], "y": [3, None]},
        ]
        assert [(one["from"], one["text"]) for one in monitors.episodes(rows)] == [(2, "1 of the members diverged")]

    def test_rows_without_monitors_do_not_end_it(self):
        first, last = self.rows([0.05, 0.05])
        (one,) = monitors.episodes([first, {"step": 15, "eval/kl": 1.0}, last])
        assert (one["from"], one["to"]) == (10, 20)

    def test_members_starts_and_returns(self):
        rows = [
            {"step": 10, "monitor/x": [1.0, None]},
            {"step": 20, "monitor/x": [None, None], "run/rollbacks": 1},
            {"step": 30, "monitor/x": [None, None], "run/rollbacks": 1},
        ]
        found = monitors.episodes(rows, [0, 15])
        assert [(one["from"], one["text"]) for one in found] == [
            (10, "1 of the members diverged"),
            (15, "stopped, and went on"),
            (20, "went back and on with other noise (1)"),
            (20, "1 of the members diverged"),
        ]


def test_pictures_carry_their_description(tmp_path):
    with Image.open(picture(tmp_path / "x.png")) as image:
        assert "Description" not in image.info
    run = Shown("x", CONFIG, ROWS, [], [picture(tmp_path / "real.png")])
    assert "<figcaption>real images</figcaption>" in report.page(run)


@pytest.mark.parametrize(("text", "expected"), [("é", "é"), ("a\udcc3\udca9", "aé"), ("\udcff", "\ufffd")])
def test_names_that_the_locale_cannot_read_are_written(text, expected):
    assert report.encoded(text) == expected.encode()


def test_a_picture_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    """One that is damaged, and one of more pixels than Pillow takes: neither ends a run."""
    (tmp_path / "00000010.png").write_bytes(b"\x89PNG" + bytes(200_000))
    assert frames.embedded(tmp_path / "00000010.png")["src"].startswith("data:image/png")  # small enough as it is
    (tmp_path / "00000020.png").write_bytes(b"\x89PNG" + bytes(2_000_000))
    picture(tmp_path / "00000030.png", 800, np.random.default_rng(0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    beside = [picture(tmp_path / "real.png", 800, np.random.default_rng(0))]
    assert "real images" in report.page(Shown("x", CONFIG, ROWS, [], beside))
    found = [frames.embedded(tmp_path / f"000000{n}.png")["kind"] for n in (20, 30)]
    assert found == ["name", "name"]
