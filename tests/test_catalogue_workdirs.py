"""The catalogue of mistakes: work directories, and the checkpoints in them."""

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
from catalogue import (
    DAMAGED,
    DIGITS,
    NO_RUN,
    NOTHING,
    RING,
    SPOILT,
    STEP,
    config,
    edit,
    gone,
    put,
    refused,
    shorten,
    start,
    unlisted,
)

pytestmark = pytest.mark.usefixtures("no_training", "programs_once")


# -- work directories


@pytest.mark.parametrize(
    "prepare, flags, text",
    [
        (put("ring/config.json", b""), "", NO_RUN),
        (put("ring/config.json", b"\xff\xfe{"), "", NO_RUN),
        (put("ring/config.json", b"[]"), "", NO_RUN),
        (put("ring/config.json", b"null"), "", NO_RUN),
        (put("ring/config.json", b"{}"), "", NO_RUN),
        (edit(experiment=None), "", NO_RUN),
        (edit(config=None), "", NO_RUN),
        (edit(identity=None), "", NO_RUN),
        (edit(starts=None), "", NO_RUN),
        (edit(rollbacks=None), "", NO_RUN),
        (edit(config=[]), "", NO_RUN),
        (edit(identity=[]), "", NO_RUN),
        (edit(identity="x"), "", NO_RUN),
        (edit(starts={}), "", NO_RUN),
        (edit(rollbacks={}), "", NO_RUN),
        (put("ring/config.json"), "", "ring/config.json"),
        (edit(starts=[1]), "", NO_RUN),
        (edit(starts=[{}]), "", NO_RUN),
        (edit(starts=[{"step": "2"}]), "", NO_RUN),
        (edit(rollbacks=[1]), "", NO_RUN),
        (edit(rollbacks=[{}]), "", NO_RUN),
        (gone("ring/config.json"), "", "ring holds a run without its config.json; name another --workdir"),
        (edit(experiment="other.thing"), "", "experiment: 'other.thing' there, 'experiments.gan_ring' now"),
        (
            config(lr=3),
            "",
            "ring belongs to another run: lr: 3 there, 0.001 now Give the old values to go on with it, name in --change",
        ),
        (config(momentum=0.9), "", "belongs to another run: momentum: 0.9 there, 'absent' now"),
        (NOTHING, "--seed 7", "ring belongs to another run: seed: 0 there, 7 now .*or give another --workdir"),
        (NOTHING, "--width 9 --lr 1", "belongs to another run: lr: 0.001 there, 1.0 now width: 8 there, 9 now"),
        (NOTHING, "--seeds 2", "belongs to another run: seeds: 1 there, 2 now"),
        (NOTHING, "--sweep lr=1,2", r"belongs to another run: sweep: \[\] there, \['lr=1,2'\] now"),
        (NOTHING, "--accumulate 2", "belongs to another run: accumulate: 1 there, 2 now"),
        (NOTHING, "--precision bfloat16", "belongs to another run: precision: 'float32' there, 'bfloat16' now"),
        (NOTHING, "--matmul-precision bfloat16", "another run: matmul_precision: 'float32' there, 'bfloat16' now"),
        (NOTHING, "--workdir digits", "digits belongs to another run:.*experiment: 'experiments.gan_digits' there"),
        (NOTHING, "--workdir small.npy", "small.npy is a file; name a directory"),
        (NOTHING, "--workdir small.npy/x/y", "cannot write to --workdir .*small.npy/x/y: Not a directory"),
        (NOTHING, "--workdir /proc/nowhere/x", "cannot write to --workdir /proc/nowhere/x: "),
        (put("ring/.lock"), "", "cannot write to --workdir .*ring: Is a directory"),
        (NOTHING, f"--workdir {'x' * 300}", "--workdir .*File name too long"),
    ],
)
def test_work_directories(prepare, flags, text, runs, monkeypatch, capsys):
    prepare(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring {flags}", text, capsys)


@pytest.mark.parametrize(
    "shape, text",
    [
        ((20, 8, 8), "digits belongs to another run: data_digest: '[0-9a-f]{16}' there, '[0-9a-f]{16}' now"),
        ((20, 8, 4), r"digits belongs to another run: arrays image: .*8, 8, 1.* there, .*8, 4, 1.* now"),
    ],
)
def test_other_data_of_the_same_name(shape, text, runs, capsys):
    np.save("small.npy", np.zeros(shape, np.uint8))
    refused("gan_digits", f"{DIGITS} --data small.npy --workdir digits", text, capsys)


@pytest.mark.parametrize("holder", ["process 123 on elsewhere", "another process"])
def test_a_work_directory_in_use(holder, runs, capsys):
    with open("ring/.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("" if holder == "another process" else f"{holder}\n")
        held.flush()
        text = f"ring is in use by {holder}: .*Wait for it, stop it, or name another --workdir"
        refused("gan_ring", f"{RING} --workdir ring", text, capsys)


@pytest.mark.parametrize(
    "owner, name, path, flags, text",
    [
        (Path, "mkdir", "fresh", "--workdir fresh", "cannot write to --workdir .*fresh: Permission denied"),
        (os, "open", ".lock", "--workdir ring", "cannot write to --workdir .*ring: Permission denied"),
        (Path, "write_text", "config.part", "--workdir ready", "cannot write to --workdir .*ready: Permission denied"),
        (Path, "write_text", "config.part", "--workdir ring", "cannot write to --workdir .*ring: Permission denied"),
        (Path, "read_text", "config.json", "--workdir ring", "ring.*Permission denied"),
        (Path, "iterdir", "ready", "--workdir ready", "ready.*Permission denied"),
        (Path, "iterdir", "checkpoints", "--workdir ring", "checkpoints.*Permission"),
        (
            Path,
            "mkdir",
            "checkpoints",
            "--workdir ready",
            "cannot keep checkpoints in .*ready/checkpoints: Permission denied",
        ),
    ],
)
def test_work_directories_without_permission(owner, name, path, flags, text, runs, monkeypatch, capsys):
    Path("ready").mkdir()
    plain = getattr(owner, name)

    def denied(self, *args, **kwargs):
        if Path(self).name == path:
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, denied)
    refused("gan_ring", f"{RING} {flags}", text, capsys, late=True)


def test_a_folder_of_images_without_permission(things, monkeypatch, capsys):
    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    refused("gan_digits", f"{DIGITS} --data ten", "ten.*Permission denied", capsys)


@pytest.mark.parametrize(
    "content",
    [
        (b'{"step": 1, "seconds": 1}\n{"ste\n{"step": 2, "seconds": 2}\n'),
        (b"3\n"),
        (b"{}\n"),
        (b"\xff\n"),
        (None),
    ],
)
def test_a_damaged_record(content, runs, monkeypatch, capsys):
    put("ring/metrics.jsonl", content)(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring", "ring/metrics.jsonl", capsys, late=True)


# -- checkpoints


@pytest.mark.parametrize("prepare, text", SPOILT)
def test_only_damaged_checkpoints(prepare, text, runs, monkeypatch, capsys):
    prepare(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring", f"{DAMAGED}{text}.*Name another --workdir", capsys, late=True)


def test_only_damaged_checkpoints_once_more(runs, monkeypatch, capsys):
    shorten(monkeypatch)
    with pytest.raises(SystemExit):
        start("gan_ring", f"{RING} --workdir ring")
    capsys.readouterr()
    refused("gan_ring", f"{RING} --workdir ring", "damaged", capsys, late=True)


@pytest.mark.parametrize(
    "prepare, text",
    [
        (put("ring/checkpoints", b"file"), "cannot keep checkpoints in .*ring/checkpoints: File exists"),
        (unlisted, DAMAGED),
        (lambda monkeypatch: STEP.rename(STEP.with_name("002")), "ring/checkpoints"),
        (lambda monkeypatch: STEP.rename(STEP.with_name("²")), "ring/checkpoints"),
    ],
)
def test_checkpoints(prepare, text, runs, monkeypatch, capsys):
    prepare(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring", text, capsys, late=True)
