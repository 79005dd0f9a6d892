"""How well a segmenter outlined each tumour it never saw, kept so that versions can be paired.

Stored with the version as ``held_out_outlines.json``; written by the trainer, read by the
comparison.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from core.held_out import split_digest
from core.labels import TumourLabel

FILE_NAME: Final = "held_out_outlines.json"
_DIGITS: Final = 6
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class HeldOutOutline:
    """One slice with a tumour. ``sha256`` is that of the encoded picture, ``group`` the patient or
    the nearest thing known, never empty; ``dice``, 0..1, compares all regions with the truth."""

    sha256: str
    group: str
    label: TumourLabel
    dice: float


@dataclass(frozen=True, kw_only=True)
class HeldOutOutlines:
    """Every held-out slice with a tumour; ``protocol`` says in words how they were held out."""

    protocol: str
    slices: tuple[HeldOutOutline, ...]

    def to_json(self) -> bytes:
        """Canonical JSON; Dice coefficients are rounded to 6 digits."""
        values = {
            "format": _FORMAT,
            "protocol": self.protocol,
            "split_digest": split_digest(self.slices),
            "slices": [vars(s) | {"dice": round(s.dice, _DIGITS)} for s in self.slices],
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "HeldOutOutlines":
        """Raises ``ValueError`` for text that :meth:`to_json` of this version did not write."""
        try:
            values = json.loads(text)
            if values["format"] != _FORMAT:
                raise ValueError("the held-out outlines are of another format")
            slices = tuple(_slice_from_json(s) for s in values["slices"])
            return cls(protocol=values["protocol"], slices=slices)
        except (KeyError, TypeError) as exc:
            raise ValueError("the held-out outlines cannot be read") from exc


def _slice_from_json(values: dict[str, Any]) -> HeldOutOutline:
    return HeldOutOutline(
        sha256=values["sha256"],
        group=values["group"],
        label=TumourLabel(values["label"]),
        dice=float(values["dice"]),
    )
