"""The tumour classes, their fixed order, and the spellings people use for them."""

import re
from enum import StrEnum
from typing import Final


class TumourLabel(StrEnum):
    """What a slice can show. The value is the name used in every file, table and message."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    NO_TUMOR = "no_tumor"
    PITUITARY = "pituitary"


LABELS: Final[tuple[TumourLabel, ...]] = tuple(TumourLabel)
"""The order of every probability vector and confusion matrix in the system."""

_STEMS: Final = {
    "glioma": TumourLabel.GLIOMA,
    "gliomas": TumourLabel.GLIOMA,
    "gl": TumourLabel.GLIOMA,
    "meningioma": TumourLabel.MENINGIOMA,
    "meningiomas": TumourLabel.MENINGIOMA,
    "me": TumourLabel.MENINGIOMA,
    "pituitary": TumourLabel.PITUITARY,
    "pituitaryadenoma": TumourLabel.PITUITARY,
    "pi": TumourLabel.PITUITARY,
    "no": TumourLabel.NO_TUMOR,
    "not": TumourLabel.NO_TUMOR,
    "none": TumourLabel.NO_TUMOR,
    "healthy": TumourLabel.NO_TUMOR,
    "normal": TumourLabel.NO_TUMOR,
    "negative": TumourLabel.NO_TUMOR,
}
_TUMOUR_SUFFIX: Final = re.compile(r"(tumou?rs?)$")


def parse_label(text: str) -> TumourLabel | None:
    """The label that a folder name or manifest cell means, or None if it is no known spelling.

    Case, spaces, hyphens and underscores do not count, nor does a trailing "tumor":
    ``Glioma_Tumor``, ``no tumor``, ``notumor`` and ``Healthy`` are all understood.
    """
    squeezed = re.sub(r"[\s_\-]+", "", text.strip().lower())
    return _STEMS.get(_TUMOUR_SUFFIX.sub("", squeezed))
