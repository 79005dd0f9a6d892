"""How the command line shows model versions, as rows, to a person."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from core.labels import LABELS
from services.cli.jobs import recipe_text
from services.cli.output import Column, Output, Row, filled, short, when

COLUMNS: Final = (
    Column("name", lambda row: short(row["name"])),
    Column("created", when),
    Column("task", lambda row: row["task"] or ""),
    Column("accuracy", lambda row: _score(row, "accuracy"), right=True),
    Column("macro F1", lambda row: _score(row, "macro_f1"), right=True),
    Column("Dice", lambda row: _number((row["segmentation"] or {}).get("dice")), right=True),
    Column("ms", lambda row: f"{row['latency_ms'] or 0:.1f}", right=True),
    Column("data set", lambda row: short(row["dataset"])),
    Column("aliases", lambda row: ", ".join(row["aliases"]), style=lambda _: "bold"),
)
"""Of a list of versions, whose names begin with their backbones."""
MOVES: Final = (
    Column("when", when),
    Column("who", lambda row: row["caller"]),
    Column("from", lambda row: short(row["from_version"])),
    Column("to", lambda row: short(row["to_version"])),
    Column("why", lambda row: row["reason"]),
)
"""Of an alias's history."""


def show_comparison(out: Output, fields: Row) -> None:
    """Versions side by side, pairs of them, and which to use."""
    versions = fields["model_versions"]
    out.table(versions, filled(_compared(), versions))
    _show_pairs(out, fields)
    out.line()
    chosen = fields["recommended"] or "none of them"
    out.line(f"Recommended: {chosen}: {fields['recommendation_reason']}.")


def _show_pairs(out: Output, comparison: Row) -> None:
    if comparison["pairs"]:
        out.line()
        out.line("On slices held out from both, second minus first:")
        out.table(comparison["pairs"], _pair_columns(comparison["pairs"]))
    for note in comparison["notes"]:
        out.line(f"Not compared slice by slice: {note}.")


def _change(row: Row, score: str) -> str:
    found = row[score]
    return f"{found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def _pair_columns(pairs: Sequence[Row]) -> Sequence[Column]:
    """What classifiers are compared by, or segmenters; the last score ranks them."""
    scores = [(n, title) for n, title in _PAIR_SCORES if pairs[0][n] is not None]
    (ranked_by, _) = scores[-1]
    return (
        Column("first", lambda row: short(row["first"])),
        Column("second", lambda row: short(row["second"])),
        Column("slices", lambda row: str(row["slice_count"]), right=True),
        Column("groups", lambda row: str(row["group_count"]), right=True),
        *(
            Column(f"{title} (95 %)", partial(_change, score=name), right=True)
            for name, title in scores
        ),
        Column(
            "second\nis better",
            lambda row: f"{row[ranked_by]['probability_better']:.1%}",
            right=True,
        ),
    )


_PAIR_SCORES: Final = (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("dice", "Dice"))


def show_version(out: Output, row: Row) -> None:
    """Its facts and its numbers by class; of a classifier the confusion matrix, of a segmenter
    the numbers by size."""
    out.fields(_facts(row))
    if row["segmentation"]:
        _show_outlines(out, row["segmentation"])
    if row["evaluation"]:
        _show_answers(out, row["evaluation"])


def _show_outlines(out: Output, segmentation: Row) -> None:
    out.line()
    by_class = segmentation["per_class"]
    out.table([{"name": n, **by_class[n]} for n in by_class], _outline_columns("class"))
    out.line()
    thirds = [{"name": f"{t['up_to_px']} px", **t} for t in segmentation["per_size"]]
    out.table(thirds, _outline_columns("tumours up to"))


def _outline_columns(heading: str) -> list[Column]:
    return [
        Column(heading, lambda row: row["name"]),
        Column("Dice", lambda row: f"{row['dice']:.3f}", right=True),
        Column("IoU", lambda row: f"{row['iou']:.3f}", right=True),
        Column("scans", lambda row: str(row["support"]), right=True),
    ]


def _show_answers(out: Output, evaluation: Row) -> None:
    labels = list(evaluation["per_class"])
    out.line()
    out.table([{"label": n, **evaluation["per_class"][n]} for n in labels], _CLASS_COLUMNS)
    out.line()
    out.line("Rows: true class; columns: predicted class.")
    confusion = evaluation["confusion"]
    rows = [{"label": true, "counts": counts} for true, counts in confusion.items()]
    out.table(rows, _confusion_columns(list(confusion)))


_CLASS_COLUMNS: Final = (
    Column("class", lambda row: row["label"]),
    Column("precision", lambda row: _defined(row["precision"]), right=True),
    Column("recall", lambda row: _defined(row["recall"]), right=True),
    Column("F1", lambda row: _defined(row["f1"]), right=True),
    Column("ROC AUC", lambda row: _defined(row["roc_auc"]), right=True),
    Column("PR AUC", lambda row: _defined(row["pr_auc"]), right=True),
    Column("scans", lambda row: str(row["support"]), right=True),
)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _defined(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _confusion_columns(labels: list[str]) -> list[Column]:
    def count_at(place: int) -> Column:
        return Column(labels[place], lambda row: str(row["counts"][place]), right=True)

    first = Column("true \\ predicted", lambda row: row["label"])
    return [first, *(count_at(place) for place in range(len(labels)))]


def _facts(row: Row) -> list[tuple[str, str]]:
    evaluation = row["evaluation"] or row["segmentation"] or {}
    return [
        ("name", row["name"]),
        ("aliases", ", ".join(row["aliases"]) or "none"),
        ("created", row["create_time"] or ""),
        ("data set", f"{row['dataset']} (digest {(row['dataset_digest'] or '')[:12]})"),
        ("made by", row["training_job"] or ""),
        ("recipe", recipe_text(row["spec"])),
        ("weights from", row["weights_source"] or ""),
        *_scores(evaluation),
        ("scans", _split(evaluation)),
        ("held out", evaluation.get("protocol") or ""),
        ("parameters", f"{row['parameter_count']:,}"),
        ("size", f"{row['size_bytes'] / 1e6:.1f} MB"),
        ("latency", f"{row['latency_ms'] or 0:.1f} ms on the machine that trained it"),
        ("work", f"{_work(row)} billion multiply-accumulates a scan" if row["flops"] else ""),
        ("trained in", f"{row['train_duration_seconds'] or 0:.0f} s"),
        ("digest", row["digest"] or ""),
    ]


_SCORE_NAMES: Final = (
    ("accuracy", "accuracy"),
    ("balanced_accuracy", "balanced accuracy"),
    ("macro_f1", "macro F1"),
    ("roc_auc", "ROC AUC"),
    ("pr_auc", "PR AUC"),
    ("sensitivity", "tumour sensitivity"),
    ("specificity", "tumour specificity"),
    ("ece", "calibration error"),
    ("brier", "Brier score"),
    ("aurc", "risk-coverage area"),
    ("coverage", "coverage"),
    ("accepted_accuracy", "accuracy, accepted"),
    ("accuracy_at_80", "accuracy, surest 80 %"),
    ("majority_share", "commonest class"),
    ("control_accuracy", "no-picture control"),
    ("dice", "Dice, mean"),
    ("dice_median", "Dice, median"),
    ("iou", "IoU, mean"),
    ("iou_median", "IoU, median"),
    ("hd95", "outline distance, px"),
    ("missed_share", "tumours missed"),
    ("lesion_recall", "lesions found"),
    ("box_map_50", "box mAP at 0.50"),
    ("box_map_50_95", "box mAP 0.50-0.95"),
    ("healthy_with_regions", "healthy with a region"),
)


def _scores(evaluation: Row) -> list[tuple[str, str]]:
    """The numbers that were measured, with their 95 % intervals."""
    ends = {i["metric"]: i for i in evaluation.get("intervals", ())}
    shown = []
    for name, heading in _SCORE_NAMES:
        value = evaluation.get(name)
        if value is not None:
            shown.append((heading, f"{value:.3f}{_interval(ends.get(name))}"))
    return shown


def _interval(ends: Row | None) -> str:
    return f" (95 %: {ends['low']:.3f} to {ends['high']:.3f})" if ends else ""


def _score(row: Row, name: str) -> str:
    return _number((row["evaluation"] or {}).get(name))


def _work(row: Row) -> str:
    return f"{row['flops'] / 1e9:.2f}" if row["flops"] else ""


def _split(evaluation: Row) -> str:
    names = ("train_size", "validation_size", "test_size")
    sizes = [str(evaluation.get(name, 0)) for name in names]
    return "{} for training, {} for validation, {} for these numbers".format(*sizes)


def _class_f1(row: Row, label: str) -> str:
    numbers = (row["evaluation"] or {}).get("per_class", {}).get(label)
    return _defined(numbers["f1"]) if numbers else ""


_NOT_COMPARED: Final = {"created", "task", "data set"}
"""Versions that can be compared have one task."""


def _compared() -> list[Column]:
    def f1_of(label: str) -> Column:
        return Column(f"F1\n{label}", lambda row: _class_f1(row, label), right=True)

    columns = [column for column in COLUMNS if column.heading not in _NOT_COMPARED]
    size = Column("MB", lambda row: f"{row['size_bytes'] / 1e6:.1f}", right=True)
    parameters = Column("params", lambda row: f"{row['parameter_count'] / 1e6:.1f} M", right=True)
    work = Column("GMACs", _work, right=True)
    return [*columns, *(f1_of(label) for label in LABELS), parameters, work, size]
