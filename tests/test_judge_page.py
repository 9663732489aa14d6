"""The judge's page in a browser: a simulated judge, by the keyboard alone, whose error rate comes back, whatever breaks."""

import itertools
import threading

import numpy as np
import pytest
from test_judge_server import pictures_of
from test_judging import ASKED

from gan_jax.commands import judge
from gan_jax.evaluation import judging
from gan_jax.evaluation.judging import Plan
from gan_jax.workdir.answers import Answers, read

LEVEL = "(img) => { const c = document.createElement('canvas').getContext('2d'); c.drawImage(img, 0, 0); return c.getImageData(9, 9, 1, 1).data[0]; }"


class Stage:
    """A server that can be killed and started again on its port, with its file of answers."""

    def __init__(self, path, plan, shown=None, **more):
        self.path, self.plan, self.port, self.thread = path, plan, 0, None
        self.shown, self.more = shown or pictures_of(plan), more
        self.start()

    def start(self):
        asked = {**ASKED, "protocol": self.plan.protocol, "contestants": [*self.plan.contestants], **self.more}
        self.stored = Answers(self.path, asked).__enter__()
        self.server = judge.serve(self.plan, self.shown, self.stored, self.port)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.stored.__exit__(None, None, None)

    @property
    def rows(self):
        return read(self.path)[1]


@pytest.fixture
def stage(tmp_path):
    made = []

    def stage(plan, shown=None, **more):
        made.append(Stage(tmp_path / "a.jsonl", plan, shown, **more))
        return made[-1]

    yield stage
    for one in made:
        one.stop()


def begin(opened, stage, name="ann", **how):
    page = opened(f"http://localhost:{stage.port}/", **how)
    page.get_by_label("your name").fill(name)
    page.keyboard.press("Enter")
    return page


def ready(page):
    """Waits for a question that can be answered; returns whether there is one."""
    handle = page.locator("#choices button:enabled, h1:text('that was all'), #feedback button").first
    handle.wait_for(timeout=20_000)
    return page.locator("h1:text('that was all')").count() == 0


def levels(page):
    return [image.evaluate(LEVEL) for image in page.locator("#images img").all()]


def play(page, wrong, stop=None):
    """Answers by the keyboard, wrongly where `wrong()` says so; `stop(n)` is called before the n-th answer."""
    for n in itertools.count():
        if not ready(page):
            return n
        if stop:
            stop(n)
        real = levels(page)[0] < 70  # real images are dark
        page.keyboard.press("ArrowRight" if real != wrong() else "ArrowLeft")
        page.locator("#feedback button, #choices button:enabled, h1:text('that was all')").first.wait_for(
            timeout=20_000
        )
        if page.locator("#feedback button").count():
            assert f"it is {'real' if real else 'generated'}" in page.locator("#feedback").inner_text()
            page.keyboard.press("Enter")
            page.locator("#feedback button").wait_for(state="detached")


def test_a_judges_error_rate_comes_back(opened, stage):
    """Two judges who are wrong in 30 % of their answers, while some answers, and some replies, are lost on the way."""
    on = stage(Plan("infinity", 3, 12, ("real", "run")))
    rng, errors = np.random.default_rng(0), []

    def wrong():
        errors.append(bool(rng.random() < 0.3))
        return errors[-1]

    lost = itertools.count(1)

    def lose(route):
        n = next(lost)
        if n % 7 == 0:
            route.abort()  # never sent
        elif n % 5 == 0:
            route.fetch()
            route.abort()  # stored, and the reply is lost
        else:
            route.continue_()

    for name in ("ann", "bob"):
        page = begin(opened, on, name, faults=False)
        page.route("**/answer", lose if name == "ann" else lambda route: route.continue_())
        page.evaluate("window.setTimeout = ((old) => (f, ms) => old(f, Math.min(ms, 20)))(window.setTimeout)")
        assert play(page, wrong) == 34
    rows = on.rows
    assert [row["number"] for row in rows] == [*range(34)] * 2
    assert [not row["right"] for row in rows] == errors and next(lost) > 38
    found = judging.found(on.plan, rows)
    counted = [one for row, one in zip(rows, errors, strict=True) if row["item"] >= 0]
    assert found["values"]["hype"]["value"] == pytest.approx(np.mean(counted))
    assert found["values"]["hype"]["low"] < 0.3 < found["values"]["hype"]["high"]
    assert all(row["seconds"] >= 0 for row in rows)


def test_a_killed_server_is_waited_for(opened, stage):
    on = stage(Plan("infinity", 3, 4, ("real", "run")))
    page = begin(opened, on, faults=False)

    def stop(n):
        if n == 6:
            on.stop()
            page.keyboard.press("ArrowLeft")
            page.locator("#message", has_text="The server does not answer. Trying again").wait_for()
            on.start()
            page.locator("#feedback button").wait_for(timeout=20_000)
            page.keyboard.press("Enter")
            page.locator("#feedback button").wait_for(state="detached")
            ready(page)

    play(page, lambda: False, stop)
    assert [row["number"] for row in on.rows] == [*range(18)]


def test_a_page_that_is_open_twice(opened, stage):
    """Both ask the same question; the second answer to it is not stored, and the page moves on."""
    on = stage(Plan("pairs", 3, 4, ("real", "run")))
    first, second = begin(opened, on), begin(opened, on)
    for page in (first, second):
        assert ready(page) and len(levels(page)) == 2
    first.keyboard.press("ArrowLeft")
    second.keyboard.press("ArrowRight")
    second.locator("#where", has_text="2 of 4").wait_for()
    first.locator("#where", has_text="2 of 4").wait_for()
    assert [row["answer"] for row in on.rows] == ["left"]
    said = [page.locator("#note").inner_text() for page in (first, second)]
    assert said == ["", "This question was answered in another window: that answer counts."]
    second.reload()
    assert second.get_by_label("your name").input_value() == "ann"


def test_keys_that_answer_nothing(opened, stage):
    """Those of the browser, and one that is pressed before the image can have been looked at."""
    on = stage(Plan("pairs", 3, 4, ("real", "run")))
    page = begin(opened, on)
    for keys in ("Alt+ArrowLeft", "Control+ArrowRight", "Meta+ArrowLeft"):
        ready(page)
        page.evaluate("history.pushState({}, '')")  # so that the browser's own way back leads nowhere else
        page.keyboard.press(keys)
    ready(page)
    page.keyboard.press("ArrowLeft")
    for _ in range(10):  # within 300 ms
        page.keyboard.press("ArrowLeft")
    page.locator("#where", has_text="2 of 4").wait_for()
    assert [row["number"] for row in on.rows] == [0] and on.rows[0]["seconds"] >= 0.3


def test_a_page_of_an_earlier_server_begins_again(opened, stage, tmp_path):
    """Where another one, with other questions, has its port now."""
    on = stage(Plan("infinity", 3, 4, ("real", "run")))
    page = begin(opened, on, faults=False)
    ready(page)
    on.stop()
    on.path, on.plan = tmp_path / "b.jsonl", Plan("pairs", 3, 4, ("real", "run"))
    on.start()
    page.keyboard.press("ArrowLeft")
    page.locator("h1:text('Which one looks more real?')").wait_for()
    assert not on.rows and page.get_by_label("your name").input_value() == "ann"


def test_pairs_by_the_keyboard(opened, stage):
    """A judge who prefers the brighter one."""
    on = stage(Plan("pairs", 3, 3, ("one", "two", "three")))
    page = begin(opened, on)
    while ready(page):
        left, right = levels(page)
        before = len(on.rows)
        page.keyboard.press("ArrowRight" if right > left else "ArrowLeft")
        while len(on.rows) == before:
            page.wait_for_timeout(5)
        page.locator("#choices button:enabled, h1:text('that was all')").first.wait_for()
    values = judging.found(on.plan, on.rows)["values"]
    assert [values[f"{b} preferred to {a}"]["value"] for a, b in (("one", "two"), ("two", "three"))] == [1, 1]


def test_a_glance_lasts_as_long_as_it_should(opened, stage):
    """Within some frames of the screen; nothing is left to see when the question can be answered."""
    on = stage(Plan("time", 3, 3, ("real", "run")))
    page = begin(opened, on)
    for number in range(4):
        assert ready(page) and page.locator("#images img").count() == 0
        page.keyboard.press("ArrowLeft")
        page.locator("#feedback button").wait_for()
        if number < 3:
            page.keyboard.press("Enter")
            page.locator("#feedback button").wait_for(state="detached")
    rows = on.rows
    assert [row["exposure"] for row in rows] == [500] * 4
    away = [row["shown_ms"] - row["exposure"] for row in rows]
    assert min(away) > -20 and np.median(away) < 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("protocol", ["infinity", "pairs"])
def test_it_fits_the_screen(opened, stage, width, scheme, protocol):
    on = stage(Plan(protocol, 3, 3, ("real", "run")))
    page = begin(opened, on, width=width, scheme=scheme)
    assert ready(page) and page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [image.bounding_box() for image in page.locator("#images img").all()]
    assert all(120 < box["width"] < width and box["y"] + box["height"] < 700 for box in boxes)
    assert len({round(box["y"]) for box in boxes}) == 1


def test_the_truth_is_not_in_the_page(opened, stage):
    """What the browser was told before the answer: names of images that say nothing, in an order that says nothing."""
    on = stage(Plan("infinity", 3, 3, ("real", "run")))
    page = opened(f"http://localhost:{on.port}/")
    told = []
    page.on("response", lambda reply: told.append(reply.text()) if reply.url.endswith("/next") else None)
    page.get_by_label("your name").fill("ann")
    page.keyboard.press("Enter")
    assert ready(page) and len(told) == 1
    assert "real" not in told[0] and "generated" not in told[0] and "right" not in told[0]


def tones(plan, high):
    """Sounds of a tenth of a second, the label's tone: low or high."""
    t = np.arange(800) / 8_000
    sounds = [np.sin(2 * np.pi * (1_200 if one else 300) * t) for one in high[: plan.needed]]
    return [0.5 * np.float32(sounds)] * len(plan.contestants)


# Zero crossings of the sound that the page's player holds.
CROSSINGS = """async (player) => {
  const held = new DataView(await (await fetch(player.src)).arrayBuffer());
  let crossings = 0;
  for (let i = 46; i < held.byteLength; i += 2) crossings += held.getInt16(i, true) * held.getInt16(i - 2, true) < 0;
  return crossings;
}"""


def test_which_class_is_heard(opened, stage):
    """By one key a class, whatever its name holds; a player plays what is asked about."""
    plan, names = Plan("classes", 3, 4, ("real", "run")), ["low", "</script><b>hi"]
    high = np.random.default_rng(0).integers(0, 2, plan.needed)
    labels = [names[one] for one in high]
    on = stage(plan, tones(plan, high), rate=8_000, classes=names, labels=labels)
    page = begin(opened, on)
    assert "Which one is it?" in page.locator("#title").inner_text()
    for n in itertools.count():
        if not ready(page):
            break
        player = page.locator("#images audio")
        assert player.count() == 1 and player.get_attribute("controls") is not None
        assert page.locator("#choices button").all_inner_texts() == [f"{name} {i + 1}" for i, name in enumerate(names)]
        heard = int(player.evaluate(CROSSINGS) > 120)  # 60 of the low tone, 240 of the high one
        page.keyboard.press(str(1 + heard))
        page.locator(f"#feedback button, #where:text-is('{n - 8} of 8'), h1:text('that was all')").first.wait_for(
            timeout=20_000
        )
        if page.locator("#feedback button").count():
            assert f"Right: it is {names[heard]}." in page.locator("#feedback").inner_text()
            page.keyboard.press("Enter")
            page.locator("#feedback button").wait_for(state="detached")
    assert n == 18 and all(row["right"] for row in on.rows)
    found = judging.found(plan, on.rows)["values"]
    assert found["right_on_real"]["value"] == found["right_on_generated"]["value"] == 1


def test_two_sounds_do_not_play_at_once(opened, stage):
    plan = Plan("pairs", 3, 2, ("real", "run"))
    on = stage(plan, tones(plan, [0, 1]), rate=8_000)
    page = begin(opened, on)
    assert ready(page) and "sounds more real" in page.locator("#title").inner_text()
    players = page.locator("#images audio").all()
    assert len(players) == 2 and not any(one.evaluate("(player) => player.autoplay") for one in players)


def test_what_is_given_is_said(opened, stage):
    on = stage(Plan("infinity", 3, 2, ("real", "run")), given=True)
    page = opened(f"http://localhost:{on.port}/")
    assert "The left half shows what was given" in page.locator("#task").inner_text()
