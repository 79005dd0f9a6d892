"""A cross-validation adds likely label errors to an audit, and to its page."""

from dataclasses import replace

import pytest

from core.datasets import Dataset, DatasetAudit
from core.errors import ArtefactCorrupt
from tests.fakes.audited import (
    GLIOMA,
    PITUITARY,
    an_audited_dataset,
    answers_out_of_fold,
    page_of,
)
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import blob_key
from workers.curation.label_audit import audit_labels, audit_unjudged


class World:
    """An audited data set and its store."""

    def __init__(self) -> None:
        self.store = FakeArtefactStore()
        self.dataset: Dataset = an_audited_dataset(self.store)

    @property
    def before(self) -> DatasetAudit:
        assert self.dataset.audit is not None
        return self.dataset.audit

    def audited(self, *doubted: str) -> DatasetAudit:
        answers = answers_out_of_fold(self.dataset, self.store, doubted)
        return audit_labels(self.dataset, self.before, answers, self.store)

    def unjudged(self) -> DatasetAudit:
        return audit_unjudged(self.dataset, self.before, "models were poor", self.store)

    def page(self, audit: DatasetAudit) -> str:
        return page_of(self.dataset, audit, self.store)


@pytest.fixture
def world() -> World:
    return World()


def test_suspects_are_in_the_audit_and_nothing_else_changes(world: World) -> None:
    audit = world.audited("004.png", "007.png")
    errors = audit.label_errors
    assert errors is not None
    assert errors.count == 2
    told = {s.path: (s.label, s.suggested, s.probability) for s in errors.suspects}
    assert told == {"004.png": (GLIOMA, PITUITARY, 0.94), "007.png": (PITUITARY, GLIOMA, 0.94)}
    before = world.before
    assert audit == replace(
        before,
        label_errors=errors,
        warnings=audit.warnings,
        page_sha256=audit.page_sha256,
    )


def test_the_warnings_are_told_anew(world: World) -> None:
    warnings = world.audited("004.png").warnings
    assert "old" not in warnings
    assert sum("1 slice is likely mislabelled" in text for text in warnings) == 1


def test_the_page_shows_each_suspect(world: World) -> None:
    audit = world.audited("004.png", "007.png")
    page = world.page(audit)
    assert audit.page_sha256 != world.before.page_sha256
    assert page.count("data:image/png;base64,") == 2
    assert "004.png<br>labelled <b>glioma</b>" in page
    assert "the model says <b>pituitary</b>, 94.0% probable" in page
    assert "Slices that are likely mislabelled: 2, the likeliest" in page
    assert "Not looked for yet" not in page
    assert "broken.png" in page  # what was left out at arrival is still told


def test_the_page_from_before_stays_readable(world: World) -> None:
    world.audited("004.png")
    assert "Not looked for yet" in world.page(world.before)


def test_the_page_says_when_more_were_found_than_it_shows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.curation.label_errors.MAX_SUSPECTS", 1)
    page = world.page(world.audited("004.png", "007.png"))
    assert "likely mislabelled: 2, of which the likeliest 1 are shown" in page


def test_nothing_found_is_told_too(world: World) -> None:
    audit = world.audited()
    assert audit.label_errors is not None
    assert audit.label_errors.count == 0
    assert "None found in the last cross-validation" in world.page(audit)
    assert not any("mislabelled" in text for text in audit.warnings)


def test_a_later_result_takes_the_place_of_an_earlier_one(world: World) -> None:
    world.dataset = replace(world.dataset, audit=world.audited("004.png"))
    audit = world.audited("007.png")
    assert audit.label_errors is not None
    assert [s.path for s in audit.label_errors.suspects] == ["007.png"]
    assert sum("likely mislabelled" in text for text in audit.warnings) == 1


def test_a_cross_validation_that_could_not_tell_is_told(world: World) -> None:
    audit = world.unjudged()
    assert (audit.label_errors, audit.labels_unjudged) == (None, "models were poor")
    (told,) = (text for text in audit.warnings if "cross-validation" in text)
    assert told.startswith("Likely label errors were looked for in a cross-validation, which could")
    page = world.page(audit)
    assert "which could not tell: models were poor.</p>" in page
    assert "Not looked for yet" not in page


def test_a_cross_validation_that_can_tell_takes_its_place(world: World) -> None:
    world.dataset = replace(world.dataset, audit=world.unjudged())
    audit = world.audited("004.png")
    assert audit.labels_unjudged == ""
    assert not any("could not tell" in text for text in audit.warnings)


def test_what_an_earlier_cross_validation_told_stays(world: World) -> None:
    world.dataset = replace(world.dataset, audit=world.audited("004.png"))
    assert world.unjudged() == world.before


def test_a_picture_that_is_gone_is_told(world: World) -> None:
    sha256 = answers_out_of_fold(world.dataset, world.store).items[4].sha256
    world.store.delete(blob_key(sha256))
    with pytest.raises(ArtefactCorrupt):
        world.audited("004.png")
