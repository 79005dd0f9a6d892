"""The spellings of labels that people use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.labels import LABELS, TumourLabel, parse_label


def test_the_order_never_changes() -> None:
    assert LABELS == ("glioma", "meningioma", "no_tumor", "pituitary")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("glioma", TumourLabel.GLIOMA),
        ("Glioma_Tumor", TumourLabel.GLIOMA),
        ("glioma tumour", TumourLabel.GLIOMA),
        ("Gliomas", TumourLabel.GLIOMA),
        ("gl", TumourLabel.GLIOMA),
        ("meningioma_tumor", TumourLabel.MENINGIOMA),
        ("MENINGIOMA", TumourLabel.MENINGIOMA),
        ("Me", TumourLabel.MENINGIOMA),
        ("pituitary_tumor", TumourLabel.PITUITARY),
        ("Pituitary-Adenoma", TumourLabel.PITUITARY),
        (" pituitary ", TumourLabel.PITUITARY),
        ("no_tumor", TumourLabel.NO_TUMOR),
        ("no tumour", TumourLabel.NO_TUMOR),
        ("No-Tumors", TumourLabel.NO_TUMOR),
        ("notumor", TumourLabel.NO_TUMOR),
        ("no", TumourLabel.NO_TUMOR),
        ("none", TumourLabel.NO_TUMOR),
        ("healthy", TumourLabel.NO_TUMOR),
        ("Normal", TumourLabel.NO_TUMOR),
        ("negative", TumourLabel.NO_TUMOR),
    ],
)
def test_usual_spellings(text: str, label: TumourLabel) -> None:
    assert parse_label(text) is label


@pytest.mark.parametrize(
    "text",
    ["", " ", "tumor", "tumours", "yes", "brain", "glio", "glioma2", "Training", "1", "масса"],
)
def test_anything_else_is_no_label(text: str) -> None:
    assert parse_label(text) is None


@given(label=st.sampled_from(LABELS), data=st.data())
def test_case_and_separators_do_not_count(label: TumourLabel, data: st.DataObject) -> None:
    words = label.split("_")
    separator = data.draw(st.sampled_from(["", " ", "_", "-", "__", " - "]))
    text = separator.join(
        "".join(data.draw(st.sampled_from([c, c.upper()])) for c in word) for word in words
    )
    assert parse_label(text) is label


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert parse_label(text) in {*LABELS, None}
