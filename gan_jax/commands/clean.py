"""Finds what is wrong with a set of images before a GAN is trained on it, and writes the set without it.

    pip install -e '.[clean]'
    gan-jax clean photos/ --report clean.html
    gan-jax clean photos/ --out photos_clean/ --remove outlier
    gan-jax clean faces.npz --test other.npz --json found.json

DATA is a folder (flat, or a sub-folder for each class, or train/ and test/), an .npz or an .npy. Nothing of it is ever
changed. Damaged files, wrong suffixes, images that are too small or show nothing, duplicates and near duplicates, also
across train and test, outliers, mixtures of grey and colour, of shapes and transparency, and small classes are told by
name. --out has the rest: files as they are, or a file of the same kind with the rest of the rows.
"""

import dataclasses
import html
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tqdm
from PIL import Image
from tyro.conf import Positional, arg

from gan_jax.config import Natural
from gan_jax.data.clean import alike, checks, look, rest, sources
from gan_jax.data.clean.kinds import KINDS, LEFT_OUT, MENDED, MENTIONED, NEVER, Finding
from gan_jax.data.clean.sources import Arrays, Entry, Folder
from gan_jax.data.ondisk import THREADS
from gan_jax.evaluation import features
from gan_jax.metrics.two_sample import nearest
from gan_jax.system.terminal import say
from gan_jax.types import UserError
from gan_jax.workdir import pictures, report
