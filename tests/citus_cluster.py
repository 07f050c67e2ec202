"""A Citus cluster on this machine: a coordinator and workers, for tests, chaos and benchmarks.

    python -m tests.citus_cluster build SOURCE                 SOURCE: a checkout, or a git directory, of Citus
    python -m tests.citus_cluster run [--workers 3] COMMAND    SPANTREE_TEST_DATABASE_URL is then a coordinator's

Building takes a C compiler, PostgreSQL's headers and flex, and installs the extension into the PostgreSQL that it is
built for; a few minutes. Servers listen on 127.0.0.1 only and are gone when the command ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.waiting import free_port, wait_until

from spantree_deploy.postgres.account import Account, choose_account
from spantree_deploy.postgres.settings import server_settings

VERSION: Final = "v13.2.2"
# 13.x is for PostgreSQL 15 to 17; these are where distributions put them.
_BIN_DIRS: Final = tuple(Path(f"/usr/lib/postgresql/{major}/bin") for major in (15, 16, 17))
_WITHOUT: Final = ("--without-libcurl", "--without-pg-version-check")
# Not `spantree`: a user's own schema is in their search path, and would be left out where tables are named.
_USER: Final = "postgres"
_DATABASE: Final = "spantree"
_SETTINGS: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_preload_libraries = 'citus'
wal_level = logical
max_connections = 300
max_prepared_transactions = 300
max_worker_processes = 64
# Partitions times shards.
max_locks_per_transaction = 1024
citus.node_connection_timeout = 5s
citus.node_conninfo = 'sslmode=disable'
"""
_SMALL: Final = "shared_buffers = 128MB\n"
# Tests and chaos outlive no power cut. A worker that was killed leaves prepared transactions, which hold locks until
# they are looked after.
_NOT_DURABLE: Final = "fsync = off\nfull_page_writes = off\ncitus.recover_2pc_interval = 2s\n"


class CitusNotThere(Exception):
    """There is no Citus to run against; the text says what is missing."""


def bin_dir() -> Path:
    """Where the programs of a PostgreSQL with Citus are. Raises CitusNotThere."""
    for folder in _BIN_DIRS:
        if (folder / "postgres").exists() and (folder.parent / "lib" / "citus.so").exists():
            return folder
    raise CitusNotThere(
        "no PostgreSQL 15 to 17 here has the extension citus: install it, or build it from its sources "
        "(git clone of citusdata/citus) with `make citus SOURCE=folder`; without the sources these tests cannot run"
    )


def build(source: Path) -> None:
    """Build the extension from a checkout or a git directory and install it. Raises CitusNotThere."""
    folder = next((folder for folder in _BIN_DIRS if (folder / "pg_config").exists()), None)
    if folder is None:
        raise CitusNotThere("PostgreSQL 15 to 17 with its headers is not here (Debian: postgresql-server-dev-15)")
    if not source.exists():
        raise CitusNotThere(f"the sources of Citus are not in {source}: clone citusdata/citus there")
    with tempfile.TemporaryDirectory(prefix="citus-") as temporary:
        place = Path(temporary)
        if (source / "configure").exists():
            shutil.copytree(source, place, dirs_exist_ok=True, symlinks=True)
        else:
            git = source if (source / "objects").exists() else source / ".git"
            archive = subprocess.run(
                ["git", f"--git-dir={git}", "archive", VERSION], check=True, stdout=subprocess.PIPE
            )
            subprocess.run(["tar", "-x", "-C", place], check=True, input=archive.stdout)
        _mend(place)
        environment = os.environ | {"PG_CONFIG": str(folder / "pg_config")}
        make = ("make", "-s", "with_llvm=no", f"-j{os.cpu_count() or 1}")
        for command in (("./configure", *_WITHOUT), (*make, "extension"), (*make, "install-extension")):
            subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)


def _mend(place: Path) -> None:
    """PostgreSQL 15.17, 16.13 and newer export a function that 13.2 defines, too."""
    for path in place.glob("src/include/**/pg_version_compat.h"):
        own = r"static (?:inline )?bool\s*\nhave_createdb_privilege\(void\)\s*\n\{.*?\n\}\n"
        text = path.read_text()
        path.write_text(re.sub(own, '#include "commands/dbcommands.h"\n', text, flags=re.DOTALL))


class CitusNode:
    """One server of a cluster; `start` after `stop` or `kill` brings the same one back."""

    def __init__(self, folder: Path, account: Account, *, durable: bool) -> None:
        self.port = free_port()
        self._data = folder
        self._account = account
        self._programs = bin_dir()
        self._run("initdb", "-D", folder, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        with (folder / "postgresql.conf").open("a") as file:
            # What is measured runs with the settings of the one PostgreSQL that it is held against.
            tuned = server_settings(durable=True) if durable else {}
            file.writelines(f"{name} = '{value}'\n" for name, value in tuned.items())
            file.write(f"{_SETTINGS}port = {self.port}\n{'' if durable else _SMALL + _NOT_DURABLE}")

    @property
    def url(self) -> str:
        """Of its database."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def pid(self) -> int:
        """Of its postmaster."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    @property
    def is_running(self) -> bool:
        """Whether it has been started and neither stopped nor killed."""
        return (self._data / "postmaster.pid").exists()

    def start(self) -> None:
        """Returns when it answers."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "120", "-l", self._data.with_suffix(".log"), "start")

    def stop(self) -> None:
        """Returns when it has stopped; open connections are closed."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "120", "-m", "fast", "stop")

    def kill(self) -> None:
        """kill -9 of the server and all its processes, as when the machine goes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid := self.pid, signal.SIGQUIT)
            wait_until(lambda: not _is_alive(pid), 60, "the server was gone")
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [str(self._programs / program), *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._data.parent,
            env=os.environ | {"HOME": str(self._data.parent)},
            **self._account.run_as(),
        )


class CitusCluster:
    """A coordinator and its workers, all on 127.0.0.1."""

    def __init__(self, folder: Path, workers: int = 3, *, durable: bool = False) -> None:
        account = choose_account(folder)
        os.chown(folder, account.uid, account.gid)
        self.nodes = [CitusNode(folder / f"node{number}", account, durable=durable) for number in range(workers + 1)]

    @property
    def coordinator(self) -> CitusNode:
        """Whom everybody connects to."""
        return self.nodes[0]

    @property
    def workers(self) -> list[CitusNode]:
        """Who have the shards."""
        return self.nodes[1:]

    def start(self) -> None:
        """Start all, and make them one cluster, in the database `spantree`."""
        for node in self.nodes:
            node.start()
        create_databases([node.url for node in self.nodes], _DATABASE)

    def stop(self) -> None:
        """Stop what runs."""
        for node in reversed(self.nodes):
            if node.is_running:
                node.stop()


@contextlib.contextmanager
def citus_cluster(workers: int = 3, *, durable: bool = False) -> Iterator[CitusCluster]:
    """A cluster in a temporary folder, gone afterwards. Raises CitusNotThere."""
    bin_dir()
    with tempfile.TemporaryDirectory(prefix="spantree-citus-") as folder:
        cluster = CitusCluster(Path(folder), workers, durable=durable)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def create_databases(node_urls: list[str], name: str) -> None:
    """An empty database on every node, with the extension, that knows all nodes; the first URL is the coordinator's."""
    ports = [conninfo_to_dict(url)["port"] for url in node_urls]
    for url in node_urls:
        with _server(url) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        with psycopg.connect(_of_database(url, name), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION citus")
    with psycopg.connect(_of_database(node_urls[0], name), autocommit=True) as connection:
        connection.execute("SELECT citus_set_coordinator_host('127.0.0.1', %s::integer)", [ports[0]])
        for port in ports[1:]:
            connection.execute("SELECT citus_add_node('127.0.0.1', %s::integer)", [port])


def copy_databases(node_urls: list[str], name: str, template: str) -> None:
    """A copy of the database `template` on every node: its shards and what it knows of them go along."""

    def copy(url: str) -> None:
        with _server(url) as connection:
            wait_until(lambda: _copied(connection, name, template), 60, f"{template} was copied")

    _on_each(node_urls, copy)


def drop_databases(node_urls: list[str], name: str) -> None:
    """On every node, whoever uses it."""

    def drop(url: str) -> None:
        with _server(url) as connection:
            wait_until(lambda: _dropped(connection, name), 60, f"{name} was dropped")

    _on_each(node_urls, drop)


def nodes_of(coordinator_url: str) -> list[str]:
    """URLs of the nodes of the cluster, the coordinator's first; none where it is a plain PostgreSQL."""
    with psycopg.connect(coordinator_url, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_extension WHERE extname = 'citus'").fetchone() is None:
            return []
        rows = connection.execute("SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid").fetchall()
    given = conninfo_to_dict(coordinator_url)
    return [f"postgresql://{given.get('user', _USER)}@{host}:{port}/{given['dbname']}" for host, port in rows]


def _on_each(node_urls: list[str], what: Callable[[str], None]) -> None:
    """At the same time: a test waits for it."""
    with ThreadPoolExecutor(len(node_urls)) as pool:
        list(pool.map(what, node_urls))


def _copied(connection: psycopg.Connection[tuple[object, ...]], name: str, template: str) -> bool:
    # Citus looks after each database by a process that is connected to it, and comes back seconds after it was ended.
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template])
    try:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    except psycopg.errors.ObjectInUse:
        return False
    return True


def _dropped(connection: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    try:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    except psycopg.errors.ObjectInUse:
        return False
    return True


def _server(url: str) -> psycopg.Connection[tuple[object, ...]]:
    """Connected to a database without Citus: with it, making and dropping databases would be a matter of all nodes."""
    return psycopg.connect(_of_database(url, "postgres"), autocommit=True)


def _of_database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    builds = commands.add_parser("build", help="build the extension and install it")
    builds.add_argument("source", type=Path)
    runs = commands.add_parser("run", help="run a command against a cluster")
    runs.add_argument("--workers", type=int, default=3)
    runs.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    try:
        if given.command == "build":
            build(given.source)
            return 0
        with citus_cluster(given.workers) as cluster:
            environment = os.environ | {"SPANTREE_TEST_DATABASE_URL": cluster.coordinator.url}
            return subprocess.run(given.arguments, env=environment, check=False).returncode
    except CitusNotThere as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
