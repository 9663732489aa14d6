"""Device meshes with two axes: the members of a population are split over `member`, and batches over `data`. The state
of a member is replicated over its devices, or split over `data` as well (FSDP).

Programs are written for one device and compiled over the mesh, so losses and batch norm use the global batch by
construction.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gan_jax.types import PyTree, UserError

Tree = TypeVar("Tree")
MEMBER, DATA = "member", "data"


def make(devices: int, rows: int, members: int = 1) -> Mesh:
    """Makes a mesh of `devices` devices (0: all).

    The axis `member` has gcd(devices, members) devices, and the axis `data`, over which minibatches of `rows` rows are
    split, the rest. Raises UserError where there are fewer devices, the rows cannot be split evenly, or several
    processes would not use all of their devices.
    """
    avail = jax.devices()
    if not 0 <= devices <= len(avail):
        raise UserError(
            f"--devices {devices}, but there {'is' if len(avail) == 1 else 'are'} {len(avail)} ({avail[0].platform}); use 1 to {len(avail)}, or 0 for all"
        )
    if jax.process_count() > 1 and devices not in (0, len(avail)):
        raise UserError(
            f"--devices {devices}, but {jax.process_count()} processes have {len(avail)} together, and all take part: leave --devices out"
        )
    count = devices or len(avail)
    member_axis = math.gcd(count, members)
    if rows % (count // member_axis):
        each = count // member_axis
        raise UserError(
            f"--batch-size {rows} cannot be split over {each} devices; try {-(-rows // each) * each}, or --devices 1"
        )
    # Auto, because under the default, Explicit, gathering from a replicated array with split indices is an error.
    return jax.make_mesh(
        (member_axis, count // member_axis), (MEMBER, DATA), axis_types=(AxisType.Auto,) * 2, devices=avail[:count]
    )


def core_each(members: int) -> int:
    """Makes JAX treat the CPU as several devices, for the rest of the process; returns their number.

    It is the largest number, at most one for each core, that splits the `members` of a population evenly. XLA's threads
    share each operation of a program and wait for each other after it, which for small operations costs more than it
    gains; a separate program on each core need not wait. To be called before any other use of JAX. Changes nothing, and
    returns 1, where JAX_NUM_CPU_DEVICES or XLA_FLAGS set the number, and in a run of several processes.
    """
    settled = jax.config.jax_num_cpu_devices >= 0  # type: ignore[attr-defined]  # as JAX documents it
    given = settled or "device_count" in os.environ.get("XLA_FLAGS", "")
    if given or jax.distributed.is_initialized():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(n for n in range(1, min(cores, members) + 1) if members % n == 0)
    if count > 1:
        jax.config.update("jax_num_cpu_devices", count)
    return count


@contextlib.contextmanager
def local_mesh(count: int | None = None) -> Iterator[Mesh]:
    """Context for work of this process alone, apart from the run: uses a mesh of its own devices, the first `count` or
    all, in place of the run's mesh, and matrix products in float32. Yields that mesh.
    """
    devices = jax.local_devices()[:count]
    grid = jax.make_mesh((len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices)
    with jax.set_mesh(grid), jax.default_matmul_precision("float32"):
        yield grid


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding whose leading axis is split over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def layout(mesh: Mesh, state: PyTree, population: bool, shard: bool) -> PyTree:
    """Returns the sharding of each array of `state`, as a tree.

    The first axis of a population is split over `member`. With `shard`, the longest other axis that divides evenly is
    split over `data`. All else is replicated.
    """

    def of(x: jax.ShapeDtypeStruct) -> NamedSharding:
        shape = x.shape[1:] if population else x.shape
        rest = _split(shape, mesh.shape[DATA]) if shard else ()
        return NamedSharding(mesh, PartitionSpec(*([MEMBER] if population else []), *rest))

    return jax.tree.map(of, state)


def _split(shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    """The partition that splits the longest axis that divides evenly over `data`, or no axis if none does."""
    even = [i for i, n in enumerate(shape) if n % devices == 0 and n >= devices]
    longest = max(even, key=lambda i: shape[i], default=None)
    return tuple(DATA if i == longest else None for i in range(len(shape)))


def place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Returns host arrays, the same in every process, as device arrays with this sharding."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def global_array(x: Any) -> jax.Array:
        return jax.make_array_from_callback(np.shape(x), sharding, lambda index: np.asarray(x)[index])

    return jax.tree.map(global_array, tree)


def split_rows(tree: Tree) -> Tree:
    """Splits the leading axis of every array over `data`, inside a compiled step; does nothing without a mesh in use.

    Noise that is drawn inside the step needs it as much as the batch: without a sharding every device draws all of it,
    and runs the networks on all of it.
    """
    return _constrain(tree, lambda x: PartitionSpec(DATA))


def gather(tree: Tree) -> Tree:
    """Replicates every array over `data`, inside a compiled step, as networks need their parameters.

    Where the state is split, this is the all-gather of FSDP. Does nothing without a mesh in use.
    """
    return _constrain(tree, lambda x: PartitionSpec())


def scatter(tree: Tree) -> Tree:
    """Splits every array as `layout` splits a state, inside a compiled step; of gradients, FSDP's reduce-scatter."""
    devices = dict(jax.sharding.get_abstract_mesh().shape).get(DATA, 1)
    return _constrain(tree, lambda x: PartitionSpec(*_split(x.shape, devices)))


def _constrain(tree: Tree, spec: Callable[[jax.Array], PartitionSpec]) -> Tree:
    if DATA not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec(x)), tree)
