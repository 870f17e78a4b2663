"""A real PostgreSQL server for the tests: Debian's binaries, a folder and a port of its own."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "between-slash/and@sign"       # what has to be escaped in an address
USER = "rad"
PATIENCE_S = 60.0
_INSTALLED = Path("/usr/lib/postgresql")


class PostgresServer:
    """A server that can be stopped, killed and started again at the same address."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._databases: set[str] = set()
        password = folder / "password"
        password.write_text(PASSWORD)
        self._run("initdb", "--pgdata", str(folder / "data"), "--username", USER, "--pwfile", str(password),
                  "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync")
        # It is killed here, and its machine is not: what it has handed to the system is safe.
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write("fsync = off\n")

    def url(self, database: str = "journal") -> str:
        """Make *database*, or empty it, and return its address, as a person writes it."""
        if database in self._databases:
            self.end_connections(database)
            self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)   # faster than all of it
        else:
            self.execute(f'CREATE DATABASE "{database}"')
            self._databases.add(database)
        return f"postgresql://{USER}:between-slash%2Fand%40sign@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement beside whoever is being tested, and return what it answers."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)   # type: ignore[arg-type]  # a test's own text
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection to *database* in which every statement is its own transaction."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database,
            autocommit=True, connect_timeout=5,
        )

    def end_connections(self, database: str = "journal") -> int:
        """Cut everybody off from *database*; return how many that were."""
        ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
        return len(self.execute(ended))

    @property
    def pid(self) -> int:
        """The process that takes connections in."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = self.folder / "log"
        with log.open("ab") as output:
            # The server ends with the tests, also when those are killed.
            self._process = subprocess.Popen(
                ["setpriv", *_as_whom(), "--pdeathsig", "INT", str(self._binaries / "postgres"),
                 "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder),
                 "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB", "-c", "max_connections=60"],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL does not start:\n{log.read_text()}") from error
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End the server: by default at once and in order; SIGQUIT is its crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        command = ["setpriv", *_as_whom(), str(self._binaries / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE_S,
                              stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, f"{program} failed:\n{done.stdout}\n{done.stderr}"


def _as_whom() -> list[str]:
    """Return how setpriv is to run the server, which refuses to be root."""
    if os.geteuid() != 0:
        return []
    user = _server_user()
    return ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


def _server_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    """Return a free port below those the kernel gives out, so that it is still free after an outage."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _newest_binaries() -> Path | None:
    found = [folder for folder in _INSTALLED.glob("*/bin") if (folder / "initdb").exists()]
    return max(found, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server for the length of a with block; skips the test where there is none to run."""
    binaries = _newest_binaries()
    if binaries is None:
        pytest.skip(f"no PostgreSQL server in {_INSTALLED}; sudo apt-get install postgresql")
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here (util-linux), which a PostgreSQL server is started with")
    with tempfile.TemporaryDirectory(prefix="rad-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, _server_user().pw_uid, _server_user().pw_gid)
        server = PostgresServer(binaries, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)      # nobody wants its data in order


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole run. A test that stops it starts it again."""
    with running_server() as server:
        yield server
