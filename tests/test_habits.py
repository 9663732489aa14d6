"""What people do with a run: its directory, its output, its signals, the machine that it runs on."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import experiments
import gan_jax
from experiments import dcgan_digits, gan_ring
from gan_jax.system import cache, terminal
from gan_jax.system.signals import Stop
from gan_jax.training import cli
from gan_jax.types import UserError

ROOT = str(Path(experiments.__file__).parents[1])
SMALL = {"width": 8, "gen_blocks": 1, "disc_blocks": 1, "batch_size": 8, "devices": 1}
FLAGS = ["--width", "8", "--gen-blocks", "1", "--disc-blocks", "1", "--batch-size", "8", "--devices", "1"]


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# ---- the work directory


@pytest.mark.parametrize(
    ("files", "listed"),
    [
        (["samples/00000001.png", "samples/20240131120000_cat.png", "report.html"], "report.html, samples"),
        (["notes.txt"], "notes.txt"),
        (["a.py", "b.py", "c.py", "d.py", "e.py"], "a.py, b.py, c.py and 2 more"),
        (["tensorboard/events"], "tensorboard"),
    ],
)
def test_a_directory_of_other_things_is_no_work_directory(files, listed):
    for name in files:
        Path("project", name).parent.mkdir(parents=True, exist_ok=True)
        Path("project", name).write_text("mine")
    before = contents("project")
    with pytest.raises(UserError, match=f"is not empty, and no run's: it holds {listed}; name a new directory"):
        gan_ring.main(gan_ring.Config(workdir="project", steps=2, **SMALL))
    assert contents("project") == before


def test_hidden_files_are_no_things():
    Path("run").mkdir()
    Path("run/.DS_Store").write_text("finder")
    gan_ring.main(gan_ring.Config(workdir="run", steps=1, **SMALL))
    assert Path("run/.DS_Store").read_text() == "finder" and Path("run/result.json").exists()


def test_foreign_pictures_in_a_run_are_left_alone_and_not_shown():
    gan_ring.main(gan_ring.Config(workdir="run", steps=2, **SMALL))
    foreign = ("best.png", "._00000002.png", "00000002 copy.png", "20251125120000.png", "00000002_nice.png")
    for name in foreign:
        Image.new("RGB", (8, 8), "red").save(f"run/samples/{name}", format="PNG")
    before = {name: Path("run/samples", name).read_bytes() for name in foreign}
    gan_ring.main(gan_ring.Config(workdir="run", steps=2, **SMALL))  # finished
    Path("run/result.json").unlink()
    gan_ring.main(gan_ring.Config(workdir="run", steps=2, **SMALL))  # ended before its result
    assert {name: Path("run/samples", name).read_bytes() for name in foreign} == before
    page = Path("run/report.html").read_text()
    assert '"step": 2,' in page and "nice" not in page and "20251125" not in page


@pytest.mark.parametrize(
    ("data", "workdir"), [("photos", "photos"), ("photos", "photos/run"), ("classes", "classes/runs/a"), (".", "run")]
)
def test_a_work_directory_in_the_data(data, workdir):
    folder = Path("." if data == "." else data)
    for i in range(20):
        path = folder / ("a" if data == "classes" else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 9 * i).save(path)
    config = dcgan_digits.Config(
        workdir=workdir, data=data, features="pixels", steps=1, batch_size=4, width=4, evaluate_samples=10, devices=1
    )
    before = contents(".")
    with pytest.raises(UserError, match="is in the folder of the data, .*: name another"):
        dcgan_digits.main(config)
    assert contents(".") == before


def test_what_was_understood_of_the_data_is_said_and_kept(capsys):
    rng = np.random.default_rng(0)
    np.savez("x.npz", images=rng.integers(0, 256, (40, 8, 8), np.uint8), kinds=np.arange(40) % 2 + 1)
    flags = {"features": "pixels", "steps": 1, "batch_size": 4, "width": 4, "evaluate_samples": 10, "devices": 1}
    dcgan_digits.main(dcgan_digits.Config(workdir="run", data="x.npz", **flags))
    said = capsys.readouterr().out
    assert "values 0 to 255 of 255; 2 classes: 1 20, 2 20" in said
    assert "arrays images with the labels kinds" in said
    kept = json.loads(Path("run/config.json").read_text())
    assert kept["data"]["classes"] == {"1": 20, "2": 20} and kept["data"]["values"] == [0, 255]
    assert kept["identity"]["meta"] == {"class_names": ["1", "2"]}


def test_a_batch_of_one_trains():
    gan_ring.main(gan_ring.Config(workdir="run", steps=2, **SMALL | {"batch_size": 1}))
    assert gan_jax.load("run").step == 2


# ---- the terminal


def test_the_reader_of_the_output_goes_away():
    """Training goes on to its end, and the process ends as one that has succeeded."""
    words = [
        sys.executable,
        "-m",
        "experiments.gan_ring",
        *FLAGS,
        "--steps",
        "60",
        "--log-every",
        "1",
        "--workdir",
        "run",
    ]
    env = {**os.environ, "PYTHONPATH": ROOT}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert "gan_ring on 1 x cpu" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=120) == 0
    assert json.loads(Path("run/result.json").read_text())["steps"] == 60


@pytest.mark.parametrize("words", [["-m", "experiments"], ["-m", "gan_jax"]])
def test_lists_end_quietly_where_nobody_reads_them(words):
    env = {**os.environ, "PYTHONPATH": ROOT}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *words], env=env, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == ""


def test_what_the_terminal_cannot_show_is_escaped_and_what_is_closed_is_dropped(monkeypatch):
    narrow = io.TextIOWrapper(raw := io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", narrow)
    terminal.say("café", error=True)
    assert raw.getvalue() == b"caf\\xe9\n"
    narrow.close()
    terminal.say("more", error=True)
    monkeypatch.setattr(sys, "stderr", None)
    terminal.say("more", error=True)


def test_a_full_disk_under_the_log_does_not_silence_the_run(monkeypatch):
    class Disk(io.StringIO):
        full = True

        def write(self, text):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", disk := Disk())
    monkeypatch.setattr(terminal, "drop", lambda stream: pytest.fail("the stream was given up"))
    terminal.say("lost", error=True)
    disk.full = False
    terminal.say("there again", error=True)
    assert disk.getvalue() == "there again\n"


def test_text_files_are_utf_8_whatever_the_locale():
    Path("é").mkdir()
    np.save("é/s.npy", np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    flags = [
        "--data",
        "é/s.npy",
        "--features",
        "pixels",
        "--width",
        "4",
        "--batch-size",
        "8",
        "--evaluate-samples",
        "10",
    ]
    env = {**os.environ, "PYTHONPATH": ROOT, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.dcgan_digits", *flags, "--steps", "2", "--devices", "1", "--workdir", "run"],
        env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "é/s.npy" in Path("run/report.html").read_text(encoding="utf-8") and Path("run/result.json").exists()


# ---- signals and the machine


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_that_end_a_job_stop_a_run(number):
    old = signal.signal(number, signal.SIG_DFL)  # under nohup the tests' own SIGHUP is ignored
    try:
        with Stop() as stop:
            os.kill(os.getpid(), number)
            assert stop.asked == number
            with pytest.raises(SystemExit) as exit_:
                stop.leave(number)
    finally:
        signal.signal(number, old)
    assert exit_.value.code == 128 + number


def test_other_signals_that_follow_do_not_end_the_saving():
    """As where a job's end sends several; the same one again, or Ctrl-C, does."""
    old = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        for again in (signal.SIGUSR1, signal.SIGINT):
            with Stop() as stop:
                for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
                    os.kill(os.getpid(), number)
                assert stop.asked == signal.SIGUSR1
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), again)
    finally:
        signal.signal(signal.SIGHUP, old)


def test_a_hangup_that_is_ignored_stays_so():
    """As under nohup."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.asked == 0
    finally:
        signal.signal(signal.SIGHUP, old)


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "GAN_JAX_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert cache.root() is None
    assert cache.arrays("x", lambda: {"a": np.zeros(2)})["a"].shape == (2,)


@pytest.mark.parametrize("word", ["off", "OFF", "Off"])
def test_off_is_off(monkeypatch, word):
    monkeypatch.setenv("GAN_JAX_CACHE", word)
    assert cache.root() is None


@pytest.mark.parametrize(
    "error", [AssertionError(), RuntimeError("Unable to initialize backend 'tpu': no device\nmore")]
)
def test_a_device_that_is_not_there(monkeypatch, capsys, error):
    def devices(*_):
        raise error

    for name in ("devices", "process_index"):
        monkeypatch.setattr(jax, name, devices)
    with pytest.raises(SystemExit) as exit_:
        cli.run_in_process(gan_ring.main, gan_ring.Config, ["--workdir", "run"])
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and "JAX has no device to compute on: " in said and "Traceback" not in said
    assert not Path("run").exists()


def test_only_what_is_out_of_memory_is_told_so(monkeypatch):
    def main(config):
        raise jax.errors.JaxRuntimeError("INTERNAL: CUDA error: an illegal memory access was encountered")

    main.__module__ = __name__
    with pytest.raises(jax.errors.JaxRuntimeError, match="illegal memory access"):
        cli.run_in_process(main, gan_ring.Config, [])


# ---- settings of JAX that change numbers


def rows(workdir):
    """Without the times."""
    lines = Path(workdir, "metrics.jsonl").read_text().splitlines()
    return [{name: x for name, x in json.loads(line).items() if name != "seconds"} for line in lines]


def test_numbers_do_not_hang_on_the_environment():
    """In a process of its own: 64-bit types, another generator of random numbers, other draws of it, strict promotion."""
    env = {**os.environ, "PYTHONPATH": ROOT}
    other = {
        "JAX_ENABLE_X64": "1", "JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_THREEFRY_PARTITIONABLE": "0", "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    }  # fmt: skip
    for name, more in (("plain", {}), ("other", other)):
        words = [
            sys.executable,
            "-m",
            "experiments.gan_ring",
            *FLAGS,
            "--steps",
            "4",
            "--log-every",
            "1",
            "--workdir",
            name,
        ]
        done = subprocess.run(words, env={**env, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert rows("plain") == rows("other")


@pytest.mark.parametrize(
    "setting",
    [jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.threefry_partitionable(False)],
    ids=["x64", "rbg", "draws"],
)
def test_samples_do_not_hang_on_settings_around_them(setting):
    gan_ring.main(gan_ring.Config(workdir="run", steps=1, **SMALL))
    plain = gan_jax.load("run")
    expected = plain(plain.latents(4, seed=1))
    with setting:
        sample = gan_jax.load("run")
        np.testing.assert_array_equal(sample(sample.latents(4, seed=1)), expected)


def test_a_source_of_other_random_numbers_is_refused():
    with (
        jax.default_prng_impl("rbg"),
        pytest.raises(UserError, match="the source's key is of .*rbg.*, and runs draw by threefry2x32"),
    ):
        gan_ring.main(gan_ring.Config(workdir="run", steps=1, **SMALL))
    assert not Path("run").exists()


def test_windows_is_told_so():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.platform = 'win32'; import gan_jax"],
        env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True,
    )  # fmt: skip
    assert "gan_jax runs on Linux and macOS, and not on Windows: use the Windows Subsystem" in done.stderr
