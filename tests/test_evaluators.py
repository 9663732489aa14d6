"""How generators are measured: features, classifiers, the protocol of each value, what may be compared."""

import json
import os

import numpy as np
import pytest
from rounding import float32

from gan_jax import data
from gan_jax.data import ondisk
from gan_jax.data.validate import image_set
from gan_jax.evaluation import classifier, evaluators, features, measurement
from gan_jax.metrics import frechet, inception_score, kid, precision_recall, protocol
from gan_jax.system import cache
from gan_jax.types import Record, UserError
from gan_jax.workdir.pictures import to_uint8

DIGITS = data.load("digits")
FAKES = image_set(DIGITS.images[::-1].copy(), None, "fakes")


def some(count):
    return np.float32(DIGITS.images[:count]) / 127.5 - 1


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_JAX_CACHE", str(tmp_path / "cache"))


def test_every_value_is_the_metrics_of_the_features_it_says():
    network = features.classifier(DIGITS, 40)
    found = evaluators.images(DIGITS, network, during=300).measure(some)
    order = np.random.default_rng(0).permutation(len(DIGITS.images))
    half = len(order) // 2
    reference, floor = network(DIGITS.images[order[:half]])[0], network(DIGITS.images[order[half : half + 300]])
    fake = network(DIGITS.images[:300])
    for (own, logits), pick in ((fake, lambda record: record.value), (floor, lambda record: record.protocol["floor"])):
        expected = {
            "frechet": frechet.frechet(reference, own),
            "kid": kid.mmd2(reference[:300], own),
            "inception_score": inception_score.inception_score(logits).mean,
            **precision_recall.prdc(reference[:300], own),
        }
        # features are of the same program; what is made of them is float64
        assert {name: pick(found[f"{name}_classifier"]) for name in expected} == pytest.approx(expected, rel=float32(4))
    assert found["collapsed"].value == 0.0
    how = found["frechet_classifier"].protocol
    assert how["network_weights"] == classifier.trained(DIGITS, 40).digest
    assert how["real"] == half and how["fake"] == 300 and how["data_digest"] == DIGITS.digest
    assert found["precision_classifier"].higher_is_better and not found["kid_classifier"].higher_is_better


def test_a_test_split_stands_in_for_the_floor():
    train, test = (
        image_set(part, None, name) for part, name in ((DIGITS.images[:900], "a"), (DIGITS.images[900:], "b"))
    )
    found = evaluators.images(train, features.pixels(), test=test, during=200).measure(some)
    pixels = features.pixels()
    rows = np.random.default_rng(0).permutation(897)[:200]
    expected = frechet.frechet(pixels(train.images)[0], pixels(test.images[rows])[0])
    record = found["frechet_pixels"]
    assert record.protocol["floor"] == pytest.approx(expected, rel=float32(4))
    assert record.protocol["real"] == 900 and record.protocol["real_split"] == "train"


def test_a_constant_generator_is_collapsed():
    found = evaluators.images(DIGITS, features.pixels(), during=100).measure(
        lambda n: np.zeros((n, 8, 8, 1), np.float32)
    )
    assert found["collapsed"].value == 1.0 and found["recall_pixels"].value == 0.0


@pytest.mark.parametrize(
    ("few", "many", "final"), [(100, 400, 400), (100, 10_000, 898), (898, 10_000, None), (2_000, 10_000, None)]
)
def test_more_samples_at_the_end_as_far_as_there_are_real_images(few, many, final):
    measures = evaluators.images(DIGITS, features.pixels(), during=few, final=many)
    asked = []

    def draw(count):
        asked.append(count)
        return some(count)

    measures.measure(draw)
    assert (measures.final is None) == (final is None)
    if final:
        assert measures.final(draw)["kid_pixels"].protocol["fake"] == final
    assert asked == [min(few, 898), *([final] if final else [])]


def test_fakes_are_rounded_to_eight_bits():
    fine = some(5) + np.float32(0.001)
    np.testing.assert_array_equal(features.pixels()(fine)[0], features.pixels()(to_uint8(fine))[0])


def test_a_projection_keeps_distances_on_average():
    """Whatever the parts, and in little memory: a matrix of directions would have 2 GB here."""
    images = np.random.default_rng(0).integers(0, 256, (12, 256, 512, 2), np.uint8)
    x, pixels = features.projection(2_048)(images)[0], features.pixels()(images)[0]
    assert x.shape == (12, 2_048) and x.dtype == np.float32
    for i in range(11):
        expected = np.linalg.norm(pixels[i] - pixels[i + 1])
        assert np.linalg.norm(x[i] - x[i + 1]) == pytest.approx(expected, rel=0.08)  # 5 deviations, 1 / sqrt(2 * 2048)
    np.testing.assert_array_equal(features.projection(2_048)(images[3:4])[0], x[3:4])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 255.0])
def test_features_of_wrong_values_are_refused(wrong):
    images = some(5)
    images[3, 2, 1] = wrong
    with pytest.raises(ValueError, match=r"images are uint8, or finite floats in \[-1, 1\]; got"):
        features.pixels()(images)


def test_parts_are_no_larger_than_memory(monkeypatch):
    monkeypatch.setattr(features, "ENTRIES", 640)  # ten digits
    network, seen = features.pixels(), []
    spied = network._replace(
        ready=lambda: features.Ready(lambda x: seen.append(len(x)) or network.ready().apply(x), {"features": "spied"})
    )
    rows = np.arange(25)[::-1]
    expected = frechet.moments([network(DIGITS.images[rows])[0]])
    found = spied.moments(DIGITS, rows)
    assert seen == [10, 10, 5] and found.n == 25
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(spied.moments(DIGITS, rows).scatter, found.scatter)  # kept
    assert seen == [10, 10, 5]


@pytest.mark.parametrize(
    ("count", "flags", "said"),
    [
        (14, {}, "has 14 images; to measure a generator at least 20 are needed"),
        (200, {"during": 8}, "--evaluate-samples 8: at least 10"),
    ],
)
def test_what_cannot_be_measured_is_said_before_training(count, flags, said):
    few = image_set(DIGITS.images[:count], np.arange(count) % 2, "few", 2)
    with pytest.raises(UserError, match=said):
        evaluators.images(few, features.classifier(few, 10), **flags)


def test_features_of_a_set_are_kept_under_all_they_depend_on(tmp_path, monkeypatch):
    network, calls = features.pixels(), []
    spied = network._replace(
        ready=lambda: features.Ready(
            lambda x: calls.append(len(x)) or network.ready().apply(x), network.ready().protocol
        )
    )
    rows = np.arange(30)
    once, again = (spied.cached(DIGITS, rows)[0] for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert calls == [30]
    spied.cached(DIGITS, rows[:29])
    spied.cached(FAKES, rows)
    assert calls == [30, 29, 30] and len(list(cache.root().glob("arrays/features-*.npz"))) == 3


def test_a_file_that_stays_on_disk_is_known_anew_when_it_was_changed(tmp_path, monkeypatch):
    """Of a large one the digest sees a sample only."""
    monkeypatch.setattr(ondisk, "PIXELS", 0)
    images = np.zeros((3_000, 4, 4, 1), np.uint8)
    np.save(tmp_path / "set.npy", images)
    before = data.load(str(tmp_path / "set.npy"), stream=True)
    unseen = np.setdiff1d(np.arange(3_000), np.linspace(0, 2_999, 1_024).astype(int))
    images[unseen] = 200
    np.save(tmp_path / "set.npy", images)
    os.utime(tmp_path / "set.npy", ns=(0, 5))
    after = data.load(str(tmp_path / "set.npy"), stream=True)
    network, rows = features.pixels(), np.arange(3_000)
    assert before.digest == after.digest and network.name(before, rows) != network.name(after, rows)
    assert network.moments(after, rows).mean.mean() == pytest.approx(1_976 / 3_000 * 2 * 200 / 255 - 1, rel=1e-5)


def test_the_best_of_a_mixture_is_not_a_collapsed_one():
    centres = data.ring_centres()
    rng = np.random.default_rng(0)
    real = centres[rng.integers(0, 8, 2_500)] + 0.01 * rng.normal(size=(2_500, 2))
    measure = evaluators.mixture(centres, 0.01)
    good, fallen = (measure.measure(lambda n, x=x: x[:n]) for x in (real, np.repeat(centres[:1], 2_500, 0)))
    best = measure.names[0]
    assert fallen["high_quality"].value > good["high_quality"].value and fallen["collapsed"].value == 1
    assert best == "overlap" and good[best].higher_is_better and good[best].value > 0.9 > 0.2 > fallen[best].value


def test_each_protocol_has_what_concerns_its_metric():
    found = evaluators.images(DIGITS, features.classifier(DIGITS, 40), during=50).measure(some)
    own = {name: {*record.protocol} for name, record in found.items()}
    assert {"size", "fit", "pixels", "fake", "data", "floor"} <= set.intersection(*own.values())
    assert "k" in own["recall_classifier"] and "k" not in own["frechet_classifier"] | own["kid_classifier"]
    assert "splits" in own["inception_score_classifier"] and "real" not in own["inception_score_classifier"]
    assert "pairs" in own["kid_classifier"] and "pairs" not in own["precision_classifier"]
    reals = {name: found[f"{name}_classifier"].protocol["real"] for name in ("frechet", "kid", "recall")}
    assert reals == {"frechet": 898, "kid": 50, "recall": 50}


def test_what_is_no_picture_is_not_rounded():
    """Silence has a spectrum of its own: 8 bits would give it an offset."""
    sound = np.random.default_rng(0).normal(size=(6, 16, 1)).astype(np.float32) * 20
    plain = features.pixels()._replace(bits=None)
    np.testing.assert_array_equal(plain(sound)[0], sound.reshape(6, -1))
    assert plain.protocol["pixels"] == "not rounded" and features.pixels().protocol["pixels"] == "8 bits"
    sound[2, 3] = np.nan
    with pytest.raises(ValueError, match="1.04% is not finite"):
        plain(sound)


def test_a_classifier_learns_and_is_the_same_the_next_time():
    learnt = classifier.trained(DIGITS, 120)
    assert classifier.accuracy(learnt, DIGITS) > 0.9
    again = classifier.trained(DIGITS, 120)
    assert again.digest == learnt.digest and again.steps == 120
    found, logits = learnt(DIGITS.images[:7])
    other, _ = learnt(some(7))
    assert found.shape == (7, 128) and logits.shape == (7, 10)
    # Batches of one row and of seven: sums of up to 3,200 products of features up to 10.
    np.testing.assert_allclose(found, other, rtol=0, atol=float32(3_200, size=10))
    (path,) = cache.root().glob("arrays/classifier-*.npz")
    path.unlink()
    assert classifier.trained(DIGITS, 120).digest == learnt.digest  # trained anew: the same bits
    assert classifier.trained(DIGITS, 5).digest != learnt.digest


def test_the_classifiers_that_come_with_the_library(capsys):
    """The digits' is used as it is; of every one the name says this version, and weights and statistics are finite."""
    learnt = classifier.trained(DIGITS, classifier.STEPS)
    assert classifier.accuracy(learnt, DIGITS) > 0.99 and learnt.steps == 561
    assert capsys.readouterr().err == "" and not list(cache.root().glob("arrays/classifier-*"))
    steps = classifier.STEPS
    expected = {"86ce3993329d1043-10-561-0", f"b987c01e8669a99c-10-{steps}-0", f"f2a050cf813f5527-10-{steps}-0"}
    files = sorted(classifier.SHIPPED.glob("*.npz"))
    assert {path.stem for path in files} == {f"classifier-{classifier.VERSION}-{name}" for name in expected}
    for path in files:
        assert path.stat().st_size < 1e6
        with np.load(path) as kept:
            assert all(kept[name].dtype == np.float16 and np.isfinite(kept[name]).all() for name in kept.files)


def test_a_classifier_needs_labels():
    with pytest.raises(UserError, match="fakes has no labels"):
        classifier.trained(FAKES, 10)


@pytest.mark.parametrize(
    ("name", "labelled", "kind"), [("", True, "classifier"), ("", False, "pixels"), ("pixels", True, "pixels")]
)
def test_which_features_are_chosen(name, labelled, kind):
    assert evaluators.chosen(name, DIGITS if labelled else FAKES).kind == kind


def test_an_inception_file_that_is_not_there_is_told_at_once(tmp_path):
    with pytest.raises(UserError, match="nowhere.pth"):
        evaluators.chosen(str(tmp_path / "nowhere.pth"), DIGITS)


def test_only_what_was_measured_in_one_way_can_be_compared():
    one = {"network_weights": "a", "fake": 100, "floor": 1.0}
    protocol.require_same({"first": one, "second": {**one, "floor": 2.0}})
    assert protocol.differences(one, {**one, "fake": 200, "k": 5}) == ["fake: 100 and 200", "k: 'absent' and 5"]
    with pytest.raises(UserError, match="first and third were not measured in one way: network_weights: 'a' and 'b'"):
        protocol.require_same({"first": one, "second": one, "third": {**one, "network_weights": "b"}})


@pytest.mark.parametrize("record", [3.5, Record(3.5, True, {})])
def test_a_bare_number_is_refused(record):
    with pytest.raises(UserError, match="fid = .* has no protocol"):
        protocol.completed({"fid": record}, {"weights": "raw"})


@pytest.mark.parametrize(
    ("own", "how", "said"),
    [
        ({"x": 1}, {"weights": "raw"}, "does not say of how many samples: fake, or real"),
        ({"fake": 1}, {"batch_norm": "none"}, "does not say of which weights: averaged or raw"),
    ],
)
def test_a_protocol_says_at_least_of_how_many_samples_of_which_weights(own, how, said):
    with pytest.raises(UserError, match=f"fid: its protocol, .*, {said}"):
        protocol.completed({"fid": Record(3.5, True, own)}, how)


def test_a_protocol_is_completed_by_who_draws_the_samples():
    """Of D's classes no fakes are counted; what a record says itself stands."""
    record = Record(0.5, True, {"real": 10, "batch_norm": "none"})
    found = protocol.completed({"accuracy": record}, {"weights": "raw", "batch_norm": "running averages"})
    assert found["accuracy"].protocol == {"real": 10, "batch_norm": "none", "weights": "raw"}


def test_protocols_are_json():
    found = evaluators.images(DIGITS, features.pixels(), during=50).measure(some)
    assert json.loads(json.dumps({name: record._asdict() for name, record in found.items()}))


# ---- classes


def test_labels_in_the_shares_of_the_reals():
    labels = np.array([0] * 90 + [2] * 10)
    skewed = image_set(DIGITS.images[:100], labels, "skewed", 3)
    reference = measurement.Reference(skewed, features.pixels(), None, halve=False)
    for count in (7, 50, 1_000):
        found = reference.shares(count)
        assert len(found) == count and set(found) <= {0, 2}
        assert np.abs(np.bincount(found, minlength=3) / count - [0.9, 0, 0.1]).max() <= 1 / count
    assert np.abs(np.cumsum(reference.shares(50) == 2) - np.arange(1, 51) / 10).max() <= 1  # spread evenly
    np.testing.assert_array_equal(reference.turns(5), [0, 2, 0, 2, 0])  # of those that there are
    balanced = measurement.Reference(
        image_set(DIGITS.images[:90], np.arange(90) % 3, "b", 3), features.pixels(), None, halve=False
    )
    np.testing.assert_array_equal(balanced.shares(12), balanced.turns(12))


def test_a_perfect_conditional_sampler_of_skewed_classes_is_as_near_as_real_images():
    """Of ten times as many images of one class: fakes of all classes in turn would be far from them."""

    def made(y, seed):
        noise = np.random.default_rng(seed).normal(0, 15, (len(y), 8, 8, 1))
        return np.clip(np.where(y == 0, 60, 200)[:, None, None, None] + noise, 0, 255).astype(np.uint8)

    y = (np.arange(1_000) % 10 == 0).astype(int)
    train, test = (image_set(made(y, seed), y, name) for seed, name in ((0, "train"), (1, "test")))
    asked = []

    def draw(rows):
        asked.append(rows["label"])
        return made(rows["label"], 2)

    measures = evaluators.images(train, features.pixels(), test=test, during=500, final=500, labels=evaluators.IN_TURN)
    found = measures.measure(draw)
    whole, within = found["frechet_pixels"], found["intra_frechet_pixels"]
    assert whole.value < 3 * whole.protocol["floor"] < 1 and whole.protocol["labels"] == evaluators.SHARES
    assert within.protocol["labels"] == evaluators.IN_TURN and within.value < 10
    assert [np.bincount(labels).tolist() for labels in asked] == [[450, 50], [250, 250]]


def test_classes_of_two_sets_are_matched_by_name():
    def named(names, labels):
        return image_set(DIGITS.images[: len(labels)], np.array(labels), "set", names=names)

    train = named(("dark", "light"), [0, 1] * 20)
    part = measurement.renumbered(named(("light",), [0] * 30), train.class_names, "RUN")
    assert part.labels.tolist() == [1] * 30 and part.classes == 2 and part.names == ("dark", "light")
    other = named(("light", "mid"), [0, 1] * 20)
    with pytest.raises(UserError, match="set has the classes mid, which RUN has not: it has dark, light"):
        measurement.renumbered(other, train.class_names, "RUN")
    with pytest.raises(UserError, match="set has the classes mid"):
        measurement.Reference(train, features.pixels(), other)
    assert measurement.renumbered(train, train.class_names, "RUN") is train
