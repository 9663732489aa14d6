"""When two measured values can be compared: when they were taken in one way, of one set, by one network."""

from collections.abc import Mapping
from typing import Any

from gan_jax.types import Record, UserError

LEAST = ("fake", "weights")  # what every protocol says: of how many samples, of which generator
BESIDE = frozenset({"floor", "sample_seed"})  # what is told with a protocol, or drawn anew, and changes no meaning


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields in which two protocols differ, each with both values."""
    return [
        f"{key}: {one.get(key, 'absent')!r} and {other.get(key, 'absent')!r}"
        for key in sorted({*one, *other} - BESIDE)
        if one.get(key) != other.get(key)
    ]


def require_same(protocols: Mapping[str, Mapping[str, Any]]) -> None:
    """UserError, with every field that differs, unless all protocols, by the name of what was measured, are one."""
    (first, reference), *rest = protocols.items()
    for name, protocol in rest:
        if differ := differences(reference, protocol):
            raise UserError(f"{first} and {name} were not measured in one way: " + "; ".join(differ))


def require(records: Mapping[str, Record]) -> None:
    """UserError for a value that does not say how it was taken: of how many samples ("fake") of which generator
    ("weights": averaged or raw), at the least.
    """
    for name, record in records.items():
        if not isinstance(record, Record) or not record.protocol:
            raise UserError(f"{name} = {record!r} has no protocol: give a Record(value, higher_is_better, protocol)")
        if lacks := [key for key in LEAST if key not in record.protocol]:
            raise UserError(f"{name}: its protocol, {dict(record.protocol)}, does not say {' and '.join(lacks)}")
