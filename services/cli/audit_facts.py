"""A data set's audit as lines for a person."""

from collections.abc import Iterator

from services.cli.output import Row

_KINDS_SHOWN = 3
_SUSPECTS_SHOWN = 5
_MASKS_SHOWN = 3


def audit_facts(audit: Row | None) -> list[tuple[str, str]]:
    """Names and values; what to do something about comes last, a line each."""
    if audit is None:
        return [("audit", "none: accepted before there were audits")]
    return [*_numbers(audit), *(("warning", text) for text in audit["warnings"])]


def _numbers(audit: Row) -> Iterator[tuple[str, str]]:
    yield "unreadable files", str(audit["unreadable_count"])
    yield "near-duplicates", _near_duplicates(audit)
    yield "contradictions", _contradictions(audit)
    if audit["leakage"]:
        yield "known test scans", _leakage(audit["leakage"])
    yield "class ratio", f"{audit['class_ratio']:.2f} (largest to smallest)"
    yield "sizes", _sizes(audit)
    yield "kinds", ", ".join(f"{kind} {count}" for kind, count in _commonest(audit["kinds"]))
    yield "blank", str(audit["blank_count"])
    yield "shortcut control", _shortcut(audit["shortcut_control"])
    yield from _masks(audit["masks"])
    yield from _label_errors(audit["label_errors"])


def _masks(masks: Row | None) -> Iterator[tuple[str, str]]:
    """Nothing where nothing is the matter."""
    if masks is None:
        return
    for finding in masks["findings"]:
        shown = finding["examples"][:_MASKS_SHOWN]
        more = finding["count"] - len(shown)
        named = ", ".join(shown) + (f" and {more} more" if more else "")
        name = "refused mask" if finding["refused"] else "odd mask"
        yield name, f"{finding['problem']}: {named}"
    if masks["unmasked_count"]:
        yield "without a mask", f"{masks['unmasked_count']} scans with a tumour"


def _label_errors(errors: Row | None) -> Iterator[tuple[str, str]]:
    if errors is None:
        # No cross-validation yet, or one that could not tell: then a warning says why.
        yield "likely mislabelled", "not known yet: braintumor train --set folds=5 looks for them"
        return
    yield "likely mislabelled", str(errors["count"] or "none")
    shown = errors["suspects"][:_SUSPECTS_SHOWN]
    for s in shown:
        told = f"{s['label']}, the model says {s['suggested']} ({s['probability']:.0%})"
        yield "suspect", f"{s['path']}: {told}"
    if errors["count"] > len(shown):
        yield "suspect", f"and {errors['count'] - len(shown)} more: see braintumor datasets audit"


def _near_duplicates(audit: Row) -> str:
    if not audit["near_duplicate_count"]:
        return "none"
    return (
        f"{audit['near_duplicate_count']} scans in {audit['near_duplicate_component_count']} sets "
        f"({audit['near_duplicate_pair_count']} pairs)"
    )


def _contradictions(audit: Row) -> str:
    return (
        f"{audit['contradictory_pair_count']} near-duplicate pairs, "
        f"{audit['contradictory_exact_count']} files left out"
    )


def _leakage(leakage: dict[str, Row]) -> str:
    """``glioma 12 of 100, pituitary 3 of 74``."""
    return ", ".join(
        f"{label} {leak['leaked_count']} of {leak['test_count']}" for label, leak in leakage.items()
    )


def _sizes(audit: Row) -> str:
    shown = [f"{s['width']}x{s['height']} {s['count']}" for s in audit["sizes"][:_KINDS_SHOWN]]
    more = audit["size_count"] - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _commonest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _shortcut(control: Row | None) -> str:
    if control is None:
        return "not measured: a class has fewer than two groups"
    return (
        f"accuracy {control['accuracy']:.3f}, macro F1 {control['macro_f1']:.3f} from the file "
        f"alone (commonest class: {control['majority_share']:.3f})"
    )
