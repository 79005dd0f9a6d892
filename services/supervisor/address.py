"""``host:port`` as people write it."""

import ipaddress
from dataclasses import dataclass

from core.errors import InvalidArgument


@dataclass(frozen=True)
class Endpoint:
    """A host (without brackets) and a TCP port."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def local_address(self) -> str:
        """``host:port`` to reach it from this machine, also where it listens everywhere."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def bind_endpoint(address: str) -> Endpoint:
    """The parts of ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ``InvalidArgument``."""
    host, separator, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    well_formed = separator and host and port.isascii() and port.isdigit()
    if not well_formed or (":" in host and not bracketed) or not 1 <= int(port) <= 65535:
        raise InvalidArgument.of("address", f"'{address}' is not HOST:PORT with a port of 1-65535")
    return Endpoint(host, int(port))
