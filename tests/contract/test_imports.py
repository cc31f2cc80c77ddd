"""What importing does: nothing. And what contracts may import: next to nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MSGSPEC = {"msgspec", "typing_extensions"}  # msgspec looks for the second, where it is installed


def probe(tmp_path, *packages):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("probe.py")), *packages],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return probe(tmp_path_factory.mktemp("nowhere"))


def test_every_module_is_imported_with_an_empty_environment(everything):
    ours = [path for top in ("contracts", "shared", "services") for path in (ROOT / top).rglob("*.py")]

    assert len(everything["imported"]) == len([path for path in ours if path.name != "__main__.py"])


def test_importing_opens_no_connection_starts_no_program_and_writes_nothing(everything):
    assert everything["effects"] == []


def test_importing_starts_no_thread(everything):
    assert everything["threads"] == []


def test_contracts_import_msgspec_and_the_standard_library_only(tmp_path):
    foreign = set(probe(tmp_path, "contracts")["foreign"])

    assert foreign - {"contracts"} - MSGSPEC == set()


def test_the_domain_does_no_io_and_needs_no_library_but_msgspec(tmp_path):
    foreign = set(probe(tmp_path, "shared.upload")["foreign"])

    assert foreign - {"contracts", "shared"} - MSGSPEC == set()
