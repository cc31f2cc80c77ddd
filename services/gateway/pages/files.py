"""The pages' files, read once: what a browser gets of each, under an address that changes with any of them."""

import functools
import hashlib
import html
from collections.abc import Mapping
from pathlib import Path

import msgspec

_FOLDER = Path(__file__).parent / "files"
_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class PageFile(msgspec.Struct, frozen=True):
    """One file as it is served. `etag` changes with its bytes."""

    content: bytes
    content_type: str
    etag: str


class PageFiles(msgspec.Struct, frozen=True):
    """All files, by name. One `version` for all: scripts import each other by relative name and change together."""

    version: str
    by_name: Mapping[str, PageFile]


@functools.cache
def page_files() -> PageFiles:
    """Read the files, at the first request for one."""
    whole = hashlib.sha256()
    by_name: dict[str, PageFile] = {}
    for path in sorted(path for path in _FOLDER.iterdir() if path.suffix in _CONTENT_TYPES):
        content = path.read_bytes()
        whole.update(f"{path.name}\0{len(content)}\0".encode() + content)
        by_name[path.name] = PageFile(content, _CONTENT_TYPES[path.suffix], etag_of(content))
    return PageFiles(whole.hexdigest()[:16], by_name)


def filled_in(name: str, config: str = "") -> PageFile:
    """Return a page with the files' present address in it, and what its scripts are told."""
    files = page_files()
    text = files.by_name[name].content.decode()
    text = text.replace("{{assets}}", f"/assets/{files.version}").replace("{{config}}", html.escape(config))
    return PageFile(text.encode(), files.by_name[name].content_type, etag_of(text.encode()))


def etag_of(content: bytes) -> str:
    """Return the ETag of some bytes, quotes included."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
