"""Protocols of measured values: two values can be compared if they were measured in the same way."""

from collections.abc import Mapping
from typing import Any

from gan_jax.types import Record, UserError

BESIDE = frozenset({"floor", "answers", "sample_seed"})  # fields that do not affect whether two values can be compared


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Returns the fields in which two protocols differ, each as text with both values."""
    return [
        f"{key}: {one.get(key, 'absent')!r} and {other.get(key, 'absent')!r}"
        for key in sorted({*one, *other} - BESIDE)
        if one.get(key) != other.get(key)
    ]


def require_same(protocols: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError, listing every field that differs, unless all protocols agree; keys name what was measured."""
    (first, reference), *rest = protocols.items()
    for name, protocol in rest:
        if differ := differences(reference, protocol):
            raise UserError(f"{first} and {name} were not measured in one way: " + "; ".join(differ))


def completed(records: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Record]:
    """Returns the records with the fields of `how` added to their protocols.

    `how` describes the samples ("weights": averaged or raw, and so on); fields that a protocol already has are kept.
    Raises UserError for a value that is no Record or has no protocol, and for a protocol that still lacks "weights", or
    lacks both the number of samples ("fake") and the number of real examples ("real").
    """
    out = {}
    for name, record in records.items():
        if not isinstance(record, Record) or not record.protocol:
            raise UserError(f"{name} = {record!r} has no protocol: give a Record(value, higher_is_better, protocol)")
        fields = {**record.protocol, **{key: value for key, value in how.items() if key not in record.protocol}}
        if "weights" not in fields:
            raise UserError(f"{name}: its protocol, {fields}, does not say of which weights: averaged or raw")
        if not {"fake", "real"} & fields.keys():
            raise UserError(f"{name}: its protocol, {fields}, does not say of how many samples: fake, or real")
        out[name] = record._replace(protocol=fields)
    return out
