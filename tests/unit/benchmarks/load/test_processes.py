"""Which process does what."""

import pytest

from benchmarks.load import mlserver, service


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m services.server", "gateway"),
        ("valkey-server unixsocket:/tmp/a.sock", "broker"),
        ("python -m celery -A a worker -Q inference -n inference@host.1", "inference worker"),
        ("python -m celery -A a worker -Q curation -n curation@host.1", "curation worker"),
        ("python -m celery -A a worker -Q training -n training@host.1", "training worker"),
        ("python services/supervisor/reaper_process.py", "reaper"),
        ("something else", "other"),
    ],
)
def test_the_service_has_roles(command: str, role: str) -> None:
    assert service.ROLES.of(command.split()) == role


def test_roles_that_serve_are_roles() -> None:
    assert set(service.ROLES.markers.values()) >= service.SERVING
    assert {mlserver.ROLES.root, *mlserver.ROLES.markers.values()} <= mlserver.SERVING
