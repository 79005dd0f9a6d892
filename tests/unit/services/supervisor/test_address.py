"""Addresses as people write them."""

import pytest

from core.errors import InvalidArgument
from services.supervisor.address import Endpoint, bind_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:50051", Endpoint("127.0.0.1", 50051)),
        ("localhost:1", Endpoint("localhost", 1)),
        ("[::1]:65535", Endpoint("::1", 65535)),
    ],
)
def test_addresses_are_taken_apart(text: str, endpoint: Endpoint) -> None:
    assert bind_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text", ["", "50051", "host:", ":50051", "host:0", "host:65536", "host:x", "::1:50051", "h:-1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        bind_endpoint(text)
    assert caught.value.violations[0].field == "address"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.5", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("scans.example", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert Endpoint(host, 1).loopback is loopback


@pytest.mark.parametrize(
    ("text", "reached_at"),
    [
        ("0.0.0.0:5", "127.0.0.1:5"),
        ("[::]:5", "[::1]:5"),
        ("10.0.0.1:5", "10.0.0.1:5"),
    ],
)
def test_what_listens_everywhere_is_reached_locally(text: str, reached_at: str) -> None:
    assert bind_endpoint(text).local_address == reached_at
