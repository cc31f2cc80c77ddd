"""`.env.example` names every setting there is, and none that there is not."""

import re
from pathlib import Path

import msgspec

from shared import settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def settings_there_are() -> set[str]:
    concerns = [field.type for field in msgspec.structs.fields(settings.Settings) if field.name != "warnings"]
    return {field.encode_name for concern in concerns for field in msgspec.structs.fields(concern)}


def test_the_example_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"^([A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE))

    assert named == settings_there_are()
