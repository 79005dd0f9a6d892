"""What a segmenter outlined, in a few words for a person."""

from services.cli.output import Row


def regions_in_words(row: Row) -> str:
    """Such as ``2 regions, 7341 px (1835 mm2)`` of a classified scan's row, ``nothing`` where none
    was found, and nothing where none was looked for."""
    regions = row.get("regions") or ()
    if not regions:
        return "nothing" if row.get("segmenter_version") else ""
    area = f"{sum(region['area_px'] for region in regions)} px"
    millimetres = [region["area_mm2"] for region in regions]
    if None not in millimetres:
        area += f" ({sum(millimetres):.0f} mm2)"
    many = f"{len(regions)} regions" if len(regions) > 1 else "1 region"
    return f"{many}, {area}"
