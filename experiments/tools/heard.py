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
BY_CLASS = {
    "specgan_digits_class": "mels by a DCGAN, then Griffin-Lim",
    "specgan_digits_class_vocoder_digits": "mels by a DCGAN, then the vocoder",
    "wavegan_digits": "WaveGAN",
}
BY_SPEAKER = {
    "specgan_digits_speaker": "mels by a DCGAN, then Griffin-Lim",
    "specgan_digits_speaker_vocoder_digits": "mels by a DCGAN, then the vocoder",
}
TITLES = {
    "vocoder": "real sounds through the same voice",
    "real": "real sounds held out",
    "floor": "one half of what was learnt beside the other",
}


def vocoders() -> list[str]:
    return answered("held-out spoken digits, from their mels", VOCODERS, VOCODED, TITLES)


def generators() -> list[str]:
    """A table for each kind of classes: features are those of a classifier of these."""
    lines: list[str] = []
    for what, runs in (("spoken digits, told the digit", BY_CLASS), ("told the speaker", BY_SPEAKER)):
        lines += [*([""] if lines else []), *answered(what, runs, GENERATED, TITLES)]
    return lines
