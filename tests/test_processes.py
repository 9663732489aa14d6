"""Two processes that play one run: the same run as one process, one writer, and what happens when one ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import experiments
import gan_jax
from gan_jax.system import processes
from gan_jax.types import UserError
from gan_jax.workdir.log import read_rows

ROOT = str(Path(experiments.__file__).parents[1])
FLAGS = [
    "--width",
    "8",
    "--batch-size",
    "16",
    "--log-every",
    "2",
    "--sample-every",
    "4",
    "--checkpoint-every",
    "4",
    "--precision",
    "float64",
]
RING = ["--gen-blocks", "1", "--disc-blocks", "1"]


def devices(count):
    words = [word for word in os.environ["XLA_FLAGS"].split() if "device_count" not in word]
    flags = " ".join([*words, f"--xla_force_host_platform_device_count={count}"])
    return {**os.environ, "PYTHONPATH": ROOT, "XLA_FLAGS": flags}


def launch(*flags, second=(), experiment="gan_ring"):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [
        sys.executable,
        "-m",
        f"experiments.{experiment}",
        *FLAGS,
        *(RING if experiment == "gan_ring" else []),
        *flags,
    ]
    words += ["--coordinator", address]
    return [
        subprocess.Popen(
            [*words, "--num-processes", "2", "--process-id", str(i), *(second if i else ())],
            env=devices(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def finish(both):
    said = [process.communicate(timeout=120)[0] for process in both]
    # Of the other process only the transport speaks, piece by piece and from several threads: lines and numbers are torn.
    pieces = r"\[Gloo\] Rank|is connected to|peer ranks\.|Expected number of connected peer ranks is :|\d|\s"
    return [process.returncode for process in both], said[0], re.sub(pieces, "", said[1])


def rows(workdir):
    return read_rows(Path(workdir) / "metrics.jsonl")


def close(some, others):
    """In float64, where sums in another order differ by 1e-16, and Adam, which divides by small numbers, leaves less than
    1e-9; measures are taken on features in float32.
    """
    assert [row["step"] for row in some] == [row["step"] for row in others]
    for one, other in zip(some, others, strict=True):
        assert set(one) == set(other)
        for name in set(one) - {"seconds"}:
            rtol = 1e-4 if "classifier" in name else 1e-9
            np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-9, err_msg=name)


def test_two_processes_play_the_run_of_one_and_go_on_after_a_stop():
    """Measures too, of which features are each process's own: its devices are not those of the run's mesh."""
    few = ["--evaluate-samples", "100", "--final-samples", "200"]
    codes, said, own = finish(launch("--steps", "8", *few, "--workdir", "both", experiment="dcgan_digits"))
    assert codes == [0, 0], said
    assert "dcgan_digits on 4 x cpu of 2 processes" in said and own == ""
    assert rows("both")[-1]["final/frechet_classifier"] > 0
    made = Path("both/checkpoints/8").iterdir()
    assert {"ocdbt.process_0", "ocdbt.process_1"} <= {path.name for path in made}  # both wrote

    # One process reads what two have written, and the other way round; what they come to is the run of one alone.
    command = [sys.executable, "-m", "experiments.dcgan_digits", *FLAGS, *few]
    subprocess.run([*command, "--steps", "12", "--workdir", "both"], env=devices(1), capture_output=True, check=True)
    codes, said, _ = finish(launch("--steps", "16", *few, "--workdir", "both", experiment="dcgan_digits"))
    assert codes == [0, 0] and "going on at step 12 of 16" in said, said
    subprocess.run([*command, "--steps", "16", "--workdir", "alone"], env=devices(4), capture_output=True, check=True)
    for name in ("samples", "checkpoints"):
        both, alone = (sorted(path.name for path in Path(run, name).iterdir()) for run in ("both", "alone"))
        assert both == alone
    both, alone = (json.loads(Path(run, "result.json").read_text()) for run in ("both", "alone"))
    assert both["command"] == alone["command"].replace("alone", "both")
    assert both["final"].keys() == alone["final"].keys()
    for name, one in both["final"].items():
        np.testing.assert_allclose(one["last"], alone["final"][name]["last"], rtol=1e-4, atol=1e-9, err_msg=name)
    both, straight = (
        [{name: x for name, x in row.items() if not name.startswith("eval/")} for row in rows(run) if "gen/loss" in row]
        for run in ("both", "alone")
    )  # without the measures that the end of each start takes
    close(both, straight)
    assert [row["step"] for row in both] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert gan_jax.load("both").step == 16


def until(process, text):
    while text not in (line := process.stdout.readline()):
        assert line, process.poll()


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_the_other(victim):
    both = launch("--steps", "100000", "--workdir", "run")
    until(both[0], "step 8/")
    both[victim].kill()
    begin = time.monotonic()
    said = both[1 - victim].communicate(timeout=90)[0]
    assert time.monotonic() - begin < 60
    assert both[1 - victim].returncode not in (0, None)
    assert "has lost another one" in said or "heartbeat" in said.lower() or "coordination" in said.lower(), said
    assert "Traceback" not in said, said
    both[victim].communicate()
    if victim:
        return
    last = gan_jax.load("run").step
    both = launch("--steps", "100000", "--workdir", "run")
    until(both[0], f"going on at step {last:,} of")
    until(both[0], "step ")
    # A signal to one of them stops both, after the same step.
    both[1].send_signal(signal.SIGTERM)
    codes, said, _ = finish(both)
    assert codes == [143, 143] and f"stopped at step {gan_jax.load('run').step:,} of 100,000, saved" in said, said
    steps = [row["step"] for row in rows("run")]
    assert steps == list(range(2, 2 * len(steps) + 1, 2))


@pytest.mark.parametrize(
    "second, text",
    [
        (("--lr", "0.5"), "process 1 differs from process 0 in configuration, networks or data"),
        (("--width", "0"), "--width 0"),
    ],
)
def test_processes_that_do_not_agree(second, text):
    both = launch("--steps", "8", "--workdir", "run", second=second)
    if "--lr" not in second:  # it never joins, and the first would wait for it as long as for one that starts late
        assert text in both[1].communicate(timeout=60)[0] and both[1].returncode == 2
        both[0].kill()
        both[0].communicate()
        return
    codes, said, own = finish(both)
    assert codes == [2, 2] and text in said and own == "" and not Path("run").exists(), said


def test_a_mistake_is_told_once():
    Path("run").write_text("precious")
    codes, said, own = finish(launch("--steps", "8", "--workdir", "run"))
    assert codes == [2, 2] and "error: --workdir " in said and said.count("is a file") == 1 and own == ""


@pytest.mark.parametrize(
    "environment, several",
    [
        ({}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"}, False),  # the shell of an allocation, not a step of it
        ({"SLURM_STEP_NODELIST": "a[1-2]", "SLURM_NTASKS": "2"}, True),
        ({"SLURM_STEP_NODELIST": "a1", "SLURM_NTASKS": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
    ],
)
def test_a_launcher_is_recognised(environment, several):
    assert processes.several(environment) == several


def test_processes_that_keep_compiled_programs_are_refused(monkeypatch):
    """As those of a program that has joined them by itself: what is loaded from the cache would mix its messages up."""
    processes.require_uncached()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="set JAX_ENABLE_COMPILATION_CACHE=false"):
        processes.require_uncached()


def test_slurm_starts_several_by_itself():
    """As srun would: nothing but the environment says that there are two."""
    both = []
    for i in range(2):
        step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
        place = {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "SLURM_STEP_NUM_NODES": "1"}
        both.append(
            subprocess.Popen(
                [sys.executable, "-m", "experiments.gan_ring", *FLAGS, *RING, "--steps", "4", "--workdir", "run"],
                env={**devices(2), **step, **place},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    codes, said, own = finish(both)
    assert codes == [0, 0] and "gan_ring on 4 x cpu of 2 processes" in said and own == "", said
