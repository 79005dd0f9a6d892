"""What tells one question from another."""

from dataclasses import fields, replace
from typing import Any

import pytest

from core.messages import Segmenter
from core.prediction import MaskFormat
from core.question import Question
from tests.fakes.records import a_question

OTHERS: dict[str, Any] = {
    "image_sha256": "b" * 64,
    "model_version": "m2",
    "digest": "e" * 64,
    "segmenter": Segmenter(version="s1", digest="f" * 64),
    "include_activation_map": True,
    "mask_format": MaskFormat.PNG,
}


def test_every_field_is_tried_below() -> None:
    assert set(OTHERS) == {field.name for field in fields(Question)}


@pytest.mark.parametrize("field", OTHERS)
def test_every_field_makes_another_question(field: str) -> None:
    other = replace(a_question(), **{field: OTHERS[field]})
    assert other.fingerprint("1.2.3") != a_question().fingerprint("1.2.3")


@pytest.mark.parametrize("changes", [{"version": "s2"}, {"digest": "0" * 64}])
def test_a_segmenter_is_its_version_and_its_content(changes: dict[str, str]) -> None:
    segmenter = Segmenter(version="s1", digest="f" * 64)
    one, other = (a_question(segmenter=s) for s in (segmenter, replace(segmenter, **changes)))
    assert one.fingerprint("1.2.3") != other.fingerprint("1.2.3")


def test_what_another_software_says_is_another_answer() -> None:
    assert a_question().fingerprint("1.2.3") != a_question().fingerprint("1.2.4")


def test_the_fingerprint_is_that_of_the_same_question_anywhere() -> None:
    question = a_question(mask_format=MaskFormat.PNG)
    assert question.fingerprint("1.2.3") == replace(question).fingerprint("1.2.3")
    assert len(question.fingerprint("1.2.3")) == 64
    assert question.image_sha256 not in question.fingerprint("1.2.3")
