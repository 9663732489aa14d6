"""The page about a run: everything in it, well formed, nothing fetched from elsewhere."""

from html.parser import HTMLParser

import numpy as np

from gan_jax.workdir import pictures, report

CONFIG = {
    "experiment": "experiments.gan_ring",
    "config": {"lr": 0.1, "data": "<b>&"},
    "identity": {"shape": [2]},
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
        "eval/kl": None,
        "eval/modes": 8.0,
    },
]
METRICS = {
    "modes": {"last": 8.0, "best": 8.0, "best_step": 20, "protocol": {"fake": 2500}},
    "kl": {"last": None, "best": None, "best_step": 20, "protocol": {"floor": 1 / 3}},
}


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


def test_page(tmp_path):
    for step in (0, 10, 20):
        pictures.save(tmp_path / f"{step:08d}.png", pictures.png(np.zeros((8, 8, 1), np.uint8)))
    read = Reader(
        report.page(
            "gan_ring",
            CONFIG,
            ROWS,
            sorted(tmp_path.glob("*.png")),
            {"when it was over": METRICS, "on the way": METRICS},
        )
    )
    assert read.text.count("Measured when it was over") == read.text.count("Measured on the way") == 1
    assert (
        "script" not in read.tags
        and all(link.startswith("data:image/png;base64,") for link in read.links)
        and len(read.links) == 2
    )
    for words in (
        "20 steps, 1,280 real images, 2 seconds, on a machine",
        "step 0",
        "step 20",
        "fake: 2500",
        "floor: 0.3333",
        "infinite",
        "<b>&",
        "abc",
        "eval/modes",
    ):
        assert words in read.text, words
    assert read.tags.count("svg") == 4  # losses, real, fake, modes; nothing to draw of kl
    assert read.tags.count("polyline") == 5


def test_files_are_embedded_by_what_they_are(tmp_path):
    """Those of the first and of the last step; text is escaped."""
    for step, marked in ((0, b"first"), (10, b"between"), (20, b"<last> & co")):
        for suffix in ("png", "gif", "wav", "txt"):
            (tmp_path / f"{step:08d}.{suffix}").write_bytes(marked)
    text = report.page("gan_ring", CONFIG, ROWS, sorted(tmp_path.iterdir()), {})
    read = Reader(text)
    kinds = [link.split(";")[0] for link in read.links]
    assert kinds == ["data:image/gif", "data:image/png", "data:audio/wav"] * 2
    assert read.tags.count("audio") == 2 and "<audio controls" in text
    assert read.tags.count("pre") == 2 and "<pre>&lt;last&gt; &amp; co</pre>" in text and "between" not in text


def test_page_of_a_run_that_has_just_begun():
    read = Reader(report.page("gan_ring", CONFIG, [], [], {}))
    assert "0 steps" in read.text and "Measured" not in read.text


def test_curve_ends():
    """Highest value at the top, lowest at the bottom, first step at the left."""
    text = report._curve("x", {"a": [(0, 1.0, 0.0), (10, 3.0, 0.0)]})
    assert f'points="{report.LEFT}.0,{report.HEIGHT - report.BOTTOM}.0 {report.WIDTH - 8}.0,8.0"' in text
