"""Protobuf messages as plain dictionaries, ready for JSON and for tables.

Fields keep their snake_case names and their order. Labels and other words are in lower case,
states, decisions and outcomes in upper case; what is not given is null. Times are ISO 8601 in
UTC. Durations are numbers with the unit in the key: ``latency_ms``, else ``..._seconds``.
Numbers that belong to labels become a mapping from label to number.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from braintumor.v1 import audit_pb2, classifier_pb2
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_UPPER_CASE: Final = frozenset({"JobState", "TrialState", "Decision", "Outcome"})
_LABEL: Final = "TumorLabel"


def row(message: Message) -> dict[str, Any]:
    """Every field of the message."""
    return dict(_item(message, field) for field in message.DESCRIPTOR.fields)


def prediction_row(prediction: audit_pb2.Prediction) -> dict[str, Any]:
    """An audit record; ``prediction`` is its name. Reviews are left out, and ``regions`` are null
    where nothing was to be outlined, or could be."""
    fields = row(prediction)
    for name in ("reviews", "outlined"):
        del fields[name]
    regions = [_region_row(region) for region in prediction.regions]
    fields["regions"] = regions if prediction.outlined else None
    return {"prediction": fields.pop("name"), **fields}


def reviewed_row(prediction: audit_pb2.Prediction) -> dict[str, Any]:
    """An audit record with its reviews."""
    return prediction_row(prediction) | {"reviews": [row(review) for review in prediction.reviews]}


def answer_row(path: str, response: classifier_pb2.ClassifyResponse) -> dict[str, Any]:
    """A classification, with the keys that the command line promises."""
    fields = row(response)
    names = ("prediction", "label", "probabilities", "decision", "model_version", "latency_ms")
    return {
        "path": path,
        **{name: fields[name] for name in names},
        "segmenter_version": fields["segmenter_version"],
        "cached": fields["cached"],
        "regions": [_region_row(region) for region in response.regions],
        "error": None,
    }


def refused_row(path: str, error: Mapping[str, str | None]) -> dict[str, Any]:
    """A classification that was refused; ``error`` holds its status name, reason and message."""
    return {
        "path": path,
        "prediction": None,
        "label": None,
        "probabilities": {},
        "decision": None,
        "model_version": None,
        "latency_ms": None,
        "segmenter_version": None,
        "cached": False,
        "regions": [],
        "error": dict(error),
    }


def word(enum: EnumDescriptor, number: int) -> str | None:
    """An enum value as people write it; None for the unspecified one."""
    if number == 0:
        return None
    value = enum.values_by_number.get(number)
    if value is None:  # of a newer server
        return str(number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
    text = value.name.removeprefix(prefix)
    return text if enum.name in _UPPER_CASE else text.lower()


def _item(message: Message, field: Any) -> tuple[str, Any]:
    value = getattr(message, field.name)
    if field.is_repeated:
        return field.name, _repeated(field, value)
    if field.message_type is not None and field.message_type.name == "Duration":
        return _duration(field.name, value if message.HasField(field.name) else None)
    if field.has_presence and not message.HasField(field.name):
        return field.name, None
    return field.name, _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Message):
        return row(value)
    if field.enum_type is not None:
        return word(field.enum_type, value)
    return None if value == "" else value


def _repeated(field: Any, values: Any) -> Any:
    kind = field.message_type
    if kind is None:
        return [_single(field, value) for value in values]
    if kind.GetOptions().map_entry:
        return {key: values[key] for key in sorted(values)}
    if _belongs_to_label(kind):
        return dict(_by_label(value) for value in values)
    return [row(value) for value in values]


def _belongs_to_label(kind: Any) -> bool:
    first = kind.fields[0]
    return first.enum_type is not None and first.enum_type.name == _LABEL


def _by_label(message: Message) -> tuple[str, Any]:
    fields = row(message)
    label = fields.pop("label")
    return label, next(iter(fields.values())) if len(fields) == 1 else fields


def _duration(name: str, value: Duration | None) -> tuple[str, float | None]:
    seconds = None if value is None else value.seconds + value.nanos / 1e9
    if name == "latency":
        return "latency_ms", None if seconds is None else round(seconds * 1000, 3)
    return f"{name}_seconds", seconds


def _region_row(region: classifier_pb2.Region) -> dict[str, Any]:
    box = region.box
    return {
        "box": [box.x0, box.y0, box.x1, box.y1],
        "score": region.score,
        "area_px": region.area_px,
        "area_mm2": region.area_mm2 if region.HasField("area_mm2") else None,
    }
