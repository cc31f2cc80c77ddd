"""Waits that differ a little, so that many who wait for the same thing do not all come back at once."""

import asyncio
import random


async def jittered_sleep(seconds: float) -> None:
    """Sleep for about as long: a quarter less, up to a quarter more."""
    await asyncio.sleep(seconds * random.uniform(0.75, 1.25))
