"""A process that writes its standard input under a key until somebody kills it: `… KEY SETTINGS_AS_JSON`."""

import asyncio
import json
import sys
from pathlib import Path

from shared.storage.open import open_object_store


async def _put(key: str, settings: dict[str, str]) -> None:
    await open_object_store(**settings).put_file(key, Path("/dev/stdin"), "image/jpeg")


if __name__ == "__main__":
    asyncio.run(_put(sys.argv[1], json.loads(sys.argv[2])))
