"""What a model version said about each slice it never saw, kept so that versions can be paired.

Stored with the version as ``held_out.json``; written by the trainer, read by the comparison.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from core.labels import LABELS, TumourLabel
from core.prediction import Decision

FILE_NAME: Final = "held_out.json"
_DIGITS: Final = 6
_FORMAT: Final = 1


class HeldOut(Protocol):
    """A slice that was held out, whatever was said about it."""

    @property
    def sha256(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def label(self) -> TumourLabel: ...


@dataclass(frozen=True, kw_only=True)
class HeldOutSlice:
    """One slice and the answer to it.

    ``sha256`` is that of the encoded picture, ``group`` the patient or the nearest thing known,
    never empty. ``probabilities`` follow ``LABELS`` and are calibrated.
    """

    sha256: str
    group: str
    label: TumourLabel
    probabilities: tuple[float, ...]
    decision: Decision

    @property
    def predicted(self) -> int:
        """The place in ``LABELS`` of the most probable class, the first of equals."""
        return max(range(len(LABELS)), key=self.probabilities.__getitem__)


@dataclass(frozen=True, kw_only=True)
class HeldOutPredictions:
    """Every held-out slice of a version; ``protocol`` says in words how they were held out."""

    protocol: str
    slices: tuple[HeldOutSlice, ...]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of which slices were held out: equal digests mean the same split."""
        return split_digest(self.slices)

    def to_json(self) -> bytes:
        """Canonical JSON; probabilities are rounded to 6 digits."""
        values = {
            "format": _FORMAT,
            "labels": LABELS,
            "protocol": self.protocol,
            "split_digest": self.digest,
            "slices": [_slice_to_json(s) for s in self.slices],
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "HeldOutPredictions":
        """Raises ``ValueError`` for text that :meth:`to_json` of this version did not write."""
        try:
            values = json.loads(text)
            if values["format"] != _FORMAT or tuple(values["labels"]) != LABELS:
                raise ValueError("the held-out predictions are of another format")
            slices = tuple(_slice_from_json(s) for s in values["slices"])
            return cls(protocol=values["protocol"], slices=slices)
        except (KeyError, TypeError) as exc:
            raise ValueError("the held-out predictions cannot be read") from exc


def split_digest(slices: Iterable[HeldOut]) -> str:
    """Hex SHA-256 over picture, group and label of each slice, whatever their order."""
    lines = sorted(f"{s.sha256}\0{s.group}\0{s.label}" for s in slices)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _slice_to_json(item: HeldOutSlice) -> dict[str, Any]:
    return {
        "sha256": item.sha256,
        "group": item.group,
        "label": item.label,
        "probabilities": [round(p, _DIGITS) for p in item.probabilities],
        "decision": item.decision,
    }


def _slice_from_json(values: dict[str, Any]) -> HeldOutSlice:
    probabilities = tuple(float(p) for p in values["probabilities"])
    if len(probabilities) != len(LABELS):
        raise ValueError(f"{len(probabilities)} probabilities for {len(LABELS)} classes")
    return HeldOutSlice(
        sha256=values["sha256"],
        group=values["group"],
        label=TumourLabel(values["label"]),
        probabilities=probabilities,
        decision=Decision(values["decision"]),
    )
