"""Imports every module of ours and prints what that did to the world, as JSON. Run with an empty environment."""

import importlib
import json
import os
import pkgutil
import sys
import threading

PACKAGES = ("contracts", "shared", "services")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_EFFECTS = {"socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.mkdir", "os.putenv", "os.posix_spawn"}


def main() -> None:
    effects: list[str] = []
    imported: list[str] = []

    def note(event: str, args: tuple[object, ...]) -> None:
        # urllib3 finds out in this way whether there is IPv6; nobody listens there.
        if event in _EFFECTS and args[1:] != (("::1", 0),):
            effects.append(f"{event} {args!r}")
        if event == "open" and isinstance(args[2], int) and args[2] & _WRITING and args[0] != os.devnull:
            effects.append(f"writes {args[0]!r}")

    at_start = set(sys.modules)  # what the installation loads by itself, as setuptools has it do
    sys.addaudithook(note)
    for package in sys.argv[1:] or PACKAGES:
        module = importlib.import_module(package)
        imported.append(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
                imported.append(found.name)
    foreign = {name.partition(".")[0] for name in set(sys.modules) - at_start} - sys.stdlib_module_names
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    report = {"imported": imported, "effects": effects, "foreign": sorted(foreign), "threads": threads}
    print(json.dumps(report))  # noqa: T201 — the answer to whoever ran this


main()
