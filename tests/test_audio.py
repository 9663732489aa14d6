"""Sounds by networks: published counts, what a layer reaches, the game of a vocoder in closed form, and what is measured."""

import io

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.io.wavfile
from comparing import begin

from gan_jax import game, losses
from gan_jax.data.vowels import FORMANTS, vowels
from gan_jax.evaluation import hearing, vocoding
from gan_jax.games.vocoder import vocoder
from gan_jax.models import hifigan, wavegan
from gan_jax.models.spectra import Mels, magnitude, stft
from gan_jax.types import UserError
from gan_jax.workdir import audible

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
V1 = ((16, 16, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3, True)


def count(net, *inputs):
    made = jax.eval_shape(lambda: net.init(KEY, *inputs, train=False))["params"]
    return sum(x.size for x in jax.tree.leaves(made))


def test_published_counts():
    mels, own, sound = jnp.zeros((1, 8, 80)), jnp.zeros((1, 8, 64)), jnp.zeros((1, 16_384, 1))
    v3 = hifigan.Generator(256, (8, 8, 4), (16, 16, 8), (3, 5, 7), ((1, 2), (2, 6), (3, 12)))
    assert count(hifigan.Generator(512, (8, 8, 2, 2), *V1), mels) == 13_926_017
    assert count(hifigan.Generator(128, (8, 8, 2, 2), *V1), mels) == 925_985
    assert count(v3, mels) == 1_462_273 and count(hifigan.Generator(), own) == 107_393
    assert count(hifigan.PeriodDiscriminators(), sound) == 41_092_165
    assert count(hifigan.PeriodDiscriminators((4, 16, 64, 128, 128)), sound) == 645_325
    assert count(wavegan.Generator(), jnp.zeros((1, 100))) == 19_065_345
    assert count(wavegan.Discriminator(), sound) == 17_427_969


@pytest.mark.parametrize("width, rates, kernels", [(8, (8, 4), (16, 8)), (8, (5, 2, 2), (11, 4, 4))])
def test_a_vocoder_makes_as_many_samples_as_its_hop_says(width, rates, kernels):
    net = hifigan.Generator(width, rates, kernels)
    mels = jnp.float32(RNG.normal(size=(2, 6, 5)))
    made, _ = net.init_with_output(KEY, mels, train=False)
    assert made.shape == (2, 6 * np.prod(rates), 1) and np.abs(made).max() <= 1
    with pytest.raises(ValueError, match="longer by an even number"):
        hifigan.Generator(8, (4,), (7,)).init(KEY, mels, train=False)


@pytest.mark.parametrize("period", [1, 2, 3, 5, 7])
def test_every_pth_sample(period):
    sound = np.float32(RNG.normal(size=(2, 20, 1)))
    rows = np.asarray(hifigan.folded(sound, period)).reshape(2, period, -1)
    mirrored = np.pad(sound[..., 0], ((0, 0), (0, -20 % period)), mode="reflect")
    np.testing.assert_array_equal(rows.swapaxes(1, 2).reshape(2, -1), mirrored)


def test_phase_shuffle():
    """y[t] = x[t - k], mirrored: values of the paper's code, and each k as likely."""
    x = jnp.arange(1.0, 8)[None, :, None] * jnp.array([1.0, 10.0])[None, None]
    cases = {3: [4, 3, 2, 1, 2, 3, 4], -3: [4, 5, 6, 7, 6, 5, 4], 0: [1, 2, 3, 4, 5, 6, 7]}
    made = np.asarray(jax.vmap(lambda key: wavegan.phase_shuffle(x, key, 3))(jax.random.split(KEY, 700)))[:, 0]
    np.testing.assert_array_equal(made[..., 1], 10 * made[..., 0])
    seen = {tuple(row) for row in made[..., 0]}
    assert len(seen) == 7 and all(tuple(map(float, row)) in seen for row in cases.values())
    for row in seen:
        assert 60 < (made[..., 0] == row).all(1).sum() < 140  # 100, with a deviation of 9
    np.testing.assert_array_equal(wavegan.phase_shuffle(x, KEY, 0), x)


def test_no_shuffle_when_it_is_used():
    net, sound = wavegan.Discriminator(2, 2), jnp.float32(RNG.normal(size=(2, 256, 1)))
    params = net.init(KEY, sound, train=False)
    made = jax.vmap(lambda key: net.apply(params, sound, train=True, rngs={"dropout": key}))(jax.random.split(KEY, 40))
    assert len({round(float(x), 6) for x in made[:, 0]}) == 5
    np.testing.assert_array_equal(net.apply(params, sound, train=False), net.apply(params, sound, train=False))
    with pytest.raises(UserError, match="5 to 16 times a power of 4"):
        wavegan.layers_of(100)


# -- the game


class _Tone(nn.Module):
    """The first mel of each frame, as often as it has samples, plus a parameter that begins at `by`."""

    by: float

    @nn.compact
    def __call__(self, mel, *, train):
        return jnp.repeat(mel[..., :1], 4, 1) + self.param("by", nn.initializers.constant(self.by), ())


class _Judges(nn.Module):
    """Two discriminators: a sound's mean, and twice it; the sound itself is what they have hidden."""

    @nn.compact
    def __call__(self, x, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return [(n * scale * x.mean((1, 2)), [x, 2 * x]) for n in (1, 2)]


def test_the_game_of_a_vocoder():
    """Losses are sums over discriminators; layers, logits among them, by L1."""
    mel = jnp.float32(RNG.normal(size=(3, 5, 2)))
    given = {"mel": mel, "image": jnp.repeat(mel[..., :1], 4, 1)}
    tx = optax.sgd(0.0)
    g = vocoder(_Tone(0.25), _Judges(), losses.least_squares(), lambda fake, real: jnp.mean(fake - real), weight=2.0)
    state = begin(g, tx, tx, KEY, given)
    _, metrics = game.make_update(g, tx, tx)(state, given, KEY)
    real = np.asarray(given["image"]).mean((1, 2))
    fake = real + 0.25
    disc = sum((((n * real - 1) ** 2).mean() + ((n * fake) ** 2).mean()) / 2 for n in (1, 2))
    assert float(metrics["disc/loss"]) == pytest.approx(disc, rel=1e-5)
    gen = sum(((n * fake - 1) ** 2).mean() / 2 for n in (1, 2))
    assert float(metrics["gen/loss"]) == pytest.approx(gen, rel=1e-5)
    assert float(metrics["gen/features"]) == pytest.approx(0.25 * (1 + 2 + 2 * (1 + 2)), rel=1e-5)
    assert float(metrics["gen/distance"]) == pytest.approx(0.25, rel=1e-5)


# -- what is measured


def test_spectra_of_the_frames_that_last():
    """Of a sound twice as loud logarithms differ by ln 2, and the convergence is 1; what comes after its end does not count."""
    x = np.float32(RNG.normal(size=(2, 4_096)))
    y = 2 * x
    y[:, 2_048 + 512 :] = 0  # beyond what frames of 512 that begin before 2,048 reach
    log, apart = vocoding.spectral(y, x, np.array([2_048, 2_048]), 512)
    np.testing.assert_allclose(log, np.log(2), rtol=1e-3)
    np.testing.assert_allclose(apart, 1, rtol=1e-5)
    size = np.asarray(magnitude(stft(jnp.asarray(x), 512, 128)))
    assert size.min() > vocoding.FLOOR


def test_voices_are_told_from_noise():
    t = np.arange(8_000) / 8_000
    hum = 0.3 * sum(np.sin(2 * np.pi * 120 * n * t) for n in (1, 2, 3))
    sounds = np.stack([hum, 0.3 * RNG.normal(size=8_000), 1e-4 * hum])
    assert [round(float(one.mean())) for one in vocoding.voiced(sounds, 8_000)] == [1, 0, 0]
    np.testing.assert_array_equal(vocoding.lasting(np.array([[0, 1, 0, 2, 0], [0, 0, 0, 0, 0]])), [4, 0])


def test_vowels_have_their_formants():
    made = vowels(40, 8_000, 4_096, 0)
    assert made.images.shape == (40, 4_096, 1) and np.abs(made.images).max() == pytest.approx(0.95)
    spectrum = np.abs(np.fft.rfft(made.images[..., 0])).reshape(40, -1)
    hertz = np.fft.rfftfreq(4_096, 1 / 8_000)
    for i, (first, second, _) in enumerate(FORMANTS.values()):
        mean = np.convolve((spectrum[i::5] ** 2).mean(0), np.ones(80) / 80, "same")
        low = hertz < (first + second) / 2 if second > 2 * first else hertz < second * 1.2
        assert 0.6 * first < hertz[low][mean[low].argmax()] < 1.4 * first + 60


def test_mels_are_scaled_and_back():
    mels, x = Mels(), np.float32(0.3 * RNG.normal(size=(2, 1_024, 1)))
    logs = mels(x)
    assert logs.shape == (2, 8, 64) and np.abs(mels.scaled(logs)).max() <= 1
    np.testing.assert_allclose(mels.unscaled(mels.scaled(logs)), logs, atol=1e-4)
    assert float(mels.scaled(np.log(1e-5) * jnp.ones((1, 1, 1)))[0, 0, 0]) == -1


def test_noise_that_sounds_like_nothing():
    real = vowels(40, 8_000, 4_096, 0).images
    noise = hearing.noise_like(real, 6)
    assert noise.shape == (6, 4_096, 1) and np.abs(noise).max() == pytest.approx(0.95)
    power = [np.convolve(np.abs(np.fft.rfft(x[..., 0])).mean(0), np.ones(64) / 64, "same") for x in (real, noise)]
    assert np.corrcoef(*power)[0, 1] > 0.9
    np.testing.assert_allclose(hearing.halved(np.ones((2, 5, 4, 1))), np.ones((2, 2, 2, 1)))


def test_what_is_heard_is_written():
    sounds = np.stack([np.sin(np.arange(1_000) * f) for f in (0.1, 0.5)])[..., None]
    files = audible.shown(audible.Sounding(8_000, audible.raw))(sounds, {})
    rate, held = scipy.io.wavfile.read(io.BytesIO(files["wav"]))
    assert rate == 8_000 and len(held) == 2 * (1_000 + 1_200) and {*files} == {"wav", "png"}
    np.testing.assert_allclose(held[:1_000] / 32_767, sounds[0, :, 0], atol=1e-4)
    both = audible.shown(audible.Sounding(8_000, audible.raw))(sounds, {"image": 0.5 * sounds})
    _, held = scipy.io.wavfile.read(io.BytesIO(both["wav"]))
    parts = held.reshape(4, -1)[:, :1_000] / 32_767
    np.testing.assert_allclose(parts, [n * one[:, 0] for one in sounds for n in (1, 0.5)], atol=1e-4)
    spectra = audible.spectra(sounds[..., 0])
    assert spectra.max() == 1 and spectra.min() >= -1
    tops = [int(one[..., 0].mean(1).argmax()) for one in spectra]
    assert tops[0] > tops[1]  # the higher tone stands higher
