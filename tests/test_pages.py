"""The pages in a browser: what a person sees, moves and points at, on wide and narrow screens, light and dark."""

import numpy as np
import pytest
from test_report import CONFIG

from gan_jax.workdir import comparison, pictures, report
from gan_jax.workdir.report import Shown

SEEDS = ("seed0", "seed1")


def a_run(folder, name, members=(), shift=0.0):
    """A run of 40 rows whose values are known, with frames of one grey each."""
    files = []
    for step in (0, 100, 200, 400):
        for i, member in enumerate(members or ("",)):
            stem = f"{step:08d}_{member}" if member else f"{step:08d}"
            path = folder / name / "samples" / f"{stem}.png"
            pictures.save(path, pictures.png(np.full((40, 40, 1), step // 4 + 50 * i, np.uint8)))
            files.append(path)
    rows = []
    for step in range(10, 401, 10):
        loss = step / 100 + shift
        row = {"step": step, "images": step, "seconds": 1.0, "gen/loss": [loss - 1, loss + 1] if members else loss}
        if step % 100 == 0:
            row["eval/kl"] = [5.0 - step / 100] * len(members) if members else 5.0 - step / 100
        rows.append(row)
    pictures.save(folder / name / "real.png", pictures.png(np.full((40, 40, 1), 255, np.uint8)))
    metric = {"last": 1.0, "best": 1.0, "best_step": 400, "higher_is_better": False, "protocol": {"floor": 0.5, "k": 5}}
    events = [{"from": 90, "to": 150, "text": "the fakes <i>vary</i> little"}]
    return Shown(
        name, CONFIG, rows, sorted(files), [folder / name / "real.png"], {"on the way": {"kl": metric}}, events
    )


@pytest.fixture
def written(tmp_path):
    def written(text):
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        return f"file://{path}"

    return written


def point(page, curve, share):
    """Moves the pointer to a share of the width of a curve's plot; returns what stands under it."""
    plot = page.locator(f"#curve{curve} .u-over")
    plot.scroll_into_view_if_needed()  # which waits until it has stopped moving
    box = plot.bounding_box()
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    return page.locator(f"#curve{curve} .read").inner_text()


def level(page, selector):
    """The grey level of a picture."""
    return page.locator(selector).evaluate(
        "async (img) => { await img.decode(); const c = document.createElement('canvas').getContext('2d');"
        " c.drawImage(img, 0, 0); return c.getImageData(5, 5, 1, 1).data[0]; }"
    )


def test_samples_move_with_the_slider(opened, written, tmp_path):
    page = opened(written(report.page(a_run(tmp_path, "one"))))
    seen = []
    slider = page.get_by_label("step of the samples")
    for _ in range(4):
        seen.append((page.locator("#samples0 figcaption").inner_text(), level(page, "#samples0 img")))
        slider.press("ArrowLeft")
    assert seen == [("step 400", 100), ("step 200", 50), ("step 100", 25), ("step 0", 0)]
    page.get_by_label("play").click()
    page.locator("#samples0 figcaption", has_text="step 400").wait_for()
    assert page.locator("figcaption", has_text="real images").count() == 1


def test_curves_tell_their_values(opened, written, tmp_path):
    page = opened(written(report.page(a_run(tmp_path, "one"))))
    assert point(page, 0, 0.0).startswith("step 100 kl 4 (floor 0.5)")
    assert point(page, 0, 1.0).startswith("step 400 kl 1 (floor 0.5)")
    assert point(page, 1, 1.0).startswith("step 400 gen/loss 4")
    assert "the fakes <i>vary</i> little" in point(page, 1, (120 - 10) / 390)  # a warning, under the pointer
    assert "the fakes" not in point(page, 1, (200 - 10) / 390)
    page.mouse.move(0, 0)
    assert page.locator("#curve1 .read").inner_text().startswith("step 400 gen/loss 4")


def test_members(opened, written, tmp_path):
    page = opened(written(report.page(a_run(tmp_path, "one", SEEDS))))
    assert point(page, 1, 1.0).startswith("step 400 gen/loss 4 ± 1.4")
    page.get_by_label("member of one").select_option("seed1")
    assert level(page, "#samples0 img") == 150
    assert page.locator("#samples0 figcaption").inner_text() == "seed1, step 400"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_it_fits_the_screen_and_its_colours(opened, written, tmp_path, width, scheme):
    runs = [a_run(tmp_path, name) for name in ("one", "two")]
    for text in (report.page(runs[0]), comparison.page(runs, {"on the way": {"kl": [0, 1]}}, ["x: " + "k" * 30])):
        page = opened(written(text), width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        bright = [sum(map(int, colour[4:-1].split(","))) > 380 for colour in (paper, ink)]
        assert bright == ([True, False] if scheme == "light" else [False, True])
        drawn = page.locator("#curve0 canvas").evaluate(
            "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((x, i) => i % 4 === 3 && x).length"
        )
        assert drawn > 500 and page.locator("#curve0 canvas").bounding_box()["width"] > 300


def test_runs_side_by_side(opened, written, tmp_path):
    """One slider for both, one frame for a measure of both; what cannot be compared is said."""
    runs = [a_run(tmp_path, "one"), a_run(tmp_path, "two", shift=1.0)]
    page = opened(written(comparison.page(runs, {"on the way": {"kl": [0, 1]}}, ["frechet (k: 5 and 3)"])))
    assert "Not set side by side: frechet (k: 5 and 3)" in page.inner_text("body")
    assert point(page, 0, 1.0).startswith("step 400 one 1 (floor 0.5) two 1 (floor 0.5)")
    assert point(page, 1, 1.0).startswith("step 400 one 4 two 5")
    page.get_by_label("step of the samples").press("Home")
    assert [page.locator(f"#samples{i} figcaption").inner_text() for i in (0, 1)] == ["step 0"] * 2
    assert page.locator("figcaption", has_text="real images").count() == 1  # the same ones
    page = opened(written(comparison.page(runs, {}, ["kl"])))
    assert page.locator(".curve h3").all_inner_texts() == ["losses"]


def test_monitors_are_drawn_when_they_are_opened(opened, written, tmp_path):
    run = a_run(tmp_path, "one")
    run = run._replace(rows=[{**row, "monitor/gen/diversity": 1.0} for row in run.rows])
    page = opened(written(report.page(run)))
    page.get_by_text("Monitors").click()
    page.locator("#curve2 canvas").wait_for()
    assert point(page, 2, 1.0).startswith("step 400 gen/diversity 1")
