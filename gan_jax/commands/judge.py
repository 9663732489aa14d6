"""Asks people whether samples look real, on a page of this machine, and says what their answers amount to.

    gan-jax judge runs/dcgan_fashion                        # one image at a time: real or generated?
    gan-jax judge runs/dcgan_fashion --protocol time        # after a short glance, as short as the answers allow
    gan-jax judge runs/one runs/two --protocol pairs        # which of two looks more real?
    gan-jax judge runs/specgan_digits --protocol classes    # which digit is spoken?
    gan-jax judge runs/dcgan_fashion --results              # what the answers so far amount to

Of a run that is given images, its held-out images are asked about, each beside what is given.

The page is served to this machine only. Every judge gives a name and is asked the same questions in an order of their
own. Answers are stored one by one: whatever ends, the same command and the same name go on after the last one. Ctrl-C
ends the serving and prints the numbers: error rates (HYPE, arXiv:1904.01121) or scores (Bradley-Terry), with intervals.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import html
import json
import os
import secrets
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

from gan_jax.commands import compare
from gan_jax.config import Natural
from gan_jax.evaluation import judging
from gan_jax.evaluation.judging import PAIRS, REAL, TIME, Plan, Trial
from gan_jax.evaluation.questions import questions as asked_of
from gan_jax.evaluation.questions import weights_digest
from gan_jax.system import localhost
from gan_jax.system.localhost import Reply, Server, as_json
from gan_jax.system.terminal import say
from gan_jax.types import UserError, WriteError
from gan_jax.workdir import pictures
from gan_jax.workdir.answers import Answers, read
from gan_jax.workdir.audible import wav
from gan_jax.workdir.load import load
from gan_jax.workdir.report import web

POLICY = (
    "default-src 'none'; img-src 'self' data:; media-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "form-action 'none'; frame-ancestors 'none'"
)
MEANING = {
    "hype": "share of wrong answers: 50 % where people cannot tell",
    "hype_time": "glance that they need to tell; of 100 to 1,000 ms",
    "error_on_generated": "samples taken for real",
    "error_on_real": "real images taken for generated",
    "right_on_generated": "samples of which the class was named",
    "right_on_real": "real ones of which it was",
}
NAME = 60  # characters of a judge's name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN ...")]] = ()
    """Directory of the run; for pairs of several runs. Pairs of one run are with real images."""
    data: str = ""
    """Real images, as in an experiment. Default: the training data of the run, read as the run did."""
    protocol: Literal["infinity", "time", "pairs", "classes"] = "infinity"
    """infinity: one image at a time, for as long as one likes. time: for a moment. pairs: which of two looks more real.
    classes: which class it is, as which digit is spoken.
    """
    count: Natural = 0
    """Real images, and as many samples; of pairs, of every two contestants. 0: 50, for time 75."""
    seed: int = 0
    """Seed of images, samples and orders."""
    out: str = ""
    """File of the answers. Default: judged_PROTOCOL_RUN.jsonl. Started again with the same one, judges go on."""
    port: Natural = 8642
    """Port of the page, up to 65535; 0: a free one."""
    best: bool = False
    """Sample the best checkpoint instead of the last."""
    member: int = 0
    """Index of the member of a population, from 0."""
    results: bool = False
    """Print what the answers so far amount to, and serve nothing."""
    json: str = ""
    """File to which the numbers are written as JSON."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns what the answers amount to, {} without answers. Raises UserError for what cannot be
    shown, and for answers to other questions.
    """
    names = names_of(config.runs)
    out = Path(config.out or f"judged_{config.protocol}_{'_'.join(names)}.jsonl").expanduser()
    if config.results:
        return _results(config, out, names)
    if not config.runs:
        raise UserError("name a run whose samples are judged: gan-jax judge RUN")
    if config.protocol != PAIRS and len(config.runs) > 1:
        raise UserError(f"--protocol {config.protocol} is for one run; --protocol pairs compares {len(config.runs)}")
    if not 0 <= config.seed < 2**32 or config.count < 0 or not 0 <= config.port < 2**16:
        raise UserError(
            f"--seed {config.seed} --count {config.count} --port {config.port}: a seed from 0 to 2**32 - 1, a count of 0 or more, a port up to 65535"
        )
    plan, images, asked = questions(config)
    stored = Answers(out, asked)
    server = serve(plan, images, stored, config.port)  # which may fail, before the file is made
    with contextlib.closing(server.socket), stored:
        say(f"{len(plan.trials(''))} questions for each judge, on {server.address} (this machine only)")
        say(f"answers are kept in {out}; Ctrl-C ends the serving and prints the numbers")
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say()
        finally:
            signal.signal(signal.SIGTERM, before)
    if all(row["item"] < 0 for row in stored.rows):
        say(f"no answers yet that count; the same command goes on with {out}")
        return {}
    return _tell(config, asked, stored.rows)


def names_of(runs: Sequence[str]) -> list[str]:
    """Returns the names of runs, by which answers tell them apart: of their directories, with what is above where these
    are equal. None is called as real images are.
    """
    names = compare.names_of([Path(run).expanduser().absolute() for run in runs]) if runs else []
    return [f"run {name}" if name == REAL else name.replace(os.sep, "-") for name in names]


def _results(config: Config, out: Path, names: Sequence[str]) -> dict[str, Any]:
    """What the answers in a file amount to; raises UserError where they are not about what the flags name."""
    if not out.exists():
        raise UserError(
            f"no answers are kept in {out}: name the runs and the protocol as they were judged, or the file by --out"
        )
    asked, answers, _ = read(out)
    if asked is None:
        raise UserError(f"{out} is empty")
    about = [name for name in asked["contestants"] if name != REAL]
    if names and about != [*names]:
        raise UserError(f"{out} has answers about {', '.join(about)}, not about {', '.join(names)}")
    if config.protocol not in (Config.protocol, asked["protocol"]):
        raise UserError(f"{out} has answers by --protocol {asked['protocol']}, not {config.protocol}")
    for name, run in zip(names, config.runs, strict=True):
        then = asked["runs"][name]
        now = weights_digest(load(run, best=config.best, member=config.member))
        if then.get("weights_digest") != now:
            raise UserError(
                f"{out} has answers about {name} as it was at step {then['step']:,}, and {run} has other weights now: "
                f"--results --out {out} without a run tells what these answers amount to"
            )
    return _tell(config, asked, answers)


def questions(config: Config) -> tuple[Plan, list[np.ndarray], dict[str, Any]]:
    """Returns what `evaluation.questions.questions` does for these flags."""
    names = names_of(config.runs)
    return asked_of(
        config.runs, names, protocol=config.protocol, count=config.count, seed=config.seed, data_name=config.data,
        best=config.best, member=config.member,
    )  # fmt: skip


# -- how it is asked


class Judging:
    """The questions and answers of all judges, as the page asks for them; used by one thread at a time."""

    def __init__(self, plan: Plan, images: list[np.ndarray], stored: Answers):
        self.plan, self.images, self.stored = plan, images, stored
        self.digest = hashlib.sha256(json.dumps(stored.asked, sort_keys=True).encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        self._current: dict[str, tuple[int, list[str]]] = {}  # of each judge: number and tokens of the open question
        self._tokens: dict[str, tuple[int, int]] = {}  # names of images that say nothing of them
        self._showings: dict[str, int] = {}  # how often each was fetched, which the page does to show it
        page = web("judge.html").replace("PROTOCOL", html.escape(plan.protocol))
        page = page.replace("GIVEN", "yes" if stored.asked.get("given") else "")
        page = page.replace("HEARD", "yes" if stored.asked.get("rate") else "")
        page = page.replace("DIGEST", self.digest)
        # What people have named comes last, and ends no script.
        named = json.dumps(stored.asked.get("classes", [])).replace("<", "\\u003c")
        self.page = page.replace("CLASSES", named).encode()

    def get(self, path: str) -> Reply | None:
        """The page, or an image of an open question."""
        if path == "/":
            return Reply(self.page, "text/html; charset=utf-8")
        token = path.removeprefix("/image/")
        with self._lock:
            place = self._tokens.get(token)
            if place is None:
                return None
            self._showings[token] = self._showings.get(token, 0) + 1
        if rate := self.stored.asked.get("rate"):
            return Reply(wav(self.images[place[0]][place[1]], rate), "audio/wav")
        # Enlarged in one way, whether real or not; nothing else tells one file from another.
        image = self.images[place[0]][place[1]].astype(np.float32) / 127.5 - 1
        return Reply(pictures.png(pictures.grid(image[None], columns=1, pad=0)), "image/png")

    def post(self, path: str, question: Mapping[str, Any]) -> Reply | None:
        """What to show next, or what to make of an answer."""
        if question.get("asked", self.digest) != self.digest:  # a page of an earlier server on this port
            return as_json({"stale": True}, 409)
        judge = " ".join(str(question.get("judge", "")).split())
        if not 0 < len(judge) <= NAME:
            return as_json({"error": f"a name of 1 to {NAME} characters, please"}, 400)
        with self._lock:
            # Ann is ann: a judge keeps the first spelling.
            spellings = {row["judge"].casefold(): row["judge"] for row in reversed(self.stored.rows)}
            judge = spellings.get(judge.casefold(), judge)
            if path == "/next":
                return as_json(self._next(judge))
            if path == "/answer":
                return self._answer(judge, question)
        return None

    def _answered(self, judge: str) -> list[dict[str, Any]]:
        return [row for row in self.stored.rows if row["judge"] == judge]

    def _next(self, judge: str) -> dict[str, Any]:
        answered, trials = self._answered(judge), self.plan.trials(judge)
        number = len(answered)
        opened, old = self._current.get(judge, (-1, []))
        if opened != number:
            for token in old:
                self._tokens.pop(token, None)
                self._showings.pop(token, None)
        if number >= len(trials):
            return {"done": True, "of": len(trials)}
        trial = trials[number]
        if opened != number:
            tokens = [secrets.token_urlsafe(12) for _ in trial.shown]
            self._tokens |= dict(zip(tokens, trial.shown, strict=True))
            self._current[judge] = number, tokens
        of_time = {"exposure": judging.exposure(answered)} if self.plan.protocol == TIME else {}
        practice = sum(one.practice for one in trials)
        return {
            "number": number,
            "of": len(trials),
            "practice": trial.practice,
            "practised": practice,
            "images": [f"/image/{token}" for token in self._current[judge][1]],
            **of_time,
        }

    def _answer(self, judge: str, question: Mapping[str, Any]) -> Reply:
        answered = self._answered(judge)
        number, said = question["number"], question["answer"]
        trials = self.plan.trials(judge)
        if not isinstance(number, int) or not 0 <= number <= len(answered) or number >= len(trials):
            return as_json({"error": "that question has not been asked yet"}, 409)
        if number < len(answered):  # the page was opened twice, or the answer came twice: the first one counts
            return as_json({"already": True})
        trial = trials[number]
        try:
            row = _row(judge, trial, said, question, self.stored.asked)
            if self.plan.protocol == TIME:
                row["exposure"] = judging.exposure(answered)
                _, tokens = self._current.get(judge, (-1, []))
                row["showings"] = max((self._showings.get(token, 0) for token in tokens), default=0)
            self.stored.add(row)
            if number in (0, len(trials) - 1):
                say(f"{judge} has {'begun' if number == 0 else 'answered all questions'}")
        except WriteError as error:
            return as_json({"error": f"{error}. Nothing is lost: mend that, then try again"}, 507)
        return as_json(
            {
                "stored": True,
                **({"truth": judging.truth(trial, self.stored.asked.get("labels", ()))} if trial.practice else {}),
            }
        )


def _row(judge: str, trial: Trial, said: Any, question: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The line of an answer. Raises ValueError for one that the question does not have."""
    choices = asked.get("classes") or ([REAL, "generated"] if len(trial.shown) == 1 else ["left", "right"])
    if said not in choices:
        raise ValueError(f"answer {said!r}: {' or '.join(choices)}")
    judged: dict[str, Any] = {"right": said == judging.truth(trial, asked.get("labels", ()))}
    if len(trial.shown) == 2:
        judged = {"preferred": trial.shown[choices.index(said)][0]}
    measured = {key: float(question[key]) for key in ("seconds", "shown_ms") if question.get(key) is not None}
    return {
        **{"judge": judge, "number": trial.number, "item": trial.item, "shown": trial.shown, "answer": said},
        **judged,
        **measured,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def serve(plan: Plan, images: list[np.ndarray], stored: Answers, port: int) -> Server:
    """Returns a server of the page, which is not running yet. Raises UserError where the port is taken."""
    judge = Judging(plan, images, stored)
    return localhost.Server(port, judge.get, judge.post, POLICY)


# -- what it amounts to


def _tell(config: Config, asked: Mapping[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    plan = Plan(asked["protocol"], asked["seed"], asked["count"], tuple(asked["contestants"]))
    result = {"asked": dict(asked), **judging.found(plan, answers)}
    percent = [name for name in result["values"] if not name.startswith(("score of", "hype_time"))]
    steps = ", ".join(f"{name} (step {one['step']:,})" for name, one in asked["runs"].items())
    say(f"{steps}{' beside ' + asked['data'] if 'data' in asked else ''}, protocol {plan.protocol}")
    for name, one in result["values"].items():
        scale, unit = (100, " %") if name in percent else (1, " ms" if name == "hype_time" else "")
        numbers = ["-" if one[key] is None else f"{one[key] * scale:.4g}" for key in ("value", "low", "high")]
        say(f"{name:<28} {numbers[0]}{unit}  [{numbers[1]}, {numbers[2]}]  {MEANING.get(name, '')}".rstrip())
    if plan.protocol == PAIRS:
        say("a score is higher where a contestant is preferred: by 1 above another's, in 73 % of pairs (Bradley-Terry)")
    if again := result.get("shown_again", 0):
        say(f"{again} more are not counted: their image was shown again before the answer, as by loading the page anew")
    agreement = "-" if result["agreement"] is None else f"{result['agreement']:.3g}"
    judges = ", ".join(result["judges"])
    say(f"{result['answers']} answers of {judges}; [intervals of 95 % over judges and images]")
    say(f"agreement of judges (alpha) {agreement}: 1 where they agree in all, 0 as by chance")
    if config.json:
        Path(config.json).parent.mkdir(parents=True, exist_ok=True)
        Path(config.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result
