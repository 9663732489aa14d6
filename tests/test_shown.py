"""What a run shows, under the suffix of what it is; and what is refused before anything is written."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gan_ring
from gan_jax import data, training
from gan_jax.training.saving import Saver
from gan_jax.types import Evaluate, Record, UserError


def test_a_game_without_inputs_makes_no_samples(tmp_path):
    """It trains all the same; measures that draw are refused."""
    config = gan_ring.Config(
        workdir=str(tmp_path / "run"), steps=2, batch_size=8, width=4, gen_blocks=1, disc_blocks=1, devices=1
    )

    def build(config, spec):
        recipe = gan_ring.build(config, spec)
        return recipe._replace(game=recipe.game._replace(inputs=None))

    source = data.ring(8, 0)
    training.run(config, build, training.Setup(source))
    assert not (tmp_path / "run/samples").exists()
    config = dataclasses.replace(config, workdir=str(tmp_path / "other"))
    with pytest.raises(UserError, match="this game makes no samples: it has no `inputs`"):
        training.run(config, build, training.Setup(source, Evaluate(lambda draw: draw(3), ("x",))))


@pytest.mark.parametrize("suffixes", [("txt",), ("wav", "png")])
def test_what_is_shown_is_kept_under_its_suffix_and_named(suffixes, tmp_path, capsys):
    config = gan_ring.Config(
        workdir=str(tmp_path / "run"),
        steps=4,
        batch_size=8,
        width=4,
        gen_blocks=1,
        disc_blocks=1,
        devices=1,
        sample_every=2,
    )
    known = []

    def show(samples, batch):
        known.append((len(samples), dict(batch)))
        return {suffix: f"{suffix} of {len(samples)}".encode() for suffix in suffixes}

    def build(config, spec):
        return gan_ring.build(config, spec)._replace(show=show)

    training.run(config, build, training.Setup(data.ring(8, 0), shown=5))
    names = [f"{step:08d}.{suffix}" for step in (0, 2, 4) for suffix in sorted(suffixes)]
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == names
    said = capsys.readouterr().err
    assert "Look at " + " and ".join(f"{tmp_path}/run/samples/00000004.{suffix}" for suffix in suffixes) in said
    page = (tmp_path / "run/report.html").read_text()
    assert ("<pre>txt of 5</pre>" in page) == ("txt" in suffixes) and ("<audio" in page) == ("wav" in suffixes)
    assert known[0][0] == 5 and known[0][1]["label"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stems", [set(), {"seed0", "lr0.1_seed1"}], ids=["one", "population"])
def test_files_of_steps_that_will_be_played_again_are_forgotten_and_no_others(tmp_path, stems):
    others = ("00000004.jpg", "holiday.png", "1234.png", "20240131120000.png", "00000004_cat.png", "00000004 copy.png")
    own = (
        {"00000002", "00000004", "00000010"} if not stems else {f"0000000{i}_{stem}" for i in (2, 4) for stem in stems}
    )
    (tmp_path / "samples").mkdir()
    for name in (*others, *(f"{one}.png" for one in own), *(f"{one}.wav" for one in own)):
        (tmp_path / "samples" / name).write_bytes(b"")
    saver = object.__new__(Saver)
    saver.workdir = tmp_path
    saver.forget_files_after(2, 12, stems)
    kept = {f"{one}{suffix}" for one in own if one.startswith("00000002") for suffix in (".png", ".wav")}
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {*others} | kept


def test_a_file_of_an_unknown_kind_is_refused(tmp_path):
    config = gan_ring.Config(
        workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, gen_blocks=1, disc_blocks=1, devices=1
    )
    build = lambda config, spec: gan_ring.build(config, spec)._replace(show=lambda x, batch: {"exe": b""})  # noqa: E731
    with pytest.raises(ValueError, match=r"show gave a file .exe: there are png, gif, wav, txt"):
        training.run(config, build, training.Setup(data.ring(8, 0)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shown", "said"),
    [(0, "0 rows: 1 or more"), ({"image": np.zeros((4, 2), np.uint8)}, "image is uint8: floats are needed")],
)
def test_what_cannot_be_shown_is_said_before_anything_is_written(shown, said, tmp_path):
    config = gan_ring.Config(
        workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, gen_blocks=1, disc_blocks=1, devices=1
    )
    with pytest.raises(ValueError, match=said):
        training.run(config, gan_ring.build, training.Setup(data.ring(8, 0), shown=shown))
    assert not (tmp_path / "run").exists()


def test_fakes_that_forget_a_statistic_are_refused_before_anything_is_written(tmp_path):
    def build(config, spec):
        recipe = gan_ring.build(config, spec)
        made = recipe.game.fakes
        fakes = lambda *args: (made(*args)[0], {"seen": jnp.zeros(())})  # noqa: E731
        return recipe._replace(game=recipe.game._replace(fakes=fakes))

    config = gan_ring.Config(
        workdir=str(tmp_path / "run"), steps=4, batch_size=8, width=4, gen_blocks=1, disc_blocks=1, devices=1
    )
    with pytest.raises(ValueError, match=r"fakes: its stats are not those of state.gen: \['seen'\] instead of nothing"):
        training.run(config, build, training.Setup(data.ring(8, 0)))
    assert not (tmp_path / "run").exists()


def test_weights_of_a_swept_memory_are_told_by_member(tmp_path):
    told = []

    def measure(draw):
        told.append(draw.how["weights"])
        return {"x": Record(0.0, True, {"fake": 1})}

    config = gan_ring.Config(
        workdir=str(tmp_path / "run"),
        steps=1,
        batch_size=8,
        width=4,
        gen_blocks=1,
        disc_blocks=1,
        devices=1,
        sweep=("ema_images=0,100",),
    )
    training.run(config, gan_ring.build, training.Setup(data.ring(8, 0), Evaluate(measure, ("x",))))
    assert told == ["raw", "averaged (EMA)"]
