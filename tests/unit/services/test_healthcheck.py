"""The gateway's health check as a command."""

import pytest

from services import healthcheck


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were asked; the last character says whether they serve."""
    addresses: list[str] = []

    def serves(address: str) -> bool:
        addresses.append(address)
        return address.endswith("1")

    monkeypatch.setattr(healthcheck, "gateway_serves", serves)
    return addresses


def test_a_serving_gateway(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    monkeypatch.setenv("BRAINTUMOR_ADDRESS", "0.0.0.0:50051")
    assert healthcheck.main() == 0
    assert asked == ["127.0.0.1:50051"]


@pytest.mark.usefixtures("asked")
def test_a_gateway_that_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_ADDRESS", "[::]:50052")
    assert healthcheck.main() == 1
    assert "[::1]:50052 does not report SERVING" in capsys.readouterr().err


def test_a_bad_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_ADDRESS", "50051")
    assert healthcheck.main() == 1
    assert "not HOST:PORT" in capsys.readouterr().err
    assert asked == []
