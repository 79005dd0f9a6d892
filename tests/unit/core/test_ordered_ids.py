from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

from core.ordered_ids import ordered_uuid

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = ordered_uuid(NOW)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == 1772600767891


def test_ids_sort_by_their_time() -> None:
    moments = [NOW + timedelta(milliseconds=n) for n in range(100)]
    for spelled in (str, lambda made: made.hex):
        ids = [spelled(ordered_uuid(at)) for at in moments]
        assert ids == sorted(ids)


def test_no_two_ids_are_the_same() -> None:
    assert len({ordered_uuid(NOW) for _ in range(10_000)}) == 10_000


def test_a_clock_that_is_far_off_gives_an_id_all_the_same() -> None:
    for year in (1, 1960, 9999):
        assert ordered_uuid(datetime(year, 1, 2, tzinfo=UTC)).version == 7
