"""The fault battery's short form; `just chaos --sagas 5000` is the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEED = os.environ.get("CHAOS_SEED", "7")


@pytest.mark.timeout(600)
def test_a_hundred_sagas_under_every_kind_of_fault_break_no_invariant(tmp_path: Path) -> None:
    battle = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.chaos",
            *f"--sagas 100 --seed {SEED} --rate 5 --pause 1 --keep {tmp_path}".split(),
        ],
        capture_output=True,
        text=True,
    )

    assert battle.returncode == 0, battle.stdout + battle.stderr
    assert "invariants broken" in battle.stdout
