"""What `test_experiments` holds every experiment to: with which flags it runs for two steps, how many numbers it learns by its
defaults, and which metrics it tells.
"""

import jax
import numpy as np

from gan_jax.types import Spec, spec_of

# The others by pixels, for speed.
CLASSIFIED = {"dcgan_digits", "cgan_mnist", "stacked_mnist", "stacked_mnist_dcgan", "stacked_mnist_r3gan"}
SMALL = {
    "gan_ring": ["--width", "4", "--gen-blocks", "1", "--disc-blocks", "1"],
    "gan_grid": ["--width", "4", "--gen-blocks", "1", "--disc-blocks", "1"],
    "gan_mnist": [],
    "gan_minimax_mnist": [],
    "gan_digits": [],
    "biggan_cifar10": ["--width", "8"],
    "biggan_fashion": ["--width", "8"],
    "conditional_fashion": ["--width", "4", "--way", "concatenation"],
    "progressive_fashion": ["--width", "8", "--train-images", "0", "--fade-images", "32"],
    "progressive_mnist": ["--width", "8", "--train-images", "0", "--fade-images", "32"],
    "stylegan2_fashion": ["--width", "8", "--path", "2", "--mixing", "0.9"],
    "best_fashion": ["--width", "8", "--conditional"],
    "best_mnist": ["--width", "8"],
    "r3gan_cifar10": ["--width", "8", "--sizes", "2"],
    "r3gan_fashion": ["--width", "8"],
    "stacked_mnist_r3gan": ["--width", "8", "--evaluate-samples", "64"],
    "stylegan2_sprites": ["--width", "8", "--images", "20"],
    "unrolled_ring": ["--width", "4", "--unroll", "2"],
    "cyclegan_digits": ["--width", "4", "--data", "digits"],
    "stacked_mnist": ["--width", "4", "--evaluate-samples", "64"],
    "stacked_mnist_dcgan": ["--width", "4", "--evaluate-samples", "64"],
    "cheap_penalties_grid": ["--width", "4", "--gen-blocks", "1", "--disc-blocks", "1", "--penalty", "lazy_8"],
    "cheap_penalties_stacked": ["--width", "4", "--evaluate-samples", "64", "--penalty", "jvp_25"],
    "entropy_ring": ["--width", "4", "--entropy", "0.01"],
    "entropy_grid": ["--width", "4", "--entropy", "0.01", "--estimate", "log_det"],
    "entropy_stacked": ["--width", "4", "--evaluate-samples", "64", "--entropy", "0.01", "--estimate", "hmc"],
    "few_fashion": ["--width", "4", "--images", "20", "--arm", "ada"],
    "semisup_mnist": ["--labels", "20"],
    "tricks_mnist": ["--width", "4", "--trick", "minibatch_discrimination"],
    "pix2pix_emoji": ["--width", "4", "--downs", "3", "--layers", "1", "--size", "0"],
    "pix2pix_facades": ["--width", "4", "--downs", "3", "--layers", "1", "--size", "0"],
    "inpaint_facades": ["--width", "4", "--way", "cc"],
    "cyclegan_monet": ["--width", "4", "--blocks", "1", "--size", "0"],
    "cut_monet": ["--width", "4", "--blocks", "1", "--size", "0"],
    "vocoder_digits": ["--width", "8", "--disc-width", "1", "--length", "1024", "--segment", "768"],
    "specgan_digits": ["--width", "4", "--length", "1024"],
    "wavegan_digits": ["--width", "2", "--length", "1024"],
    "wgan_gp_text": ["--width", "4", "--data", "syllables"],
    "mle_names": ["--width", "8", "--data", "syllables"],
    "gumbel_names": ["--width", "8", "--data", "syllables", "--likely", "1"],
    "seqgan_oracle": ["--symbols", "12", "--length", "5", "--sequences", "40", "--likely", "1", "--rollouts", "2"],
    "mocogan_shapes": ["--width", "4", "--data", "moving", "--size", "16", "--length", "10"],
    "mocogan_actions": ["--width", "4", "--data", "moving", "--size", "16", "--length", "10"],
    "vgan_shapes": ["--width", "4", "--data", "moving", "--size", "16", "--length", "8"],
    "superres_photos": ["--width", "4", "--blocks", "1", "--scale", "2", "--crop", "16", "--stage", "gan"],
}
# What their data is, where it is no set of images: pairs, or a folder of pictures of several sizes.
GIVEN = {
    **dict.fromkeys(
        ("pix2pix_emoji", "pix2pix_facades", "cyclegan_monet", "cut_monet", "inpaint_facades"), "pairs.npz"
    ),
    "superres_photos": "pictures",
    **dict.fromkeys(("vocoder_digits", "specgan_digits", "wavegan_digits"), "sounds.npz"),
}
READ = {"wgan_gp_text", "mle_names", "gumbel_names", "seqgan_oracle"}  # whose samples are lines
# Experiments of one game and one kind of networks differ in sizes, losses and data. One of each is killed, resumed, loaded
# and measured anew; of the others the two steps, and what is said of them, are all that is looked at, in `pytest -m long`.
WHOLE = {
    "gan_ring", "dcgan_digits", "cgan_mnist", "wgan_mnist", "sngan_cifar10", "infogan_mnist", "cyclegan_digits",
    "stacked_mnist", "unrolled_ring", "entropy_stacked", "few_fashion", "semisup_mnist", "progressive_mnist",
    "stylegan2_fashion", "conditional_fashion", "best_mnist", "pix2pix_emoji", "superres_photos", "inpaint_mnist",
    "biggan_fashion", "vocoder_digits", "wavegan_digits", "mocogan_shapes", "wgan_gp_text", "gumbel_names", "seqgan_oracle",
}  # fmt: skip
# Of these the networks or the game stand in others of WHOLE or have tests of their own, and they take long to compile.
LONG = {"biggan_fashion", "best_mnist", "entropy_stacked", "stylegan2_fashion", "vocoder_digits", "inpaint_mnist"}
POINTS, DIGITS = spec_of((2,)), spec_of((8, 8, 1), 10)
MNIST, COLOURS = spec_of((28, 28, 1), 10), spec_of((32, 32, 3), 10)
TWO = DIGITS._replace(arrays={name: DIGITS.arrays["image"] for name in "ab"}, classes=0)
LABELLED = MNIST._replace(
    arrays={"image": MNIST.arrays["image"], "labelled": MNIST.arrays["image"], "labelled_label": MNIST.arrays["label"]},
    classes=0,
    meta={"image": {"classes": 10}},
)
STACKED, PICTURES = spec_of((28, 28, 3), 1_000), spec_of((64, 64, 3))


def named(**shapes):
    """Arrays of these names."""
    return Spec({name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()})


TOKENS = Spec(
    {"tokens": jax.ShapeDtypeStruct((20,), np.int32)}, meta={"symbols": 27, "ends": True, "alphabet": "ab", "words": []}
)
PAIR = named(a=(64, 64, 3), b=(64, 64, 3))
# What each is trained on with its defaults, and how many numbers its two sides then learn: those of published sizes are
# derived in test_models.py.
LEARNT = {
    "biggan_cifar10": (COLOURS, 293_828, 270_530),
    "biggan_fashion": (MNIST, 87_298, 67_810),
    "conditional_fashion": (MNIST, 86_017, 66_529),
    "cgan_mnist": (MNIST, 575_401, 175_169),
    "cheap_penalties_grid": (POINTS, 198_786, 66_561),
    "cheap_penalties_stacked": (STACKED, 370_627, 167_649),
    "cyclegan_digits": (TWO, 100_290, 9_890),
    "dcgan_cifar10": (COLOURS, 1_068_931, 663_361),
    "dcgan_digits": (DIGITS, 49_857, 33_697),
    "dcgan_fashion": (MNIST, 369_601, 166_817),
    "dcgan_mnist": (MNIST, 369_601, 166_817),
    "entropy_grid": (POINTS, 484_802, 405_201),
    "entropy_ring": (POINTS, 484_802, 405_201),
    "entropy_stacked": (STACKED, 287_875, 1_889),
    "few_fashion": (MNIST, 369_601, 166_625),
    "gan_digits": (DIGITS, 57_792, 49_665),
    "gan_grid": (POINTS, 198_786, 66_561),
    "gan_minimax_mnist": (MNIST, 1_486_352, 1_460_225),
    "gan_mnist": (MNIST, 1_486_352, 1_460_225),
    "gan_ring": (POINTS, 198_786, 66_561),
    "infogan_mnist": (MNIST, 1_687_841, 1_674_925),
    "lsgan_mnist": (MNIST, 369_601, 166_817),
    "pacgan_mixtures": (POINTS, 484_802, 407_201),
    "progressive_fashion": (MNIST, 278_180, 279_073),
    "progressive_mnist": (MNIST, 278_180, 279_073),
    "stylegan2_fashion": (MNIST, 238_412, 351_165),
    "best_fashion": (MNIST, 176_160, 168_096),
    "best_mnist": (MNIST, 176_160, 168_096),
    "r3gan_cifar10": (COLOURS, 145_600, 141_568),
    "r3gan_fashion": (MNIST, 43_968, 41_952),
    "stacked_mnist_r3gan": (STACKED, 44_032, 42_016),
    "stylegan2_sprites": (PICTURES, 159_336, 92_081),
    "semisup_mnist": (LABELLED, 694_568, 1_538_770),
    "sngan_cifar10": (COLOURS, 4_274_435, 1_053_825),
    "stacked_mnist": (STACKED, 287_875, 1_889),
    "stacked_mnist_dcgan": (STACKED, 1_068_931, 662_977),
    "tricks_mnist": (MNIST, 369_601, 166_817),
    "unrolled_ring": (POINTS, 49_666, 17_025),
    "wgan_gp_cifar10": (COLOURS, 1_203_331, 1_053_825),
    "wgan_gp_mnist": (MNIST, 369_601, 166_625),
    "wgan_mnist": (MNIST, 369_601, 166_817),
    "pix2pix_emoji": (PAIR, 7_314_755, 169_377),
    "pix2pix_facades": (PAIR, 7_314_755, 169_377),
    "inpaint_facades": (named(image=(64, 64, 3), mask=(64, 64, 1)), 3_504_948, 168_353),
    "inpaint_mnist": (named(image=(28, 28, 1), mask=(28, 28, 1)), 62_186, 34_977),
    "cyclegan_monet": (PAIR, 1_550_598, 190_034),
    "cut_monet": (PAIR, 901_891, 95_017),
    "vocoder_digits": (named(image=(4_096, 1), mel=(32, 64)), 107_393, 645_325),
    "specgan_digits": (spec_of((64, 64, 1), 10), 1_509_801, 734_689),
    "wgan_gp_text": (spec_of((13, 27), meta={"alphabet": "ab"}), 1_038_619, 825_729),
    "mle_names": (TOKENS, 337_435, 1),
    "gumbel_names": (TOKENS, 337_435, 191_169),
    "seqgan_oracle": (TOKENS._replace(meta={"symbols": 5_000}), 333_320, 891_521),
    "wavegan_digits": (spec_of((8_192, 1), 10), 1_501_289, 1_111_425),
    "mocogan_shapes": (spec_of((16, 32, 32, 3), 2), 293_440, 721_920),
    "mocogan_actions": (spec_of((16, 32, 32, 3), 5), 299_584, 746_496),
    "vgan_shapes": (spec_of((16, 32, 32, 3)), 1_444_231, 665_985),
    "superres_photos": (named(image=(96, 96, 3), low=(24, 24, 3)), 195_971, 72),
}
# Metrics that a row has because of what the experiment says of itself.
SHOWN = {
    "wgan_gp_mnist": {"disc/wgan_gp"},
    "wgan_gp_cifar10": {"disc/wgan_gp"},
    "gan_ring": {"disc/r1", "disc/r2"},
    "gan_grid": {"disc/r1", "disc/r2"},
    "stacked_mnist_dcgan": {"disc/r1", "disc/r2"},
    "cheap_penalties_grid": {"disc/r1", "disc/r2"},
    "cheap_penalties_stacked": {"disc/r1_jvp", "disc/r2_jvp"},
    "entropy_ring": {"gen/entropy"},
    "entropy_grid": {"gen/entropy"},
    "entropy_stacked": {"gen/accepted", "gen/hmc_step"},
    "few_fashion": {"augment/p", "augment/p_r"},
    "progressive_fashion": {"disc/wgan_gp", "disc/drift", "gen/level"},
    "progressive_mnist": {"disc/wgan_gp", "disc/drift", "gen/level"},
    "stylegan2_fashion": {"disc/r1", "gen/path"},
    **{key: {"disc/r1", "disc/r2"} for key in ("best_mnist", "best_fashion", "r3gan_fashion", "r3gan_cifar10")},
    "stacked_mnist_r3gan": {"disc/r1", "disc/r2"},
    "stylegan2_sprites": {"disc/r1"},
    "semisup_mnist": {"disc/labelled", "disc/unlabelled"},
    "sngan_cifar10": {"monitor/disc/sigma"},
    "infogan_mnist": {"disc/information", "gen/information"},
    "cyclegan_digits": {"gen/cycle"},
    "vocoder_digits": {"gen/features", "gen/distance"},
    "specgan_digits": {"disc/r1", "disc/r2"},
    "wavegan_digits": {"disc/wgan_gp"},
    "wgan_gp_text": {"disc/wgan_gp"},
    "gumbel_names": {"gen/sharpness", "gen/nll"},
    "seqgan_oracle": {"gen/reward", "gen/nll"},
    "mocogan_shapes": {"disc/classes", "gen/classes", "disc/frames", "gen/clips"},
}
# Whose networks are told the class by an embedding.
TOLD = {
    "best_fashion", "cgan_mnist", "biggan_fashion", "biggan_cifar10", "conditional_fashion", "specgan_digits", "wavegan_digits",
}  # fmt: skip
