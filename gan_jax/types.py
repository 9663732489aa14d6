"""The words everything else is written in: arrays, image sets, sources of batches, and the error a user reads."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array | np.ndarray  # what functions take; what they make inside a compiled step is jax.Array
PyTree = Any  # nested dicts, tuples and nodes whose leaves are arrays
Key = jax.Array  # one typed PRNG key, as `jax.random.key` makes it
Batch = Mapping[
    str, Any
]  # arrays with one number of rows, such as "image": [b h w c] or [b d] float32, "label": [b] int32
Metrics = Mapping[str, jax.Array]  # scalars by name: "disc/loss", "gen/loss", "disc/real", "disc/fake"


def at_least_float32(x: Array) -> jax.Array:
    """Returns `x` in float32, and float64 as it is: what is summed or compared is not left in bfloat16."""
    return jax.numpy.asarray(x, jax.numpy.promote_types(jax.numpy.result_type(x), np.float32))


class UserError(Exception):
    """Something the user gave cannot work. The text carries the values and the mend; the command line prints it without
    a traceback. One that is `shared` comes up in every process of the run, and is told by the first.
    """

    shared = False


class NoSplit(UserError):
    """The set is there, and has no such split."""


class WriteError(UserError):
    """What a run keeps could not be written: a full disk, a directory that is read-only."""


class Spec(NamedTuple):
    """What a network has to know of the data, and what a person calls what it makes."""

    arrays: Mapping[str, jax.ShapeDtypeStruct]  # of one row, by name: "image" (h, w, c) or (d,), "label" ()
    classes: int = 0  # of "label"; 0: no labels
    meta: Mapping[str, Any] = MappingProxyType({})  # JSON of what else the data are: names of classes, a sample rate

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image; where there is none, of the first array."""
        return tuple(self.arrays["image" if "image" in self.arrays else next(iter(self.arrays))].shape)

    def blank(self, rows: int) -> Batch:
        """A batch of zeros, its labels the classes in turn: what networks are initialised with, and what is known of the
        rows of which nothing else is known.
        """
        batch = {name: jax.numpy.zeros((rows, *x.shape), x.dtype) for name, x in self.arrays.items()}
        return batch | ({"label": jax.numpy.arange(rows, dtype=np.int32) % self.classes} if self.classes else {})


def spec_of(shape: tuple[int, ...], classes: int = 0, meta: Mapping[str, Any] = MappingProxyType({})) -> Spec:
    """Of plain images, and their labels where there are classes."""
    arrays = {"image": jax.ShapeDtypeStruct(tuple(shape), np.dtype(np.float32))}
    label = {"label": jax.ShapeDtypeStruct((), np.dtype(np.int32))} if classes else {}
    return Spec(arrays | label, classes, meta)


def rows_of(batch: PyTree) -> int:
    """The rows of a batch, or of any tree of [b ...]: those of its first array."""
    return jax.tree.leaves(batch)[0].shape[0]


class Images(Protocol):
    """[n h w c], indexed along the first axis: an array, or images on disk that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...


class ImageSet(NamedTuple):
    """Images, in host memory or on disk, and what they are called."""

    images: Images  # [n h w c] uint8 in 0..255, or float32 in [-1, 1]; a set that stays on disk is no np.ndarray
    labels: np.ndarray | None  # [n] int32 in [0, classes)
    classes: int  # 0: no labels
    name: str  # as the user named it
    digest: str  # 16 hex digits of the SHA-256 of images and labels; of a set on disk, of what is known of its files
    names: tuple[str, ...] = ()  # of the classes, where they have some

    @property
    def spec(self) -> Spec:
        meta = {"class_names": list(self.names)} if self.names else {}
        return spec_of(tuple(self.images.shape[1:]), self.classes, meta)

    def scaled(self, rows: Any = slice(None)) -> np.ndarray:
        """Some of the images, by default all, as networks see them: float32 [n h w c] in [-1, 1]."""
        images = np.asarray(self.images[rows])
        return images if images.dtype != np.uint8 else (images.astype(np.float32) * 2 - 255) * np.float32(1 / 255)


@dataclasses.dataclass(frozen=True)
class Source:
    """Batches as a function of (key, step): random access, so a run's position is its step and nothing else is kept.

    `fetch(key, step)` runs on the host and returns what the device needs: where the source is `resident` the whole set
    (the same arrays every time), else that step's rows; a third argument, a slice, asks for some of the rows only, as a
    process does that holds a part of the batch. `batch(fetched, key, step)` is traced into the compiled step and returns
    the batch, in [-1, 1]. Both take any key, so that the members of a population have each their own order.

    Where it takes time to fetch there is `follow(key, step)`, which yields what `fetch` returns for this step, the next,
    and so on, made in advance in the background; it too takes a slice of the rows. It is for a single reader, and its
    threads end when it is dropped or closed, or raises.
    """

    fetch: Callable[..., PyTree]
    batch: Callable[[PyTree, Key, jax.Array], Batch]
    key: Key  # jax.random.key(seed)
    rows: int  # rows of one batch
    spec: Spec
    size: int  # examples in an epoch; 0: drawn afresh for ever
    resident: bool  # whether `fetch` gives the same arrays every time
    name: str = ""  # what a person calls the data
    digest: str = ""  # what tells it from other data of that name
    follow: Callable[..., Iterator[PyTree]] | None = None  # None: `fetch` is quick

    def __getitem__(self, step: int) -> Batch:
        return self.batch(self.fetch(self.key, step), self.key, jax.numpy.asarray(step))


class Record(NamedTuple):
    """One measured value, and what must be known to compare it with another."""

    value: float
    higher_is_better: bool | None  # None: neither, the best lies between
    protocol: Mapping[str, Any]


class Estimate(NamedTuple):
    """Of a value taken from several parts of the samples: mean and standard deviation (n in the denominator)."""

    mean: float
    std: float


class Draw(Protocol):
    """What the averaged generator makes, from the same noise every time, and what else its run can be asked."""

    @property
    def how(self) -> Mapping[str, Any]:
        """What a protocol says of how samples are made: of which weights, by which statistics of batch norm."""
        ...

    def __call__(self, rows: int | Batch, /) -> PyTree:
        """Of so many rows of which nothing is known (labels in turn), or of the rows of a batch on the host."""
        ...

    def ask(self, view: str, /, *inputs: Any) -> PyTree:
        """What the game's view of that name makes of the inputs [b ...]; `state.gen` is then the averaged generator."""
        ...


class Evaluate(NamedTuple):
    """How a generator is measured: `measure(draw)` gives a record for each of `names`, the first of which is the one by
    which the best checkpoint is chosen, unless the user names another. `final` is the same with more samples, and measures
    the last and the best checkpoint when the run is over.
    """

    measure: Callable[[Draw], dict[str, Record]]
    names: tuple[str, ...]
    final: Callable[[Draw], dict[str, Record]] | None = None
    prepare: Callable[[], Any] | None = None  # called when a run is about to begin
