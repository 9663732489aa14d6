"""When two measured values can be compared: when they were taken in one way, of one set, by one network."""

from collections.abc import Mapping
from typing import Any

from gan_jax.types import Record, UserError

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


def completed(records: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Record]:
    """The records, with what whoever drew the samples says of them ("weights": averaged or raw, and so on), unless a
    record says it itself. UserError for a value that does not say how it was taken: of how many samples ("fake"), or of how
    many real examples ("real").
    """
    found = {}
    for name, record in records.items():
        if not isinstance(record, Record) or not record.protocol:
            raise UserError(f"{name} = {record!r} has no protocol: give a Record(value, higher_is_better, protocol)")
        own = {**record.protocol, **{key: value for key, value in how.items() if key not in record.protocol}}
        if "weights" not in own:
            raise UserError(f"{name}: its protocol, {own}, does not say of which weights: averaged or raw")
        if not {"fake", "real"} & own.keys():
            raise UserError(f"{name}: its protocol, {own}, does not say of how many samples: fake, or real")
        found[name] = record._replace(protocol=own)
    return found
