"""Human evaluation without a browser: the server's manners, and the command."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tyro
from test_judging import ASKED, ROW, SINGLE

from experiments import cgan_mnist, cyclegan_digits, dcgan_digits, gan_ring
from gan_jax import data
from gan_jax.commands import judge
from gan_jax.evaluation import judging
from gan_jax.evaluation.judging import Plan
from gan_jax.types import UserError
from gan_jax.workdir import pictures
from gan_jax.workdir.answers import Answers, read
from gan_jax.workdir.load import load

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


def test_a_judge_is_one_however_the_name_is_written(serving, tmp_path):
    client = serving()
    for number, name in enumerate(("Ann  B", "ann b", " ANN B ")):
        assert client.next(name)["number"] == number
        client.answer(number, "real", name)
    assert {row["judge"] for row in read(tmp_path / "a.jsonl")[1]} == {"Ann B"}


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


def test_how_often_an_image_was_shown_is_kept(serving, tmp_path):
    client = serving(Plan("time", 3, 20, ("real", "run")))
    for number, times in enumerate((1, 3, 1)):
        for _ in range(times):  # as by loading the page anew
            client.ask("GET", client.next()["images"][0])
        client.answer(number, "real")
    assert [row["showings"] for row in read(tmp_path / "a.jsonl")[1]] == [1, 3, 1]


def test_a_page_of_other_questions_is_told(serving, tmp_path):
    """One that was opened from an earlier server on the same port: its answer is to another image."""
    client = serving()
    digest = client.ask("GET", "/")[1].decode().split('asked = "')[1].split('"')[0]
    for asked, status in ((digest, 200), ("another", 409)):
        sent = {"judge": "ann", "number": 0, "answer": "real", "asked": asked}
        for path in ("/next", "/answer"):
            assert client.ask("POST", path, sent)[0] == status
    assert client.ask("POST", "/answer", sent)[1] == {"stale": True} and len(read(tmp_path / "a.jsonl")[1]) == 1


def test_exposures_follow_the_answers(serving):
    client = serving(Plan("time", 3, 20, ("real", "run")))
    expected = 500
    for trial in Plan("time", 3, 20, ("real", "run")).trials("ann"):
        assert client.next()["exposure"] == expected
        client.answer(trial.number, "real")  # never fetched: no showing is known of
        if not trial.practice:
            expected += -10 if judging.truth(trial) == "real" else 30


LINK = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/", {"Origin": "http://localhost:1"}, 403),
        ("POST", "/next", {"Origin": "http://evil.example"}, 403),
        ("POST", "/next", {"Origin": "null"}, 403),
        ("POST", "/next", {"Host": "evil.example:80"}, 403),
        ("POST", "/next", {"Host": "localhost.evil.example:80"}, 403),
        ("POST", "/next", {"Host": "evil.example@localhost"}, 200),  # of this machine by its name, which is what counts
        ("GET", "/", {"Host": "[no"}, 403),
        ("GET", "/", {"Host": ""}, 403),
        ("GET", "/", {"Host": "localhost"}, 200),  # as behind a forwarded port 80
        ("GET", "/", {"Host": "LocalHost:8642"}, 200),
        ("GET", "/", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/", LINK, 200),  # a link to it that was followed
        ("GET", "/", {**LINK, "Sec_Fetch_Dest": "iframe"}, 403),
        ("GET", "/image/0", LINK, 403),
        ("POST", "/next", LINK, 403),
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


ODD = ["[" * 9_000, '{"judge": "ann", "number": 0, "answer": "real", "seconds": 1%s}' % ("0" * 400)]


@pytest.mark.parametrize(
    "body", [*ODD, "", "x" * 20_000, "[1]", "no", '{"judge": ""}', '{"judge": "%s"}' % ("x" * 61), "{}"]
)
def test_questions_that_are_none(serving, body):
    client = serving()
    assert client.ask("POST", "/answer" if "answer" in body else "/next", body)[0] == 400
    assert client.next()["number"] == 0


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
    dcgan_digits.main(dcgan_digits.Config(workdir=str(home / "one"), features="none", **common))
    shutil.copytree(home / "one", home / "two")
    cgan_mnist.main(cgan_mnist.Config(workdir=str(home / "classes"), data="digits", features="none", **common))
    gan_ring.main(gan_ring.Config(workdir=str(home / "points"), gen_blocks=1, disc_blocks=1, **common))
    cyclegan_digits.main(cyclegan_digits.Config(workdir=str(home / "edges"), **common))
    return home


def config(*flags):
    return tyro.cli(judge.Config, args=[str(flag) for flag in flags])


def test_real_images_and_samples_of_their_classes(runs):
    plan, (real, made), asked = judge.questions(config(runs / "classes", "--count", 7))
    assert plan.contestants == ("real", "classes") and real.shape == made.shape == (12, 8, 8, 1)
    images = data.load("digits")
    places = [int(np.flatnonzero((images.images == one).all((1, 2, 3)))[0]) for one in real]
    sampler = load(runs / "classes")
    expected = pictures.to_uint8(sampler.draw({"label": images.labels[places]}, 0))
    np.testing.assert_array_equal(made, expected)
    assert asked["data_digest"] == images.digest and asked["runs"]["classes"]["step"] == 1


def test_pairs_of_runs(runs):
    plan, images, asked = judge.questions(config(runs / "one", runs / "two", "--protocol", "pairs", "--count", 3))
    assert plan.contestants == ("one", "two") and [len(one) for one in images] == [3, 3] and "data" not in asked
    plan, images, _ = judge.questions(config(runs / "one", "--protocol", "pairs", "--count", 3))
    assert plan.contestants == ("real", "one") and [len(one) for one in images] == [3, 3]


def test_what_is_given_stands_beside(runs):
    """A judge who has seen the true edges of a digit is not shown what was made of the same one."""
    _, (real, made), asked = judge.questions(config(runs / "edges", "--count", 7))
    assert real.shape == made.shape == (12, 8, 8 + 2 + 8, 1) and asked["given"]
    held = cyclegan_digits.setup(cyclegan_digits.Config()).held_out
    given, truth = (pictures.to_uint8(x) for x in (held.beside, held.real))
    places = [[int(np.flatnonzero((given == one[:, :8]).all((1, 2, 3)))[0]) for one in part] for part in (real, made)]
    assert len({*places[0], *places[1]}) == 24
    np.testing.assert_array_equal(real[:, :, 10:], truth[places[0]])
    expected = load(runs / "edges").draw({"a": held.given["a"][places[1]]})
    np.testing.assert_array_equal(made[:, :, 10:], pictures.to_uint8(np.asarray(expected)))
    _, (real, made), _ = judge.questions(config(runs / "edges", "--protocol", "pairs", "--count", 7))
    np.testing.assert_array_equal(real[:, :, :8], made[:, :, :8])
    assert judge.questions(config(runs / "edges"))[0].count == 50


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "name a run"),
        (["edges", "--data", "digits"], "judged by its own held-out images: leave it out"),
        (["edges", "--count", 200], "the held-out part has 359 images, and 410 are shown: give --count 174, or less"),
        (["one", "two"], "--protocol infinity is for one run"),
        (["one", "one", "--protocol", "pairs"], "named twice"),
        (["points"], r"samples of .*points are of shape \[2\]"),
        (["one", "--count", 5_000], "has 1797 images, and 5005 are shown: give --count 1792, or less"),
        (["one", "--count", "-3"], "a count of 0 or more"),
        (["one", "--port", 70_000], "a port up to 65535"),
        (["one", "--results"], r"no answers are kept in judged_infinity_one.jsonl: name the runs"),
        (["one", "classes", "--protocol", "pairs"], "one size and one list of classes"),
        (["--results", "--out", "none.jsonl"], "no answers are kept in none.jsonl"),
        (["one", "--seed", "-1"], "--seed -1"),
    ],
)
def test_refusals_come_before_anything_is_written(runs, tmp_path, flags, words):
    with pytest.raises(UserError, match=words):
        judge.main(config(*(runs / one if (runs / str(one)).is_dir() else one for one in flags)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["two"], "has answers about one, not about two"),
        (["one", "--protocol", "time"], "has answers by --protocol infinity, not time"),
    ],
)
def test_results_are_of_what_is_named(runs, flags, words):
    """A file that another run's answers are in is not taken for this one's."""
    digest = judge.weights_digest(load(runs / "one"))
    asked = {**ASKED, "contestants": ["real", "one"], "runs": {"one": {"step": 1, "weights_digest": digest}}}
    with Answers(Path("answers.jsonl"), asked) as stored:
        stored.add({**ROW, "item": 0, "right": True})
    assert judge.main(config("--results", "--out", "answers.jsonl"))["answers"] == 1
    with pytest.raises(UserError, match=words):
        judge.main(config(runs / flags[0], *flags[1:], "--results", "--out", "answers.jsonl"))


def test_answers_are_about_these_weights(runs, tmp_path):
    """Not about those of a run of the same name elsewhere, or of the same run trained anew."""
    other = dcgan_digits.Config(
        workdir=str(tmp_path / "else" / "one"), features="none", steps=1, batch_size=8, devices=1, width=4, seed=5
    )
    dcgan_digits.main(other)
    (_, _, first), (_, _, second) = (
        judge.questions(config(run, "--count", 7)) for run in (runs / "one", tmp_path / "else" / "one")
    )
    assert {key for key in first if first[key] != second[key]} == {"runs"}
    with Answers(Path("judged_infinity_one.jsonl"), first) as stored:
        stored.add({**ROW, "item": 0, "right": True})
    assert judge.main(config(runs / "one", "--results"))["answers"] == 1
    with pytest.raises(UserError, match="as it was at step 1, and .*else/one has other weights now"):
        judge.main(config(tmp_path / "else" / "one", "--results"))
    with (
        pytest.raises(UserError, match="answers to other questions: runs: "),
        Answers(Path("judged_infinity_one.jsonl"), second),
    ):
        pass


def test_names_of_runs():
    assert judge.names_of(["a/one", "b/one/"]) == ["a-one", "b-one"] and judge.names_of(["x/real"]) == ["run real"]


def test_a_server_that_is_killed_loses_nothing(runs, tmp_path):
    """As a person starts it, killed in the middle, and started again; SIGTERM and Ctrl-C print the numbers."""
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
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "hype                         50 %" in said and "12 answers of ann" in said
    assert "one (step 1) beside digits, protocol infinity" in said and "ann has answered all questions" in said
    result = judge.main(config(runs / "one", "--results", "--json", "new/found.json"))
    assert result["values"]["error_on_generated"]["value"] == 1
    assert json.loads((tmp_path / "new" / "found.json").read_text())["asked"]["contestants"] == ["real", "one"]
