"""Whether the gateway serves, for a health check: ``python -m services.healthcheck``."""

import sys

from core.errors import BrainTumorError
from core.settings import Settings
from services.supervisor.address import bind_endpoint
from services.supervisor.readiness import gateway_serves


def main() -> int:
    """0 if the gateway at ``BRAINTUMOR_ADDRESS`` on this machine reports SERVING, else 1."""
    try:
        address = bind_endpoint(Settings.from_environment().address).local_address
    except BrainTumorError as error:
        return _unhealthy(error.message)
    if not gateway_serves(address):
        return _unhealthy(f"The gateway at {address} does not report SERVING.")
    return 0


def _unhealthy(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
