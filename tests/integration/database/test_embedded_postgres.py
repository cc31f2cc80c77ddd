"""The PostgreSQL that `darkroom dev` brings: shared by processes, stopped by the last, whole after any of them died."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from shared.database.embedded_postgres import SOCKET
from shared.database.postgres_wheel import account_for, programs_for
from tests.embedded import ROOT, DatabaseUser, server_of
from tests.servers import free_port

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def data(tmp_path):
    return tmp_path / "postgres"


def run_program(data, program, *options):
    """Run a program of the wheel's on `data`, as its owner, in the way the wheel's own Python does it."""
    account = account_for(data)
    run_as = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    command = [programs_for(data, account) / program, "-D", "/proc/self/cwd" if account else data, *options]
    subprocess.run(command, cwd=data, check=True, stdout=subprocess.DEVNULL, **run_as)


def test_processes_share_a_server_and_the_last_one_stops_it(data):
    with DatabaseUser(data) as first, DatabaseUser(data) as second:
        assert first.url == second.url
        server = server_of(data)
        first.end()
        assert server_of(data) == server
        with psycopg.connect(second.url) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
    assert server_of(data) is None


def test_a_user_that_was_killed_is_not_counted_and_leaves_nothing_half_done(data):
    with DatabaseUser(data) as killed:
        with psycopg.connect(killed.url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
        killed.kill()
    assert server_of(data)

    with DatabaseUser(data) as next_one, psycopg.connect(next_one.url) as conn:
        assert conn.execute("SELECT number FROM kept").fetchone() == (7,)

    assert server_of(data) is None


def test_a_server_that_was_killed_with_its_user_recovers(data):
    with DatabaseUser(data) as killed:
        with psycopg.connect(killed.url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server = server_of(data)
        family = [server, *server.children()]
        for process in family:
            process.kill()
        killed.kill()
        psutil.wait_procs(family, timeout=30)

    with DatabaseUser(data) as next_one, psycopg.connect(next_one.url) as conn:
        assert conn.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_cluster_whose_creation_was_broken_off_is_created_anew(data):
    half = data.with_name("postgres.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    data.mkdir()

    with DatabaseUser(data) as user, psycopg.connect(user.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert not half.exists()


@pytest.mark.parametrize("name", ["a folder, a 'quoted' one & 100 %", "ä" * 60])
def test_the_folder_may_have_any_name(tmp_path, name):
    with DatabaseUser(tmp_path / name / "postgres") as user, psycopg.connect(user.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_another_port_in_the_environment_changes_nothing(data, monkeypatch):
    monkeypatch.setenv("PGPORT", str(free_port()))

    with DatabaseUser(data) as user, psycopg.connect(user.url) as conn:
        assert conn.execute("SHOW port").fetchone() == ("5432",)


def an_earlier_releases_cluster(data):
    """Create a cluster as the wheel's own Python does: whoever reaches its socket is trusted."""
    data.mkdir(parents=True)
    if account := account_for(data):
        os.chown(data, account.uid, account.gid)
    run_program(data, "initdb", "--auth=trust", "--encoding=utf8", "--username=postgres")


def test_the_data_of_an_earlier_release_are_kept_and_trust_nobody_any_more(data):
    an_earlier_releases_cluster(data)

    with DatabaseUser(data) as user, psycopg.connect(user.url) as conn:
        methods = conn.execute("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules").fetchall()

    assert methods == [("local", "peer")]


def test_a_server_of_an_earlier_release_that_still_runs_in_a_shared_folder_is_restarted(data):
    an_earlier_releases_cluster(data)
    shared = Path(tempfile.mkdtemp(prefix="darkroom-shared-"))
    shared.chmod(0o777)
    run_program(data, "pg_ctl", "-w", "-o", f"-h '' -k {shared}", "-l", "log", "start")
    with psycopg.connect(f"postgresql://postgres@/postgres?host={shared}") as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS number")

    with DatabaseUser(data) as user, psycopg.connect(user.url) as conn:
        assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
        assert not (shared / SOCKET).exists()
    shutil.rmtree(shared)


def test_data_of_a_version_that_the_wheel_lacks_are_left_alone_and_dev_says_so_in_a_line(data):
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")

    command = [sys.executable, "-m", "services.cli.main", "dev", "--data", data.parent]
    env = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    dev = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert dev.returncode == 1
    assert dev.stderr.splitlines()[-1].startswith("Error: ")
    assert "PostgreSQL 9, which the wheel does not have" in dev.stderr
    assert "Traceback" not in dev.stderr
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


@pytest.mark.skipif(not AS_ROOT, reason="only root can try another user")
def test_a_user_who_is_not_root_owns_all_of_it():
    nobody = pwd.getpwnam("nobody")
    run_as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        subprocess.run([sys.executable, "-c", "import psycopg, shared"], cwd=ROOT, check=True, **run_as)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("another user cannot run this checkout")
    folder = Path(tempfile.mkdtemp(prefix="darkroom-nobody-"))
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    with DatabaseUser(folder / "data" / "postgres", **run_as) as user:
        ask = f"import psycopg; psycopg.connect({user.url!r}).close()"
        asked = subprocess.run([sys.executable, "-c", ask], cwd="/", check=False, **run_as)
        assert asked.returncode == 0
        assert {path.stat().st_uid for path in folder.rglob("*")} == {nobody.pw_uid}
    shutil.rmtree(folder)
