"""Human evaluation without a browser: the questions, the staircase, the file of answers, and the server's manners."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tyro

from experiments import cgan_mnist, dcgan_digits, gan_ring
from gan_jax import data
from gan_jax.commands import judge
from gan_jax.evaluation import judging
from gan_jax.evaluation.judging import Plan
from gan_jax.types import UserError
from gan_jax.workdir.answers import Answers, read

SINGLE = Plan("infinity", 3, 20, ("real", "run"))
PAIR = Plan("pairs", 3, 6, ("one", "two", "three"))


# -- questions


def test_everybody_is_asked_the_same_in_another_order():
    ann, bob = SINGLE.trials("ann"), SINGLE.trials("bob")
    assert ann == SINGLE.trials("ann") and [one.item for one in ann] != [one.item for one in bob]
    for trials in (ann, bob):
        assert [one.number for one in trials] == [*range(50)] and [one.practice for one in trials] == [True] * 10 + [
            False
        ] * 40
        assert sorted(one.item for one in trials) == [*range(-10, 40)]
        shown = [one.shown[0] for one in trials]
        assert len({*shown}) == 50 and Counter(kind for kind, _ in shown[:10]) == {0: 5, 1: 5}
        assert Counter(kind for kind, _ in shown[10:]) == {0: 20, 1: 20}
        assert {index for _, index in shown} == {*range(SINGLE.needed)}
    assert {one.item: one.shown for one in ann} == {one.item: one.shown for one in bob}
    assert [one.item for one in Plan("infinity", 4, 20, ("real", "run")).trials("ann")] != [one.item for one in ann]


def test_pairs_of_every_two_on_both_sides():
    trials = PAIR.trials("ann")
    assert Counter(tuple(sorted(kind for kind, _ in one.shown)) for one in trials) == {(0, 1): 6, (0, 2): 6, (1, 2): 6}
    assert all(one.shown[0][1] == one.shown[1][1] < PAIR.needed for one in trials) and not any(
        one.practice for one in trials
    )
    many = Plan("pairs", 0, 400, ("one", "two")).trials("ann")
    assert 140 < sum(one.shown[0][0] == 0 for one in many) < 260  # 200 expected, with a deviation of 10


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([], 500),
        ([True], 490),
        ([False], 530),
        ([True] * 100, 100),
        ([False] * 100, 1_000),
        ([True, True, True, False], 500),
    ],
)
def test_the_staircase(right, expected):
    practice = [{"item": -1, "right": False}]
    assert judging.exposure(practice + [{"item": 0, "right": one} for one in right]) == expected


def test_the_staircase_settles_where_three_of_four_are_right():
    """A judge who is right with a probability that rises with the exposure, .75 at 300 ms."""
    rng, now, shown, rights = np.random.default_rng(0), judging.START, [], []
    for _ in range(4_000):
        shown.append(now)
        rights.append(bool(rng.random() < 0.5 + 0.5 / (1 + np.exp((300 - now) / 40))))
        now += judging.exposure([{"item": 0, "right": rights[-1]}]) - judging.START
        now = min(judging.LONGEST, max(judging.SHORTEST, now))
    assert abs(np.mean(shown[500:]) - 300) < 20 and abs(np.mean(rights[500:]) - 0.75) < 0.03


# -- what it amounts to


def answered(plan, judges, decide, **more):
    """Answers of judges to everything, by decide(judge, trial) -> the answer."""
    rows = []
    for name in judges:
        for trial in plan.trials(name):
            said = decide(name, trial)
            right = {"right": said == judging.truth(trial)} if len(trial.shown) == 1 else {}
            picked = {} if right else {"preferred": trial.shown[said == "right"][0]}
            rows.append({"judge": name, "number": trial.number, "item": trial.item, **right, **picked, **more})
    return rows


def test_error_rates_come_back():
    rng = np.random.default_rng(0)
    plan = Plan("infinity", 0, 100, ("real", "run"))

    def decide(name, trial):  # takes 40 % of the samples for real, and 10 % of the real images for generated
        truth = judging.truth(trial)
        other = "generated" if truth == "real" else "real"
        return other if rng.random() < {"real": 0.1, "generated": 0.4}[truth] else truth

    found = judging.found(plan, answered(plan, ("ann", "bob", "eve"), decide))
    for name, true in (("hype", 0.25), ("error_on_generated", 0.4), ("error_on_real", 0.1)):
        one = found["values"][name]
        assert one["low"] <= true <= one["high"] and one["high"] - one["low"] < 0.2, (name, one)
    assert found["answers"] == 600 and 0 < found["agreement"] < 1
    one = judging.found(plan, answered(plan, ("ann",), lambda _, trial: "real"))
    assert [one["values"][name]["value"] for name in ("hype", "error_on_generated", "error_on_real")] == [0.5, 1, 0]
    assert one["agreement"] is None


def test_exposures():
    plan = Plan("time", 0, 20, ("real", "run"))
    rows = [
        {**row, "exposure": 300 if row["judge"] == "ann" else 400}
        for row in answered(plan, ("ann", "bob"), lambda _, trial: "real")
    ]
    found = judging.found(plan, rows)
    assert found["values"]["hype_time"] == {"value": 350, "low": 300, "high": 400}
    assert found["exposures"] == {"ann": 300, "bob": 400} and found["values"]["hype"]["value"] == 0.5


def test_preferences():
    """three is always preferred, and one is to two in 5 of 6."""

    def decide(_, trial):
        kinds = [kind for kind, _ in trial.shown]
        best = 2 if 2 in kinds else (1 if trial.shown[0][1] == 0 else 0)
        return ("left", "right")[kinds.index(best)]

    values = judging.found(PAIR, answered(PAIR, ("ann", "bob"), decide))["values"]
    assert values["two preferred to one"]["value"] == pytest.approx(1 / 6)
    assert values["three preferred to one"]["value"] == values["three preferred to two"]["value"] == 1
    scores = [values[f"score of {name}"]["value"] for name in ("two", "one", "three")]
    assert scores == sorted(scores) and sum(scores) == pytest.approx(0)


def test_without_answers_there_are_no_numbers():
    with pytest.raises(UserError, match="no answers yet"):
        judging.found(SINGLE, [{"judge": "ann", "item": -1, "right": True}])


# -- the file

ASKED = {"protocol": "infinity", "seed": 3, "count": 20, "contestants": ["real", "run"]}
ROW = {"judge": "ann", "number": 0, "item": -1}


def test_answers_are_kept_and_gone_on_with(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    with Answers(path, ASKED) as stored:
        stored.add(ROW)
        with pytest.raises(UserError, match="in use by another server"), Answers(path, ASKED):
            pass
        stored.add({**ROW, "number": 1})
    with path.open("a") as file:
        file.write('{"judge": "an')  # the machine went down here
    with Answers(path, ASKED) as stored:
        assert [row["number"] for row in stored.rows] == [0, 1]
        stored.add({**ROW, "number": 2})
    assert read(path)[0] == ASKED and [row["number"] for row in read(path)[1]] == [0, 1, 2]
    with pytest.raises(UserError, match=r"other questions: seed: 3, now 4"), Answers(path, {**ASKED, "seed": 4}):
        pass
    assert len(read(path)[1]) == 3


@pytest.mark.parametrize("content", ["mine", "[1]\n", '{"a": 1}\n', json.dumps(ASKED) + '\n{"x": 1}\n', "{}\nmine\n"])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_text(content)
    with pytest.raises(UserError, match="not a file of answers"), Answers(path, ASKED):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize("written", [0, 5])
def test_a_full_disk_takes_no_half_answers(tmp_path, monkeypatch, written):
    path, real = tmp_path / "a.jsonl", os.pwrite
    with Answers(path, ASKED) as stored:
        stored.add(ROW)

        def full(file, line, at):
            if written:
                return real(file, line[:written], at)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match=r"(?i)no space left"):
            stored.add({**ROW, "number": 1})
        assert read(path)[1] == stored.rows == [ROW]
        monkeypatch.setattr(os, "pwrite", real)
        stored.add({**ROW, "number": 1})
    assert len(read(path)[1]) == 2


# -- the server


def pictures_of(plan):
    """Real images dark, those of the n-th run brighter and brighter."""
    return [np.full((plan.needed, 8, 8, 1), 40 + 60 * kind, np.uint8) for kind in range(len(plan.contestants))]


class Client:
    def __init__(self, server):
        self.port = server.server_address[1]

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {"Host": f"localhost:{self.port}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body if isinstance(body, (str, bytes, type(None))) else json.dumps(body), sent)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, json.loads(content) if "json" in reply.headers["Content-Type"] else content

    def next(self, judge="ann"):
        return self.ask("POST", "/next", {"judge": judge})[1]

    def answer(self, number, said, judge="ann"):
        return self.ask("POST", "/answer", {"judge": judge, "number": number, "answer": said})


@pytest.fixture
def serving(tmp_path):
    """serving(plan) -> a client, and the file of answers; called again, the server is another one on the same file."""
    ends = []

    def serving(plan=SINGLE):
        while ends:
            ends.pop()()
        asked = {**ASKED, "protocol": plan.protocol, "contestants": [*plan.contestants]}
        stored = Answers(tmp_path / "a.jsonl", asked).__enter__()
        server = judge.serve(plan, pictures_of(plan), stored, 0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def end():
            server.shutdown()
            thread.join()
            server.server_close()
            stored.__exit__(None, None, None)

        ends.append(end)
        return Client(server)

    yield serving
    while ends:
        ends.pop()()


def test_the_truth_comes_after_the_answer_and_only_in_practice(serving):
    client = serving()
    for trial in SINGLE.trials("ann"):
        question = client.next()
        assert question["number"] == trial.number and question["practice"] == trial.practice
        assert {*question} == {"number", "of", "practice", "practised", "images"}
        status, png = client.ask("GET", question["images"][0])
        assert status == 200 and png.startswith(b"\x89PNG")
        status, reply = client.answer(trial.number, "real")
        assert reply == ({"stored": True, "truth": judging.truth(trial)} if trial.practice else {"stored": True})
        client.next()
        assert client.ask("GET", question["images"][0])[0] == 404
    assert client.next() == {"done": True, "of": 50}
    assert client.answer(50, "real")[0] == 409


def test_the_first_answer_counts(serving, tmp_path):
    """Also where the page is open twice, the reply was lost, or a question is answered that was not asked."""
    client = serving()
    assert client.next() == client.next()
    assert client.answer(0, "real")[1]["stored"] and client.answer(0, "generated")[1] == {"already": True}
    assert client.answer(2, "real")[0] == client.answer(-1, "real")[0] == 409
    assert client.answer(1, "perhaps")[0] == client.answer("1", "real")[0] - 9 == 400
    assert client.ask("POST", "/answer", {"judge": "ann"})[0] == 400
    assert [(row["number"], row["answer"]) for row in read(tmp_path / "a.jsonl")[1]] == [(0, "real")]


def test_several_judges_at_once(serving, tmp_path):
    client = serving()

    def play(name):
        for number in range(50):
            assert client.next(name)["number"] == number
            assert client.answer(number, "real", name)[1]["stored"]

    with ThreadPoolExecutor() as pool:
        list(pool.map(play, ("ann", "bob", "eve", "Zoë Ω")))
    rows = read(tmp_path / "a.jsonl")[1]
    assert len(rows) == 200 and {row["judge"] for row in rows} == {"ann", "bob", "eve", "Zoë Ω"}
    assert len({(row["judge"], row["item"]) for row in rows}) == 200


def test_a_server_that_was_stopped_goes_on(serving):
    client = serving()
    for number in range(7):
        client.answer(number, "real")
    before = client.next()
    client = serving()
    after = client.next()
    assert after["number"] == before["number"] == 7 and after["images"] != before["images"]


def test_a_full_disk_is_told_and_the_answer_can_come_again(serving, monkeypatch, tmp_path):
    client, real = serving(), os.pwrite
    client.next()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    status, reply = client.answer(0, "real")
    assert status == 507 and "No space left on device. Nothing is lost" in reply["error"]
    monkeypatch.setattr(os, "pwrite", real)
    assert client.answer(0, "real")[1]["stored"] and len(read(tmp_path / "a.jsonl")[1]) == 1


def test_exposures_follow_the_answers(serving):
    client = serving(Plan("time", 3, 20, ("real", "run")))
    expected = 500
    for trial in Plan("time", 3, 20, ("real", "run")).trials("ann"):
        assert client.next()["exposure"] == expected
        client.answer(trial.number, "real")
        if not trial.practice:
            expected += -10 if judging.truth(trial) == "real" else 30


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/", {"Origin": "http://localhost:1"}, 403),
        ("POST", "/next", {"Origin": "http://evil.example"}, 403),
        ("POST", "/next", {"Origin": "null"}, 403),
        ("POST", "/next", {"Host": "evil.example:80"}, 403),
        ("POST", "/next", {"Host": "localhost.evil.example:80"}, 403),
        ("GET", "/", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", "/next", {"Content_Type": "text/plain"}, 400),
        ("POST", "/other", {}, 404),
        ("GET", "/next", {}, 404),
        ("GET", "/a.jsonl", {}, 404),
        ("GET", "/../a.jsonl", {}, 404),
        ("GET", "/image/", {}, 404),
        ("GET", "/image/0", {}, 404),
        ("PUT", "/", {}, 501),
    ],
)
def test_what_the_server_answers(serving, method, path, headers, status):
    assert serving().ask(method, path, {"judge": "ann"} if method == "POST" else None, **headers)[0] == status


@pytest.mark.parametrize("body", ["", "x" * 20_000, "[1]", "no", '{"judge": ""}', '{"judge": "%s"}' % ("x" * 61), "{}"])
def test_questions_that_are_none(serving, body):
    client = serving()
    assert client.ask("POST", "/next", body)[0] == 400 and client.next()["number"] == 0


def test_it_listens_to_this_machine_only(serving):
    client = serving()
    other = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    for address in [one for one in other if ":" not in one and not one.startswith("127.")][:1]:
        with pytest.raises(OSError):
            http.client.HTTPConnection(address, client.port, timeout=2).request("GET", "/")


# -- the command


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("judged")
    common = {"steps": 1, "batch_size": 8, "devices": 1, "width": 4}
    for name in ("one", "two"):
        dcgan_digits.main(dcgan_digits.Config(workdir=str(home / name), features="none", **common))
    cgan_mnist.main(cgan_mnist.Config(workdir=str(home / "classes"), data="digits", features="none", **common))
    gan_ring.main(gan_ring.Config(workdir=str(home / "points"), gen_blocks=1, disc_blocks=1, **common))
    return home


def config(*flags):
    return tyro.cli(judge.Config, args=[str(flag) for flag in flags])


def test_real_images_and_samples_of_their_classes(runs):
    plan, (real, made), asked = judge.questions(config(runs / "classes", "--count", 7))
    assert plan.contestants == ("real", "classes") and real.shape == made.shape == (12, 8, 8, 1)
    images = data.load("digits")
    places = [int(np.flatnonzero((images.images == one).all((1, 2, 3)))[0]) for one in real]
    sampler = judge.load(runs / "classes")
    expected = judge.pictures.to_uint8(sampler.draw({"label": images.labels[places]}, 0))
    np.testing.assert_array_equal(made, expected)
    assert asked["data_digest"] == images.digest and asked["runs"]["classes"]["step"] == 1


def test_pairs_of_runs(runs):
    plan, images, asked = judge.questions(config(runs / "one", runs / "two", "--protocol", "pairs", "--count", 3))
    assert plan.contestants == ("one", "two") and [len(one) for one in images] == [3, 3] and "data" not in asked
    plan, images, _ = judge.questions(config(runs / "one", "--protocol", "pairs", "--count", 3))
    assert plan.contestants == ("real", "one") and [len(one) for one in images] == [3, 3]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "name a run"),
        (["one", "two"], "--protocol infinity is for one run"),
        (["one", "one", "--protocol", "pairs"], "named twice"),
        (["points"], r"samples of .*points are of shape \[2\]"),
        (["one", "--count", 5_000], "has 1797 images, and 5005 are shown"),
        (["one", "classes", "--protocol", "pairs"], "one size and one list of classes"),
        (["--results", "--out", "none.jsonl"], "no such file of answers"),
        (["one", "--seed", "-1"], "--seed -1"),
    ],
)
def test_refusals_come_before_anything_is_written(runs, tmp_path, flags, words):
    with pytest.raises(UserError, match=words):
        judge.main(config(*(runs / one if (runs / str(one)).is_dir() else one for one in flags)))
    assert not any(tmp_path.iterdir())


def test_a_server_that_is_killed_loses_nothing(runs, tmp_path):
    """As a person starts it, killed in the middle, and started again; Ctrl-C prints the numbers."""
    command = [sys.executable, "-m", "gan_jax", "judge", str(runs / "one"), "--count", "6", "--port", "0"]

    def start():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        address = process.stdout.readline().split(" on http://localhost:")[1].split("/")[0]
        client = Client.__new__(Client)
        client.port = int(address)
        for _ in range(100):
            try:
                client.next()
                break
            except OSError:
                time.sleep(0.05)
        return process, client

    process, client = start()
    for number in range(13):
        client.answer(number, "real")
    process.kill()
    process.communicate()
    process, client = start()
    assert client.next()["number"] == 13
    for number in range(13, 22):
        assert client.answer(number, "real")[1]["stored"]
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "hype                         50 %" in said and "12 answers of ann" in said
    result = judge.main(config("--results", "--out", "judged_infinity.jsonl", "--json", "new/found.json"))
    assert result["values"]["error_on_generated"]["value"] == 1
    assert json.loads((tmp_path / "new" / "found.json").read_text())["asked"]["contestants"] == ["real", "one"]
