"""The documents: links that lead somewhere, pictures small enough to download on the way."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "deploy/*.md", "tests/*/*.md") for path in ROOT.glob(pattern)]
LARGEST_PICTURE = 200_000


def test_every_link_between_the_documents_leads_somewhere():
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text())
        if "://" not in target and not leads_somewhere(document, target)
    ]

    assert broken == []


def test_each_picture_of_the_documents_is_shown_somewhere_and_is_small():
    text = "".join(document.read_text() for document in DOCUMENTS)
    pictures = list((ROOT / "docs" / "images").iterdir())

    assert pictures
    assert [picture.name for picture in pictures if f"images/{picture.name})" not in text] == []
    assert [picture.name for picture in pictures if picture.stat().st_size >= LARGEST_PICTURE] == []


def test_no_line_of_a_sequence_diagram_holds_a_semicolon_which_would_end_its_statement():
    text = "".join(document.read_text() for document in DOCUMENTS)
    diagrams = re.findall(r"^```mermaid\n(sequenceDiagram\n.*?)^```$", text, re.DOTALL | re.MULTILINE)

    assert [line for diagram in diagrams for line in diagram.splitlines() if ";" in line] == []


def leads_somewhere(document: Path, target: str) -> bool:
    """Return whether a link's file is there and, where it names a heading, that one, too."""
    name, _, anchor = target.partition("#")
    file = (document.parent / name).resolve() if name else document
    return file.exists() and (not anchor or anchor in anchors(file))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
