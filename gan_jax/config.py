"""The flags that every experiment has. An experiment's configuration inherits them; the text under a field is its
`--help`.
"""

import dataclasses
import inspect
import itertools
import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from gan_jax.types import UserError

MOST = 1_000  # limit of the number of seeds


class Bounds(NamedTuple):
    """The range of a number in a configuration. Without bounds an integer is at least 1, and a fractional number at
    least 0.
    """

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def fault(self, value: float) -> str | None:
        """Returns what is wrong with the value, as text; None if it is in the range."""
        if not (math.isfinite(value) and value >= self.least):
            return f"it must be at least {self.least:g}{'' if isinstance(value, int) else ' and finite'}"
        if not value > self.above:
            return f"it must be more than {self.above:g}"
        return None if value < self.below else f"it must be in [{self.least:g}, {self.below:g})"


# Types of fields: the annotation of a field gives the range of its flag.
Positive = Annotated[float, Bounds(least=0, above=0)]  # a learning rate
Fraction = Annotated[float, Bounds(least=0, below=1)]  # a moment, a rate of dropout
Natural = Annotated[int, Bounds(least=0)]  # 0, 1, ...
Anything = Annotated[int, Bounds()]


class Member(NamedTuple):
    """One of the runs that a population trains together."""

    label: str  # "seed 3", "lr 0.0002", "lr 0.0002, seed 3"
    group: str  # the label without the seed: members of one group differ by their seed alone
    seed: int
    values: Mapping[str, float]  # the swept fields

    @property
    def stem(self) -> str:
        """The label as part of a file name."""
        return self.label.replace(", ", "_").replace(" ", "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run is stored and computed, how long it is, and what it writes."""

    workdir: str = ""
    """Directory of the run (default: runs/NAME of the experiment). Started again with the same one, a run continues."""
    change: tuple[str, ...] = ()
    """Names of flags that may have other values than at the start before: --change lr. The record notes old and new."""
    start_from: str = ""
    """Begin with the weights and averages of the run in this directory, as far as their shapes fit; optimisers are fresh."""
    freeze_disc: Natural = 0
    """Leave the first layers of D, so many, as they begin, such as those of --start-from (FreezeD)."""
    seed: Natural = 0
    """Seed of weights, data order and noise, which are all functions of (seed, step)."""
    seeds: int = 1
    """Train this many members, with seeds from SEED on, as one program; metrics are given per member, with mean and std."""
    sweep: tuple[str, ...] = ()
    """Train a member for each value, or combination of values, of fractional flags: --sweep lr=1e-4,2e-4 b1=0,0.5"""
    steps: int = 10_000
    """Rounds of the game: each some discriminator steps and one generator step."""
    batch_size: int = 64
    """Real images of one discriminator step."""
    accumulate: int = 1
    """Process each batch in this many parts, to save memory; the same update, except for batch norm and dropout."""
    log_every: int = 100
    """Steps between rows of metrics.jsonl."""
    sample_every: Natural = 1_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: Natural = 0
    """Steps between evaluations; 0 for the last only."""
    checkpoint_every: Natural = 1_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    best: str = ""
    """The metric by which the best checkpoint is chosen (default: the first that the experiment measures)."""
    patience: Natural = 0
    """Stop early when the metric of --best has not improved in this many evaluations; 0: never."""
    on_divergence: Literal["stop", "rollback"] = "stop"
    """When a value (in a population: of every member) is not finite: stop, or go back to the last good checkpoint, with new noise."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Type of the networks' computations. Parameters, losses, penalties and statistics are float32 (float64 with float64)."""
    matmul_precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Lowest precision of float32 matrix products and convolutions on GPU and TPU: tensorfloat32 is faster on a GPU."""
    steps_per_call: Natural = 0
    """Rounds in one call of the compiled program; 0: chosen for speed. Data too large for the device is sent every round."""
    compile_cache: bool = True
    """Keep compiled programs in the user's cache directory, or JAX_COMPILATION_CACHE_DIR, for a faster next start."""
    devices: Natural = 0
    """Number of devices to use; 0: all. Members are split over them first, then the batch."""
    shard_state: bool = False
    """Split parameters, averages and optimiser state over the devices too (FSDP), for networks too large for one."""
    coordinator: str = ""
    """HOST:PORT of process 0, for runs of several processes; not needed under Slurm, Open MPI, Kubernetes, Cloud TPU."""
    num_processes: Natural = 0
    """Number of processes of the run, where --coordinator is given."""
    process_id: Anything = -1
    """Index of this process, from 0."""

    def __post_init__(self) -> None:
        kinds = _kinds(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind, bounds = kinds[field.name]
            # An array is a value of a sweep, which was checked before.
            if kind in (int, float) and isinstance(value, (int, float)) and (fault := bounds.fault(value)):
                raise UserError(f"--{field.name.replace('_', '-')} {value}: {fault}")
        if self.seeds > MOST:
            raise UserError(f"--seeds {self.seeds}: at most {MOST:,}")
        names = {field.name for field in dataclasses.fields(self)}
        if unknown := [name for name in self.change if name.replace("-", "_") not in names]:
            raise UserError(f"--change {' '.join(unknown)}: there is no such flag")
        if self.seed + self.seeds > 2**32:
            raise UserError(f"--seed {self.seed} and --seeds {self.seeds}: the last seed must be less than 2^32")
        if self.batch_size % self.accumulate:
            even = -(-self.batch_size // self.accumulate) * self.accumulate
            raise UserError(
                f"--accumulate {self.accumulate} cannot split --batch-size {self.batch_size} evenly; try --batch-size {even}"
            )
        if self.patience and not self.evaluate_every:
            raise UserError(
                f"--patience {self.patience} counts evaluations while training: give --evaluate-every, in steps"
            )
        self._check_processes()
        self.members()

    def _check_processes(self) -> None:
        given = (self.coordinator != "", self.num_processes > 0, self.process_id != -1)
        if self.process_id < -1:
            raise UserError(f"--process-id {self.process_id}: it counts from 0")
        if any(given) and not all(given):
            raise UserError(
                f"--coordinator, --num-processes and --process-id go together; got {self.coordinator!r}, {self.num_processes} and {self.process_id}"
            )
        if all(given) and not 0 <= self.process_id < self.num_processes:
            raise UserError(
                f"--process-id {self.process_id} of --num-processes {self.num_processes}: it must be 0 to {self.num_processes - 1}"
            )
        host, _, port = self.coordinator.rpartition(":")
        if self.coordinator and not (host and port.isdigit() and 0 < int(port) < 2**16):
            raise UserError(f"--coordinator {self.coordinator}: HOST:PORT is needed, such as 10.0.0.1:1234")

    @property
    def population(self) -> bool:
        return self.seeds > 1 or bool(self.sweep)

    def members(self) -> tuple[Member, ...]:
        """Returns a member for every combination of the swept values and every seed. Raises UserError for what cannot
        be swept.
        """
        axes = [_axis(self, text) for text in self.sweep]
        names = [name for name, _ in axes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(f"--sweep names {', '.join(sorted(twice))} twice; give all its values at once")
        members = []
        for values in itertools.product(*(values for _, values in axes)):
            group = ", ".join(f"{name} {value:g}" for name, value in zip(names, values, strict=True))
            for seed in range(self.seed, self.seed + self.seeds):
                words = [group] if group else []
                words += [f"seed {seed}"] if self.seeds > 1 or not group else []
                members.append(Member(", ".join(words), group, seed, dict(zip(names, values, strict=True))))
        return tuple(members)


def _kinds(config: type) -> dict[str, tuple[Any, Bounds]]:
    """Type and bounds of every field. A field that is given another default keeps its bounds, unless others are
    declared.
    """
    kinds: dict[str, tuple[Any, Bounds]] = {}
    for owner in reversed(config.__mro__):
        for name, hint in inspect.get_annotations(owner, eval_str=True).items():
            kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            declared = next((note for note in notes if isinstance(note, Bounds)), None)
            before = kinds.get(name)
            inherited = before[1] if before and before[0] is kind else Bounds(least=1 if kind is int else 0)
            kinds[name] = kind, declared or inherited
    return kinds


def _axis(config: Run, text: str) -> tuple[str, tuple[float, ...]]:
    """A swept field and its values, from NAME=VALUE,VALUE,..."""
    name, _, listed = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    sweepable = {
        field.name: field.default
        for field in dataclasses.fields(config)
        if _kinds(type(config))[field.name][0] is float
    }
    if name not in sweepable:
        raise UserError(
            f"--sweep {text}: {name!r} cannot be swept, only fractional values can, which leave the program as it is: {', '.join(sweepable)}"
        )
    try:
        values = tuple(float(value) for value in listed.split(","))
    except ValueError:
        raise UserError(f"--sweep {text}: NAME=VALUE,VALUE,... is needed, such as {name}=0.1,0.2") from None
    if len({f"{value:g}" for value in values}) < len(values):  # the labels of members must differ
        raise UserError(f"--sweep {text}: a value stands there twice; for equal members with other seeds use --seeds")
    if (given := getattr(config, name)) != sweepable[name]:
        raise UserError(
            f"--sweep {text} and --{name.replace('_', '-')} {given} together: give the values in one of them"
        )
    for value in values:
        try:
            dataclasses.replace(config, **{name: value}, sweep=())  # type: ignore[arg-type]
        except UserError as error:
            raise UserError(f"--sweep {text}: {error}") from None
    return name, values


def require_used(config: Run, flag: str, users: Mapping[str, Collection[str]]) -> None:
    """Raises UserError where a field is given, or swept, that the choice of `flag` does not read. `users` has the words of
    `flag` with which each field is read.
    """
    chosen, defaults = getattr(config, flag), {field.name: field.default for field in dataclasses.fields(config)}
    swept = {name for text in config.sweep for name in [_axis(config, text)[0]]}
    for name, words in users.items():
        if chosen not in words and (name in swept or getattr(config, name) != defaults[name]):
            raise UserError(
                f"--{name.replace('_', '-')} is for --{flag} {' or '.join(words)}, and this is --{flag} {chosen}: leave it out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromSet:
    """Where the images come from."""

    data: str = "digits"
    """digits (bundled); a TFDS name such as mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or
    .npy; a folder of images.
    """
    size: Natural = 0
    """Side, in pixels, to which the images of a folder are resized; 0: they have the same size already."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """How they are resized: shorter side, then centre crop; both sides; or longer side, then padding."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromSounds:
    """Where the sounds come from."""

    data: str = "vowels"
    """vowels (made by gan_jax); a folder of sounds, perhaps in classes, perhaps in train and test; an .npz."""
    rate: int = 8_000
    """Samples in a second to which sounds are brought."""
    length: int = 8_192
    """Samples of each sound: what is longer is cut off, what is shorter is followed by silence."""
    every: Natural = 0
    """Samples after which what is longer gives another sound, and so on; 0: it is cut off."""
    loudness: Literal["peak", "as_is"] = "peak"
    """peak: each as loud as all others; as_is: as it was recorded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromClips:
    """Where the clips come from."""

    data: str = "moving"
    """moving (drawn by gan_jax; of the flags below only --length and --size are for it); a folder of clips (animated GIF, WebP
    or PNG, MP4, folders of numbered frames, strips), perhaps in classes, perhaps in train and test; an .npz."""
    length: int = 16
    """Frames of each clip."""
    every: int = 1
    """Frames of a file from one that is taken to the next."""
    stride: Natural = 0
    """Frames of a file after which another clip begins, and so on; 0: one clip of each file."""
    size: int = 32
    """Side, in pixels, to which the middle square of all frames is resized."""
    rate: float = 0.0
    """Frames a second to which files that say how fast they are are brought; 0: their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromTexts:
    """Where the lines come from."""

    data: str = "syllables"
    """syllables (made by gan_jax); a text file, a line an example; a folder with train.txt and test.txt."""
    length: int = 12
    """Characters or words of a line; longer ones are left out, shorter ones end."""
    unit: Literal["characters", "words"] = "characters"
    """What is a symbol."""
    stream: bool = False
    """A text is one, and not lines: it is cut into stretches of this length."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromImages(FromSet):
    """How the images are read."""

    flip: bool = False
    """Mirror each image left to right with probability 1/2."""
    shift: Natural = 0
    """Move each image by up to so many pixels, up or down and left or right; its edge pixels fill what is left."""
    stream: bool = False
    """Read images from disk as they are needed (by Grain); sets that would fill half of the memory always are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmented:
    """What is done to all images that D sees, real and fake."""

    augment: Literal["none", "diffaugment", "ada"] = "none"
    """For few images: diffaugment always changes colours, moves and cuts out; ada does more, as often as D overfits.
    With --flip ada also mirrors, turns and inverts, which changes digits and letters into others.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """How samples are measured."""

    evaluate_samples: int = 2_000
    """Fakes that are generated for an evaluation during training."""
    final_samples: int = 10_000
    """Fakes with which the last and the best checkpoint are measured when the run is over."""
    features: str = ""
    """What metrics are computed on: none (nothing is measured); pixels; inception, or a path of its weights. Default: a
    classifier of the data, if it has labels."""


# Where a run is stored and computed. These make no difference to its results, except for rounding.
PLACE = frozenset({"workdir", "compile_cache", "devices", "shard_state", "coordinator", "num_processes", "process_id"})
# A run may be continued with other values of these; all other fields identify the run.
MAY_DIFFER = PLACE | {
    "change",
    "steps",
    "steps_per_call",
    "log_every",
    "sample_every",
    "evaluate_every",
    "checkpoint_every",
    "best",
    "patience",
    "on_divergence",
    "final_samples",
    "data",
    "stream",  # the same batches, read elsewhere
}
