"""Likely label errors as lines: not known, none, some, many."""

import pytest

from core.datasets import LabelErrors, LabelSuspect
from core.labels import TumourLabel
from services.cli.audit_facts import audit_facts
from services.cli.rows import row
from services.converters import dataset_message
from tests.fakes.records import a_dataset, an_audit


def facts(errors: LabelErrors | None) -> list[str]:
    """What is told of them, without the names."""
    message = dataset_message(a_dataset(audit=an_audit(label_errors=errors)))
    told = audit_facts(row(message)["audit"])
    return [text for name, text in told if name in {"likely mislabelled", "suspect"}]


def errors(count: int, named: int) -> LabelErrors:
    suspects = (
        LabelSuspect(
            path=f"{number}.png",
            label=TumourLabel.GLIOMA,
            suggested=TumourLabel.NO_TUMOR,
            probability=0.914,
        )
        for number in range(named)
    )
    return LabelErrors(count=count, suspects=tuple(suspects))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, ["not known yet: braintumor train --set folds=5 looks for them"]),
        (errors(0, 0), ["none"]),
        (errors(1, 1), ["1", "0.png: glioma, the model says no_tumor (91%)"]),
    ],
    ids=["not known", "none", "one"],
)
def test_what_was_found_is_told(found: LabelErrors | None, told: list[str]) -> None:
    assert facts(found) == told


def test_masks_are_told_by_what_is_the_matter() -> None:
    message = dataset_message(a_dataset(audit=an_audit()))
    told = [(name, text) for name, text in audit_facts(row(message)["audit"]) if "mask" in name]
    assert told == [
        ("refused mask", "has several shades: glioma/3.png, glioma/4.png, glioma/5.png and 2 more"),
        ("odd mask", "marks hardly a pixel of the head: pituitary/7.png"),
        ("without a mask", "2 scans with a tumour"),
    ]


def test_of_masks_that_were_not_audited_nothing_is_told() -> None:
    message = dataset_message(a_dataset(audit=an_audit(masks=None)))
    assert not message.audit.HasField("masks")
    assert not [name for name, _ in audit_facts(row(message)["audit"]) if "mask" in name]


def test_only_the_likeliest_are_listed() -> None:
    told = facts(errors(73, 50))
    assert len(told) == 7
    assert told[0] == "73"
    assert told[5].startswith("4.png")
    assert told[6] == "and 68 more: see braintumor datasets audit"
