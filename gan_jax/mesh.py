"""Devices: a mesh of two axes, `member`, over which the members of a population are split, and `data`, over which the
batch is. The state is whole on every device of a member, or split over `data` as well (FSDP).

The program is written for one device and compiled over the mesh, so losses and batch norm are over the global batch by
construction.
"""

import math
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
    apart = math.gcd(count, members)
    if rows % (count // apart):
        each = count // apart
        raise UserError(
            f"--batch-size {rows} cannot be split over {each} devices; try {-(-rows // each) * each}, or --devices 1"
        )
    # Auto: under the default, Explicit, a gather from a whole array with split indices is an error.
    return jax.make_mesh(
        (apart, count // apart), (MEMBER, DATA), axis_types=(AxisType.Auto,) * 2, devices=there[:count]
    )


def whole(mesh: Mesh) -> NamedSharding:
    """The layout of what every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def layout(mesh: Mesh, state: PyTree, population: bool, shard: bool) -> PyTree:
    """The layout of each array of `state`: a population's first axis over `member`; with `shard`, the longest axis that
    divides evenly over `data`; else whole.
    """

    def of(x: jax.ShapeDtypeStruct) -> NamedSharding:
        axes: list[str | None] = [MEMBER] if population else []
        axes += [None] * (len(x.shape) - len(axes))
        even = [
            i for i, n in enumerate(x.shape) if axes[i] is None and n % mesh.shape[DATA] == 0 and n >= mesh.shape[DATA]
        ]
        if shard and even:
            axes[max(even, key=lambda i: x.shape[i])] = DATA
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree.map(of, state)


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
    return _constrain(tree, PartitionSpec(DATA))


def gather(tree: Tree) -> Tree:
    """Inside a compiled step: every array whole on each device that works on a batch, as a network needs its parameters;
    where the state is split this is the gathering of FSDP, and its transpose adds up and splits the gradients.
    """
    return _constrain(tree, PartitionSpec())


def _constrain(tree: Tree, spec: PartitionSpec) -> Tree:
    if DATA not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec), tree)
