"""Tables of sounds: a vocoder beside Griffin-Lim, and generators beside what takes no learning."""

from experiments.tools.given import answered

VOCODED = {
    "log_spectral": ("log-magnitudes, L1 at four resolutions (nats)", ".3f"),
    "log_spectral_1024": ("at frames of 1,024", ".3f"),
    "convergence": ("spectral convergence", ".3f"),
    "mel_l1": ("log-mels, L1 (nats)", ".3f"),
    "voicing": ("voiced or not, as in the true sound (share of frames)", ".3f"),
    "class_kept": ("heard as the same digit (share)", ".3f"),
    "speaker_kept": ("as the same speaker (share)", ".3f"),
}
GENERATED = {
    "class_accuracy": ("heard as what was asked for (share)", ".3f"),
    "frechet_sounds": ("Fréchet distance (less is better)", ".2f"),
    "kid_sounds": ("1,000 x KID", ".1f"),
    "inception_score_sounds": ("Inception Score", ".2f"),
    "speakers": ("speakers found (share)", ".2f"),
    "nearest": ("distance to the nearest sound learnt, of held-out ones 1", ".2f"),
}
VOCODERS = {"vocoder_digits": "HiFi-GAN, 107,393 parameters"}
GENERATORS = {
    "specgan_digits_class": "mels by a DCGAN, then the vocoder",
    "specgan_digits_speaker": "the same, told who speaks",
    "wavegan_digits": "WaveGAN",
}


def vocoders() -> list[str]:
    return answered("held-out spoken digits, from their mels", VOCODERS, VOCODED)


def generators() -> list[str]:
    return answered("spoken digits", GENERATORS, GENERATED)
