import pytest

from core.errors import InvalidArgument
from services.resource_names import full_name, parse_name


@pytest.mark.parametrize("resource_id", ["a", "Brain-MRI_1.0", "x" * 128])
def test_a_name_gives_its_id(resource_id: str) -> None:
    assert parse_name("datasets", full_name("datasets", resource_id)) == resource_id


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "datasets",
        "datasets/",
        "/a",
        "Datasets/a",
        "datasets/a/b",
        "datasets/a b",
        "datasets/.a",
        "datasets/ä",
        "datasets/a\n",
        "datasets/" + "x" * 129,
        "predictions/a",
    ],
)
def test_anything_else_is_refused_on_its_field(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_name("datasets", name, "training_job.dataset")
    assert caught.value.violations[0].field == "training_job.dataset"


def test_no_resource_has_no_name() -> None:
    assert full_name("modelVersions", None) == ""
