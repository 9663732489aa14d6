"""Devices: a mesh of two axes, `member`, over which the members of a population are split, and `data`, over which the
batch is. The state is whole on every device of a member, or split over `data` as well (FSDP).

The program is written for one device and compiled over the mesh, so losses and batch norm are over the global batch by
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
    """A mesh of `devices` devices (0: all there are), split over the `members` as far as they go evenly; the minibatches
    of `rows` rows are split over the rest.

    UserError when there are not so many devices, the rows cannot be split evenly, or a process would have none.
    """
    there = jax.devices()
    if not 0 <= devices <= len(there):
        raise UserError(
            f"--devices {devices}, but there {'is' if len(there) == 1 else 'are'} {len(there)} ({there[0].platform}); use 1 to {len(there)}, or 0 for all"
        )
    if jax.process_count() > 1 and devices not in (0, len(there)):
        raise UserError(
            f"--devices {devices}, but {jax.process_count()} processes have {len(there)} together, and all take part: leave --devices out"
        )
    count = devices or len(there)
    member_axis = math.gcd(count, members)
    if rows % (count // member_axis):
        each = count // member_axis
        raise UserError(
            f"--batch-size {rows} cannot be split over {each} devices; try {-(-rows // each) * each}, or --devices 1"
        )
    # Auto: under the default, Explicit, a gather from a whole array with split indices is an error.
    return jax.make_mesh(
        (member_axis, count // member_axis), (MEMBER, DATA), axis_types=(AxisType.Auto,) * 2, devices=there[:count]
    )


def core_each(members: int) -> int:
    """Makes JAX take this machine's CPU for several devices, for the rest of the process: as many as it has cores, and no
    more than split the `members` of a population evenly; how many, 1 where it is left as it is.

    XLA's threads share each operation of a program and wait for each other after it, which of small ones costs more than
    it gains; a program of its own on each core waits for nobody. Before any other use of JAX. What JAX_NUM_CPU_DEVICES or
    XLA_FLAGS say of the number stands, and one process among several is left alone.
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
    """For work of this process alone beside a run: its own devices, the first `count` or all, in place of the run's mesh,
    and products in float32; gives their mesh.
    """
    devices = jax.local_devices()[:count]
    grid = jax.make_mesh((len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices)
    with jax.set_mesh(grid), jax.default_matmul_precision("float32"):
        yield grid


def replicated(mesh: Mesh) -> NamedSharding:
    """The layout of what every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The layout whose leading axis is split over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def layout(mesh: Mesh, state: PyTree, population: bool, shard: bool) -> PyTree:
    """The layout of each array of `state`: a population's first axis over `member`; with `shard`, the longest axis that
    divides evenly over `data`; else whole.
    """

    def of(x: jax.ShapeDtypeStruct) -> NamedSharding:
        own = x.shape[1:] if population else x.shape
        rest = _split(own, mesh.shape[DATA]) if shard else ()
        return NamedSharding(mesh, PartitionSpec(*([MEMBER] if population else []), *rest))

    return jax.tree.map(of, state)


def _split(shape: tuple[int, ...], devices: int) -> tuple[str | None, ...]:
    """The longest axis that divides evenly over `data`, and none where there is no such axis."""
    even = [i for i, n in enumerate(shape) if n % devices == 0 and n >= devices]
    longest = max(even, key=lambda i: shape[i], default=None)
    return tuple(DATA if i == longest else None for i in range(len(shape)))


def place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Host arrays, the same in every process, as device arrays so laid out."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def global_array(x: Any) -> jax.Array:
        return jax.make_array_from_callback(np.shape(x), sharding, lambda index: np.asarray(x)[index])

    return jax.tree.map(global_array, tree)


def split_rows(tree: Tree) -> Tree:
    """Inside a compiled step: splits the leading axis of every array over the devices of the mesh in use; does nothing
    without one.

    Noise drawn inside the step needs it as the batch does: without a layout every device draws, and runs the networks
    on, all of it.
    """
    return _constrain(tree, lambda x: PartitionSpec(DATA))


def gather(tree: Tree) -> Tree:
    """Inside a compiled step: every array whole on each device that works on a batch, as a network needs its parameters;
    where the state is split this is the gathering of FSDP.
    """
    return _constrain(tree, lambda x: PartitionSpec())


def scatter(tree: Tree) -> Tree:
    """Inside a compiled step: every array split as `layout` splits a state; of gradients, the other half of FSDP."""
    devices = dict(jax.sharding.get_abstract_mesh().shape).get(DATA, 1)
    return _constrain(tree, lambda x: PartitionSpec(*_split(x.shape, devices)))


def _constrain(tree: Tree, spec: Callable[[jax.Array], PartitionSpec]) -> Tree:
    if DATA not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec(x)), tree)
