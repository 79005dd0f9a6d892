"""Model versions: looking at them, comparing them, and saying which one serves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.comparison import PairedComparison, Recommendation, recommend
from core.errors import (
    AliasMoved,
    FailedPrecondition,
    InvalidArgument,
    NothingToRollBackTo,
    WrongTask,
)
from core.paging import Page, PageRequest
from core.ports import ArtefactStore, Clock, ModelPreloader, UnitOfWork, UnitOfWorkFactory
from core.registry import PRODUCTION, SERVING, AliasMove, ModelVersion, ReportFormat
from services.usecases.artefacts import MODEL_CARD, REPORT, check_files, find_file, read_file
from services.usecases.held_out import pair_versions
from services.usecases.promotion_gate import (
    NOTHING_SERVED,
    PASSED_OVER,
    check_export,
    check_fitness,
    check_scores,
    fitness_note,
)

MAX_COMPARED: Final = 20
MAX_REASON: Final = 500

_ALIAS: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ROLLBACK: Final = "rollback"
"""How the reason of a rollback begins in the history; a promotion's never does."""
_FORCED: Final = "forced: "
"""How that of a promotion begins which passed the checks over; no other does."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Versions in the order asked for, pairs of them, and which to use.

    ``notes`` say in words which could not be paired, and why.
    """

    versions: tuple[ModelVersion, ...]
    pairs: tuple[PairedComparison, ...]
    notes: tuple[str, ...]
    recommendation: Recommendation


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The move that was made, and in a sentence what the gate found; empty if it did not look, or
    if there is nothing to say."""

    move: AliasMove
    note: str = ""


class ModelUseCases:
    """Everything about model versions but making them."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        artefacts: ArtefactStore,
        preloader: ModelPreloader,
        clock: Clock,
    ) -> None:
        self._uow_factory = uow_factory
        self._artefacts = artefacts
        self._preloader = preloader
        self._clock = clock

    def get(self, version_id: str) -> ModelVersion:
        """Raises ``NotFound``."""
        with self._uow_factory() as uow:
            return uow.models.get(version_id)

    def list(self, page: PageRequest) -> Page[ModelVersion]:
        with self._uow_factory() as uow:
            return uow.models.list(page)

    def compare(self, version_ids: Sequence[str]) -> Comparison:
        """Two to ``MAX_COMPARED`` versions side by side, and paired where they can be.

        Raises ``InvalidArgument``, ``NotFound``, ``StoreUnavailable``.
        """
        distinct = len(set(version_ids)) == len(version_ids)
        if not distinct or not 2 <= len(version_ids) <= MAX_COMPARED:
            raise InvalidArgument.of("names", f"give 2 to {MAX_COMPARED} versions, each once")
        with self._uow_factory() as uow:
            versions = tuple(uow.models.get(version_id) for version_id in version_ids)
        if len({version.task for version in versions}) > 1:
            raise InvalidArgument.of(
                "names", "give versions of one task, segmenters or classifiers"
            )
        found = pair_versions(self._artefacts, versions)
        return Comparison(
            versions=versions,
            pairs=found.pairs,
            notes=found.notes,
            recommendation=recommend(versions, found.pairs),
        )

    def promote(
        self, version_id: str, *, alias: str, reason: str, force: bool, caller: str
    ) -> Moved:
        """Point the alias at the version; the next classification uses it.

        Empty means the alias by which a version of its task serves; no other task's version may
        have that one. Its files are read and checked first, its export must agree with what was
        trained, and where it would serve it must be of use and not worse than what does; ``force``
        with a reason passes all that over. An alias that points there already stays, and its last
        move is the answer. Where it will serve, the workers load it before the alias moves. Raises
        ``NotFound``, ``WrongTask``, ``ArtefactCorrupt``, ``ExportDiffers``,
        ``NotFitToServe``, ``WorseThanProduction``, ``StoreUnavailable``, ``InvalidArgument``.
        """
        alias, reason = _checked_alias(alias), _checked_reason(reason)
        if force and not reason:
            raise InvalidArgument.of("reason", "say why the checks are to be passed over")
        version = self.get(version_id)
        alias = alias or SERVING[version.task]
        _check_task(version, alias)
        if not force:
            check_files(self._artefacts, version.digest)
            check_export(self._artefacts, version)
        while True:
            serving = self._serving(alias)
            note = PASSED_OVER if force else self._compared(version, serving, alias)
            self._preload(alias, version)
            with self._uow_factory(write=True) as uow:
                uow.models.lock_alias(alias)
                latest = _latest_move(uow, alias)
                if latest is not None and latest.to_version == version_id:
                    return Moved(move=latest)
                said = _promotion(reason, forced=force)
                move = self._moved(uow, alias, version_id, caller, said)
                # By the move itself: an alias that is new could not be locked before.
                if move.from_version == (serving and serving.id):
                    uow.commit()
                    return Moved(move=move, note=note)
            # Somebody moved the alias meanwhile: compare with what serves now.

    def _preload(self, alias: str, version: ModelVersion) -> None:
        if alias in SERVING.values():
            self._preloader.preload(version.digest)

    def _serving(self, alias: str) -> ModelVersion | None:
        with self._uow_factory() as uow:
            aliased = uow.models.aliased(alias)
            return None if aliased is None else uow.models.get(aliased[0])

    def _compared(self, version: ModelVersion, serving: ModelVersion | None, alias: str) -> str:
        """What the gate says. Only aliases that serve requests are guarded."""
        if alias not in SERVING.values() or (serving is not None and serving.id == version.id):
            return ""
        check_fitness(version)
        if serving is None:
            return NOTHING_SERVED
        return check_scores(self._artefacts, version, serving)

    def roll_back(self, alias: str, *, reason: str, caller: str, from_version: str = "") -> Moved:
        """Point the alias (empty: production) back at the version it had before.

        Rolling back again goes one further back, to what was promoted before that: a rollback
        undoes a promotion, never another rollback. With ``from_version``, the one to leave, it is
        safe to repeat: a rollback from there that was the last move is the answer. Nothing keeps
        it from a version that is not fit to serve, but it says so. Raises
        ``NothingToRollBackTo``, ``AliasMoved`` if the alias points elsewhere, ``InvalidArgument``.
        """
        alias, reason = _checked_alias(alias) or PRODUCTION, _checked_reason(reason)
        with self._uow_factory() as uow:
            made = _rollback_made(uow, alias, from_version)
            if made is not None:
                return _rolled_back(uow, made)
            expected = uow.models.get(_version_before(uow, alias))
        self._preload(alias, expected)
        with self._uow_factory(write=True) as uow:
            uow.models.lock_alias(alias)  # before its history is read: two would undo the same
            made = _rollback_made(uow, alias, from_version)
            if made is not None:
                return _rolled_back(uow, made)
            before = _version_before(uow, alias)
            rolled_back = _rolled_back(
                uow, self._moved(uow, alias, before, caller, _rollback(reason))
            )
            uow.commit()
            return rolled_back

    def alias_moves(self, alias: str, page: PageRequest) -> Page[AliasMove]:
        """The history of an alias (empty: production), newest first. Raises ``InvalidArgument``."""
        alias = _checked_alias(alias) or PRODUCTION
        with self._uow_factory() as uow:
            return uow.models.alias_moves(alias, page)

    def report(self, version_id: str, wanted: ReportFormat = ReportFormat.HTML) -> bytes:
        """The evaluation report, a page of HTML, or the model card in Markdown; UTF-8.

        Raises ``NotFound``, ``ArtefactCorrupt``, and ``FailedPrecondition`` where a version from
        before there were model cards has none.
        """
        version = self.get(version_id)
        if wanted is ReportFormat.HTML:
            return read_file(self._artefacts, version.digest, REPORT)
        card = find_file(self._artefacts, version.digest, MODEL_CARD)
        if card is None:
            raise FailedPrecondition(
                f"{version.name} was made before there were model cards and has no model card. Its "
                "report says the same and more."
            )
        return card

    def _moved(
        self, uow: UnitOfWork, alias: str, version_id: str, caller: str, reason: str
    ) -> AliasMove:
        return uow.models.move_alias(alias, version_id, self._clock.now(), caller, reason)


def _rolled_back(uow: UnitOfWork, move: AliasMove) -> Moved:
    serves = move.alias in SERVING.values()
    return Moved(move=move, note=fitness_note(uow.models.get(move.to_version)) if serves else "")


def _latest_move(uow: UnitOfWork, alias: str) -> AliasMove | None:
    return next(iter(uow.models.alias_moves(alias, PageRequest(size=1)).items), None)


def _rollback_made(uow: UnitOfWork, alias: str, from_version: str) -> AliasMove | None:
    """The rollback from that version, if the same request has made it before.

    Raises ``AliasMoved`` if the alias points elsewhere for another reason.
    """
    latest = _latest_move(uow, alias)
    if latest is None or not from_version or latest.to_version == from_version:
        return None
    if latest.from_version == from_version and _is_rollback(latest.reason):
        return latest
    raise AliasMoved(alias, f"modelVersions/{from_version}", f"modelVersions/{latest.to_version}")


def _version_before(uow: UnitOfWork, alias: str) -> str:
    """What a rollback leads to. Raises ``NothingToRollBackTo``."""
    standing = standing_promotions(uow.models.alias_history(alias))
    if len(standing) < 2:
        raise NothingToRollBackTo(alias)
    return standing[-2]


def standing_promotions(history: Sequence[AliasMove]) -> tuple[str, ...]:
    """The versions whose promotions were not rolled back, oldest first; the last one serves.

    ``history`` is newest first, as the repository gives it.
    """
    standing: list[str] = []
    for move in reversed(history):
        if not _is_rollback(move.reason):
            standing.append(move.to_version)
            continue
        while standing and standing[-1] != move.to_version:
            standing.pop()
    return tuple(standing)


def _checked_alias(alias: str) -> str:
    if alias and not _ALIAS.fullmatch(alias):
        raise InvalidArgument.of(
            "alias", "use 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter"
        )
    return alias


def _check_task(version: ModelVersion, alias: str) -> None:
    """Raises ``WrongTask`` if what serves by the alias has another task."""
    for task, served_by in SERVING.items():
        if alias == served_by and version.task is not task:
            raise WrongTask(version.name, str(version.task), str(task), f"the alias '{alias}'")


def _checked_reason(reason: str) -> str:
    text = reason.strip()
    if len(text) > MAX_REASON or "\0" in text:
        raise InvalidArgument.of("reason", f"use at most {MAX_REASON} characters of plain text")
    return text


def _is_rollback(reason: str) -> bool:
    return reason == _ROLLBACK or reason.startswith(f"{_ROLLBACK}: ")


def _rollback(reason: str) -> str:
    return f"{_ROLLBACK}: {reason}" if reason else _ROLLBACK


def _promotion(reason: str, *, forced: bool) -> str:
    """A reason that reads like another kind of move says what it is of."""
    if forced:
        return f"{_FORCED}{reason}"
    return f"promotion: {reason}" if _is_rollback(reason) or reason.startswith(_FORCED) else reason
