"""Keeps what the classifier that comes with gan_jax makes of 500 training and 500 test images of MNIST in mnist.npz:
features [500 128], in float16. Not run by pytest.

    python tests/references/features.py
"""

from pathlib import Path

import numpy as np

from gan_jax import data
from gan_jax.evaluation import classifier, evaluators

COUNT = 500


def main():
    train, test = (data.load("mnist", split) for split in ("train", "test"))
    network = classifier.trained(train, evaluators.CLASSIFIER_STEPS)
    features = {
        name: network(images.images[:COUNT])[0].astype(np.float16)
        for name, images in (("train", train), ("test", test))
    }
    np.savez_compressed(Path(__file__).parent / "mnist.npz", **features)


if __name__ == "__main__":
    main()
