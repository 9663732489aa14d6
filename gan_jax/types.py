"""Types that all modules share: arrays, image sets, sources of batches, and the errors that a user reads."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

Array = jax.Array | np.ndarray  # of arguments; results inside a compiled step are jax.Array
PyTree = Any  # nested dicts, tuples and nodes whose leaves are arrays
Key = jax.Array  # one typed PRNG key, as `jax.random.key` returns it
Batch = Mapping[
    str, Any
]  # arrays with the same number of rows, such as "image": [b h w c] or [b d] float32, "label": [b] int32
Metrics = Mapping[str, jax.Array]  # scalars by name: "disc/loss", "gen/loss", "disc/real", "disc/fake"


def at_least_float32(x: Array) -> jax.Array:
    """Returns `x` as float32, or as float64 where it is float64, so that sums and comparisons are not in bfloat16."""
    return jax.numpy.asarray(x, jax.numpy.promote_types(jax.numpy.result_type(x), np.float32))


class UserError(Exception):
    """An error in what the user gave. The text names the values and the remedy; the command line prints it without a
    traceback. Where `shared` is true, every process of the run raises the error, and only the first prints it.
    """

    shared = False


class NoSplit(UserError):
    """The data set exists, but has no such split."""


class WriteError(UserError):
    """A file of a run could not be written: a full disk, a read-only directory."""


class Spec(NamedTuple):
    """The shapes, types and classes of the data, by which networks are built."""

    arrays: Mapping[str, jax.ShapeDtypeStruct]  # of one row, by name: "image" (h, w, c) or (d,), "label" ()
    classes: int = 0  # of "label"; 0: no labels
    meta: Mapping[str, Any] = MappingProxyType({})  # further facts, as JSON: names of classes, a sample rate

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image; where there are no images, of one row of the first array."""
        return tuple(self.arrays["image" if "image" in self.arrays else next(iter(self.arrays))].shape)

    def blank(self, rows: int) -> Batch:
        """Returns a batch of zeros whose labels are the classes in turn: networks are initialised with it, and it
        stands for rows of which nothing is known.
        """
        batch = {name: jax.numpy.zeros((rows, *x.shape), x.dtype) for name, x in self.arrays.items()}
        return batch | ({"label": jax.numpy.arange(rows, dtype=np.int32) % self.classes} if self.classes else {})


def spec_of(shape: tuple[int, ...], classes: int = 0, meta: Mapping[str, Any] = MappingProxyType({})) -> Spec:
    """Returns the Spec of float32 images of one shape, and of their labels where `classes` > 0."""
    arrays = {"image": jax.ShapeDtypeStruct(tuple(shape), np.dtype(np.float32))}
    label = {"label": jax.ShapeDtypeStruct((), np.dtype(np.int32))} if classes else {}
    return Spec(arrays | label, classes, meta)


def rows_of(batch: PyTree) -> int:
    """Returns the number of rows of a batch, or of any tree of [b ...]: that of its first array."""
    return jax.tree.leaves(batch)[0].shape[0]


@runtime_checkable
class Images(Protocol):
    """Images [n h w c], indexed along the first axis: an array, or images on disk that are read when indexed."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...


class ImageSet(NamedTuple):
    """Images, in host memory or on disk, with their labels and names."""

    images: Images  # [n h w c] uint8 in 0..255, or float32 in [-1, 1]; np.ndarray unless the set stays on disk
    labels: np.ndarray | None  # [n] int32 in [0, classes)
    classes: int  # 0: no labels
    name: str  # as given by the user
    digest: str  # 16 hex digits of the SHA-256 of images and labels; for a set on disk, of a description of its files
    names: tuple[str, ...] = ()  # names of the classes, where they have names
    facts: Mapping[str, Any] = MappingProxyType({})  # what was understood of the files, as JSON: `data.understood`

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by which sets are matched: where they have none, their numbers."""
        return self.names or tuple(map(str, range(self.classes)))

    @property
    def spec(self) -> Spec:
        meta = {"class_names": list(self.names)} if self.names else {}
        return spec_of(tuple(self.images.shape[1:]), self.classes, meta)

    def scaled(self, rows: Any = slice(None)) -> np.ndarray:
        """Returns some of the images, by default all, as networks take them: float32 [n h w c] in [-1, 1]."""
        images = np.asarray(self.images[rows])
        return images if images.dtype != np.uint8 else (images.astype(np.float32) * 2 - 255) * np.float32(1 / 255)


@dataclasses.dataclass(frozen=True)
class Source:
    """Batches as a function of (key, step): access is random, so the step is the whole position of a run in its data.

    `fetch(key, step)` runs on the host and returns what the device needs: the whole set where the source is `resident`
    (the same arrays every time), else the rows of that step. With a third argument, a slice, it returns only these of
    the rows, for a process that holds a part of the batch. `batch(fetched, key, step)` is traced into the compiled step
    and returns the batch, with images in [-1, 1]. Both take any key, so that each member of a population has its own
    order.

    Where fetching takes time there is `follow(key, step)`: it yields what `fetch` returns for this step, the next, and
    so on, prepared in the background; it takes a slice of the rows as well. It is for a single reader, and its threads
    end when it is dropped or closed, or raises.
    """

    fetch: Callable[..., PyTree]
    batch: Callable[[PyTree, Key, jax.Array], Batch]
    key: Key  # jax.random.key(seed)
    rows: int  # in one batch
    spec: Spec
    size: int  # examples in an epoch; 0: new ones are drawn for ever
    resident: bool  # whether `fetch` returns the same arrays every time
    name: str = ""  # of the data, for the user
    digest: str = ""  # distinguishes the data from others of that name
    follow: Callable[..., Iterator[PyTree]] | None = None  # None: `fetch` is fast
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what was understood of the data, as JSON
    # Of indices [k] below `size`: a batch of these examples on the host, as they are. None: there is no such set.
    examples: Callable[[np.ndarray], Batch] | None = None

    def __getitem__(self, step: int) -> Batch:
        return self.batch(self.fetch(self.key, step), self.key, jax.numpy.asarray(step))


class Control(NamedTuple):
    """A term of D's loss with a memory: `init() -> aux` gives the arrays that it keeps in the state, by name, and
    `step(aux, real, fake) -> (term, aux, metrics)`, of D's logits in each of its steps, returns what is added to its
    loss and all of aux anew.
    """

    init: Callable[[], dict[str, jax.Array]]
    step: Callable[[Mapping[str, Any], jax.Array, jax.Array], tuple[Any, dict[str, Any], Metrics]]


class Record(NamedTuple):
    """One measured value, and what is needed to compare it with others."""

    value: float
    higher_is_better: bool | None  # None: neither; the best value lies in between
    protocol: Mapping[str, Any]


class Estimate(NamedTuple):
    """Mean and standard deviation (n in the denominator) of a value computed on several parts of the samples."""

    mean: float
    std: float


class Draw(Protocol):
    """Samples of the averaged generator, from the same noise every time, and views of the game's other networks."""

    @property
    def how(self) -> Mapping[str, Any]:
        """How samples are made, for protocols: by which weights, and by which statistics of batch norm."""
        ...

    def __call__(self, rows: int | Batch, /) -> PyTree:
        """Returns samples for so many rows of which nothing is known (labels in turn), or for the rows of a batch on
        the host.
        """
        ...

    def ask(self, view: str, /, *inputs: Any) -> PyTree:
        """Applies the game's view of that name to inputs [b ...]; `state.gen` is then the averaged generator."""
        ...


class HeldOut(NamedTuple):
    """Images that a generator of given images did not learn from, by which people judge it."""

    given: Batch  # its inputs, on the host
    real: (
        np.ndarray
    )  # what should be made of them or, of domains without pairs, images of that domain; [n h w c] in [-1, 1]
    beside: np.ndarray | None = None  # what is given, as a person sees it, [n h w _]; None without pairs


class Evaluate(NamedTuple):
    """How a generator is measured. `measure(draw)` returns a record for each of `names`; the best checkpoint is chosen
    by the first of them, unless the user names another. `final` does the same with more samples, on the last and the
    best checkpoint when the run is over.
    """

    measure: Callable[[Draw], dict[str, Record]]
    names: tuple[str, ...]
    final: Callable[[Draw], dict[str, Record]] | None = None
    prepare: Callable[[], Any] | None = None  # called before a run begins
