"""Devices: one mesh axis, `data`, over which the batch is split; the state is whole on every device.

The program is written for one device and compiled over the mesh, so losses and batch norm are over the global batch by
construction.
"""

from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gan_jax.types import UserError

Tree = TypeVar("Tree")
DATA = "data"


def make(devices: int, rows: int) -> Mesh:
    """A mesh of `devices` devices (0: all there are) for minibatches of `rows` rows, of which each device takes an
    equal share.

    UserError when there are not so many devices, or the rows cannot be split evenly.
    """
    there = jax.devices()
    if not 0 <= devices <= len(there):
        raise UserError(
            f"--devices {devices}, but there {'is' if len(there) == 1 else 'are'} {len(there)} ({there[0].platform}); use 1 to {len(there)}, or 0 for all"
        )
    count = devices or len(there)
    if rows % count:
        raise UserError(
            f"--batch-size {rows} cannot be split over {count} devices; try {-(-rows // count) * count}, or --devices 1"
        )
    # Auto: under the default, Explicit, a gather from a whole array with split indices is an error.
    return jax.make_mesh((count,), (DATA,), axis_types=(AxisType.Auto,), devices=there[:count])


def whole(mesh: Mesh) -> NamedSharding:
    """The layout of what every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def split_rows(tree: Tree) -> Tree:
    """Inside a compiled step: splits the leading axis of every array over the devices of the mesh in use; does nothing
    without one.

    Noise drawn inside the step needs it as the batch does: without a layout every device draws, and runs the networks
    on, all of it.
    """
    if DATA not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec(DATA)), tree)
