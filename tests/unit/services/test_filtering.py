from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidArgument
from core.filters import And, Comparison, Filter, Not, Operator, Or
from services.filtering import MAX_DEPTH, MAX_LENGTH, parse_filter


def is_(field: str, value: str) -> Comparison:
    return Comparison(field, Operator.EQ, value)


A, B, C = is_("caller", "a"), is_("caller", "b"), is_("caller", "c")


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_nothing_matches_everything(text: str) -> None:
    assert parse_filter(text) is None


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("caller=a", A),
        ("(caller = a)", A),
        ("caller = a AND caller = b", And((A, B))),
        ("caller = a AND caller = b AND caller = c", And((A, B, C))),
        ("caller = a OR caller = b", Or((A, B))),
        ("caller = a AND caller = b OR caller = c", And((A, Or((B, C))))),
        ("caller = a OR caller = b AND caller = c", And((Or((A, B)), C))),
        ("(caller = a AND caller = b) OR caller = c", Or((And((A, B)), C))),
        ("NOT caller = a", Not(A)),
        ("-caller = a", Not(A)),
        ("NOT (caller = a OR caller = b)", Not(Or((A, B)))),
        ("NOT caller = a AND -caller = b", And((Not(A), Not(B)))),
        ("caller\n=\ta", A),
    ],
)
def test_or_binds_tighter_than_and(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("caller = AND", "AND"),
        ("caller = 42", "42"),
        ("caller = -5.5", "-5.5"),
        ("caller = dr.lee@clinic:x", "dr.lee@clinic:x"),
        ('caller = "a b"', "a b"),
        ("caller = 'a \"b\"'", 'a "b"'),
        (r'caller = "a\"b\\c"', 'a"b\\c'),
        ('caller = ""', ""),
        ('caller = "(AND)"', "(AND)"),
        ("model_version = modelVersions/x-1", "x-1"),
        ("model_version = x-1", "x-1"),
        ("label = no_tumor", "no_tumor"),
        ("decision = OUT_OF_DISTRIBUTION", "OUT_OF_DISTRIBUTION"),
        ("outcome = 'REFUSED'", "REFUSED"),
        ("status = INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ("image_sha256 = " + "AB" * 32, "ab" * 32),
        (
            "request_id = 6BA7B8109DAD11D180B400C04FD430C8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        ),
    ],
)
def test_values_are_words_or_strings(text: str, value: str) -> None:
    tree = parse_filter(text)
    assert isinstance(tree, Comparison)
    assert tree.value == value


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ('"2026-01-31"', datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31t08:00:00.25z", datetime(2026, 1, 31, 8, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-31T01:00:00+02:00", datetime(2026, 1, 30, 23, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("operator", list(Operator))
def test_times_compare_in_every_way(value: str, moment: datetime, operator: Operator) -> None:
    tree = parse_filter(f"create_time {operator} {value}")
    assert tree == Comparison("create_time", operator, moment)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("caller", "ends too early"),
        ("caller =", "needs a value"),
        ("caller = a AND", "ends too early"),
        ("= a", "position 1"),
        ("caller = a b = c", "position 12"),
        ("caller = a and caller = b", "'and' at position 12; there it needs AND or OR"),
        ("(caller = a", "needs ')'"),
        ("caller = a)", "')' at position 11; there nothing more is read"),
        ('caller = "a', "position 10"),
        ("caller ~ a", "needs one of = != < <= > >="),
        ("colour = red", "does not know 'colour' at position 1; use create_time, label"),
        ("NOTcaller = a", "does not know 'NOTcaller'"),
        ("label < glioma", "cannot compare label with '<' at position 7; use = and !="),
        ("label = Glioma", "use one of glioma, meningioma, no_tumor, pituitary"),
        ("decision = accepted", "use one of ACCEPTED"),
        ("outcome = FINE", "use one of ANSWERED"),
        ("status = FINE", "use one of OK, CANCELLED"),
        ("create_time > yesterday", "use a date (2026-01-31)"),
        ("create_time > 20260131", "use a date (2026-01-31)"),
        ("create_time > 2026-02-30", "there is no such day"),
        ("create_time > 2026-01-31T25:00:00Z", "there is no such day or time"),
        ("create_time > 0001-01-01T00:00:00+10:00", "there is no such day or time"),
        ("create_time > 2026-01-31T08:00:00", "needs its zone"),
        ("image_sha256 = abc", "all 64 hexadecimal digits"),
        ("request_id = 7", "use a UUID"),
        ('caller = "a\0b"', "NUL"),
        ("x" * (MAX_LENGTH + 1), f"at most {MAX_LENGTH}"),
        ("(" * 900 + "caller = a" + ")" * 900, f"more than {MAX_DEPTH} deep"),
    ],
)
def test_what_is_wrong_is_said_and_where(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text)
    (violation,) = caught.value.violations
    assert violation.field == "filter"
    assert problem in violation.description


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    text = " OR ".join(['caller = "((((("'] * 9)
    assert isinstance(parse_filter(text), Or)


@given(st.text(alphabet="()\"'\\ANDORT=<>!-. \n\tcallerb_é", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidArgument as error:
        assert [violation.field for violation in error.violations] == ["filter"]
