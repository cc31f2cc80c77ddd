"""Entity tags of a status: an upload's version, weak, because the signed URL differs from answer to answer."""

ANY = "*"


def tag_of(version: int) -> str:
    """Return the `ETag` of a status."""
    return f'W/"{version}"'


def version_in(tag: str) -> int:
    """Read the `ETag` that `tag_of` wrote. Raises ValueError."""
    return int(tag.removeprefix("W/").strip('"'))


def knows(if_none_match: str | None, version: int) -> bool:
    """Return whether a reader has this version already, by its header: our tags, weak or not, or any."""
    return bool(known_tags(if_none_match) & {str(version), ANY})


def known_tags(if_none_match: str | None) -> set[str]:
    """Return the tags that a header names, as they are within their quotes."""
    tags = (tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(","))
    return {tag.strip('"') for tag in tags if tag}
