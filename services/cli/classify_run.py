"""Sends scans to the server, eight at a time, and shows the answers in the order of the scans."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final

from braintumor.v1 import classifier_pb2

from core.ordered_ids import ordered_uuid
from core.registry import SEGMENTATION
from services.cli.aliases import pointed_at
from services.cli.client import Client, with_retries
from services.cli.in_order import in_order
from services.cli.options import resource
from services.cli.output import Column, Row
from services.cli.refusals import Refusal, ServerRefused, file_status
from services.cli.region_words import regions_in_words
from services.cli.rows import answer_row, refused_row
from services.cli.session import ALL_ANSWERED, SOME_REFUSED, UNREACHABLE, Session

NOT_A_DEVICE: Final = "Decision support for research, not a medical device."
ANSWER_SECONDS: Final = 60.0

_Error = dict[str, str | None]
"""Status, reason and message, as a row has them."""

_MARKS: Final = {"ABSTAINED": "? ABSTAINED", "OUT_OF_DISTRIBUTION": "! OUT_OF_DISTRIBUTION"}
_STYLES: Final = {"ABSTAINED": "bold yellow", "OUT_OF_DISTRIBUTION": "bold magenta"}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the caller wants of each scan.

    ``regions`` is None for whoever wants them where the server has a segmenter; ``pixel_spacing``
    is in millimetres, to the right and down.
    """

    model: str = ""
    overlay_dir: Path | None = None
    mask_dir: Path | None = None
    regions: bool | None = None
    pixel_spacing: tuple[float, float] | None = None

    @property
    def pictures(self) -> bool:
        """Whether anything is to be drawn."""
        return self.overlay_dir is not None or self.mask_dir is not None


@dataclass(frozen=True)
class Scan:
    """A picture and the stem of the files that are written for it."""

    path: Path
    stem: str


@dataclass(frozen=True)
class Answer:
    """A classification, and why its tumour could not be outlined, if that is so."""

    response: classifier_pb2.ClassifyResponse
    without_regions: Refusal | None = None


class ClassifyRun:
    """One run of the command over one connection."""

    def __init__(self, connected: Session, wishes: Wishes) -> None:
        self._client = connected.client
        self._out = connected.out
        self._wishes = wishes
        self._model = resource("modelVersions", wishes.model) if wishes.model else ""
        self._lost = Event()
        self._regions = wishes.regions or False

    def run(self, pictures: Sequence[Path]) -> int:
        """Ask and show; the exit status. Raises ``ServerRefused`` if no server answers."""
        begin = time.monotonic()
        rows = self.ask(pictures)
        if not self._out.as_json:
            self.summarise(rows, time.monotonic() - begin)
        return self._status(rows)

    def ask(self, pictures: Sequence[Path]) -> list[Row]:
        """A row for each picture, in their order; for a program each is printed as it comes.

        Raises ``ServerRefused`` if no server answers at the start.
        """
        self._client.check_reachable()
        if self._wishes.regions is None:
            self._regions = has_segmenter(self._client)
        for folder in (self._wishes.overlay_dir, self._wishes.mask_dir):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        return list(self._shown(in_order(self._answer, scans(pictures)), len(pictures)))

    def summarise(self, rows: Sequence[Row], seconds: float) -> None:
        """The table and the summary, for a person."""
        self._out.table(rows, _columns(rows))
        self._out.line()
        self._out.line(_summary(rows, seconds))
        for what, folder in (
            ("Overlays", self._wishes.overlay_dir),
            ("Masks", self._wishes.mask_dir),
        ):
            if folder is not None:
                self._out.line(f"{what} are in {folder}.")
        self._out.line(NOT_A_DEVICE)

    def _shown(self, rows: Iterable[Row], total: int) -> Iterator[Row]:
        with self._progress(total) as advance:
            for row in rows:
                if self._out.as_json:
                    self._out.row(row)
                advance()
                yield row

    def _progress(self, total: int) -> Any:
        if not self._out.lively:
            return nullcontext(lambda: None)
        from services.cli.progress import counting

        return counting(self._out.error_console(), "Classifying", total)

    def _answer(self, scan: Scan) -> Row:
        try:
            image = scan.path.read_bytes()
            answer = self._ask(image)
        except ServerRefused as error:
            return refused_row(str(scan.path), error.refusal.as_row())
        except OSError as error:
            return refused_row(str(scan.path), _file_error(error))
        row = answer_row(str(scan.path), answer.response)
        refusal = answer.without_regions
        return row | {"error": self._written(scan, image, row, answer) or _as_row(refusal)}

    def _ask(self, image: bytes) -> Answer:
        """Raises ``ServerRefused`` if there is no classification."""
        request = self._request(image)
        try:
            response = self._call(request)
        except ServerRefused as error:
            if not error.refusal.answered:
                raise
            request.include_regions = False
            request.mask_format = classifier_pb2.MASK_FORMAT_UNSPECIFIED
            return Answer(self._call(request), without_regions=error.refusal)
        if request.mask_format and any(not region.mask_png for region in response.regions):
            # The first answer was lost on its way, and this is its record, which keeps no masks.
            request.request_id = _request_id()
            response = self._call(request)
        return Answer(response)

    def _request(self, image: bytes) -> classifier_pb2.ClassifyRequest:
        request = classifier_pb2.ClassifyRequest(
            image=image,
            model_version=self._model,
            request_id=_request_id(),
            include_explanation=self._wishes.overlay_dir is not None,
            include_regions=self._regions,
        )
        if self._regions and self._wishes.pictures:
            request.mask_format = classifier_pb2.MASK_FORMAT_PNG
        if self._wishes.pixel_spacing is not None:
            x_mm, y_mm = self._wishes.pixel_spacing
            request.pixel_spacing.CopyFrom(classifier_pb2.PixelSpacing(x_mm=x_mm, y_mm=y_mm))
        return request

    def _call(self, request: classifier_pb2.ClassifyRequest) -> classifier_pb2.ClassifyResponse:
        call = partial(
            self._client.call, self._client.classifier.Classify, request, timeout=ANSWER_SECONDS
        )
        if self._lost.is_set():
            raise ServerRefused(_away(self._client.address))
        try:
            return with_retries(call)
        except ServerRefused as error:
            if error.refusal.unreachable:
                self._lost.set()
                raise ServerRefused(_away(self._client.address)) from error
            raise

    def _written(self, scan: Scan, image: bytes, row: Row, answer: Answer) -> _Error | None:
        """Writes the pictures that were wished for; what kept one from being written, or None."""
        if not self._wishes.pictures:
            return None
        try:
            self._write(scan, image, row, answer)
        except OSError as error:
            return _file_error(error)
        return None

    def _write(self, scan: Scan, image: bytes, row: Row, answer: Answer) -> None:
        from services.cli.masks import mask_png, union_mask
        from services.cli.overlay import draw_overlay

        response, outlined = answer.response, self._regions and not answer.without_regions
        mask = union_mask(image, response.regions) if outlined else None
        if mask is not None and self._wishes.mask_dir is not None:
            (self._wishes.mask_dir / f"{scan.stem}.png").write_bytes(mask_png(mask))
        if self._wishes.overlay_dir is not None:
            picture = draw_overlay(image, row, response.explanation.activation_map_png, mask)
            (self._wishes.overlay_dir / f"{scan.stem}.png").write_bytes(picture)

    def _status(self, rows: Sequence[Row]) -> int:
        if self._lost.is_set():
            return UNREACHABLE
        return SOME_REFUSED if any(row["error"] for row in rows) else ALL_ANSWERED


def _request_id() -> str:
    return str(ordered_uuid(datetime.now(UTC)))


def has_segmenter(client: Client) -> bool:
    """Whether the server can outline tumours; False if it does not say."""
    try:
        return pointed_at(client, SEGMENTATION) is not None
    except ServerRefused:
        return False


def scans(pictures: Sequence[Path]) -> Iterator[Scan]:
    """Each picture with a stem of its own: a second ``a`` becomes ``a-2``, and so on."""
    seen: Counter[str] = Counter()
    taken = {picture.stem for picture in pictures}
    for picture in pictures:
        seen[picture.stem] += 1
        stem = picture.stem
        while seen[picture.stem] > 1 and stem in taken:
            stem = f"{picture.stem}-{seen[picture.stem]}"
            seen[picture.stem] += stem in taken
        taken.add(stem)
        yield Scan(picture, stem)


def _as_row(refusal: Refusal | None) -> _Error | None:
    return None if refusal is None else refusal.as_row()


def _file_error(error: OSError) -> _Error:
    return Refusal(status=file_status(error), message=error.strerror or str(error)).as_row()


def _away(address: str) -> Refusal:
    return Refusal(status="UNAVAILABLE", message=f"The server at {address} went away.")


def _columns(rows: Sequence[Row]) -> list[Column]:
    columns = [
        Column("scan", lambda row: row["path"]),
        Column("label", lambda row: row["label"] or ""),
        Column("probability", _probability, right=True),
        Column("decision", _decision, style=_decision_style),
    ]
    if any(row["segmenter_version"] for row in rows):
        columns.append(Column("outlined", regions_in_words, right=True))
    if any(row["error"] for row in rows):
        columns.append(Column("problem", _problem, style=lambda _: "red"))
    return columns


def _probability(row: Row) -> str:
    return f"{row['probabilities'][row['label']]:.1%}" if row["label"] else ""


def _decision(row: Row) -> str:
    decision = row["decision"] or ""
    return _MARKS.get(decision, decision)


def _decision_style(row: Row) -> str:
    return _STYLES.get(row["decision"] or "", "")


def _problem(row: Row) -> str:
    return f"{row['error']['status']}: {row['error']['message']}" if row["error"] else ""


def _summary(rows: Sequence[Row], seconds: float) -> str:
    decisions = Counter(row["decision"] for row in rows)
    counts = [
        (decisions["ACCEPTED"], "accepted"),
        (decisions["ABSTAINED"], "abstained (a person should look)"),
        (decisions["OUT_OF_DISTRIBUTION"], "unlike anything the model was trained on"),
        (sum(row["error"] is not None for row in rows), "refused"),
    ]
    parts = ", ".join(f"{count} {what}" for count, what in counts if count)
    models = ", ".join(sorted({row["model_version"] for row in rows if row["model_version"]}))
    by = f" Model: {models}." if models else ""
    cached = sum(row["cached"] for row in rows)
    known = f" {cached} from the result cache." if cached else ""
    return f"{len(rows)} scan{'s' * (len(rows) != 1)} in {seconds:.1f} s: {parts}.{known}{by}"
