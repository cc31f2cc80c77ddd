"""Wakes whoever waits for an upload to change: one connection a process listens, however many wait.

NOTIFY is a hint that may be late, doubled or lost. What is true is looked up: one query for all uploads that are waited
for, at every connect and then every so often.
"""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Iterator
from uuid import UUID

import psycopg
import structlog

from shared.jitter import jittered_sleep
from shared.read_model.notifications import CHANNEL, unpack

log = structlog.get_logger(__name__)

RECHECK_INTERVAL = 12.0
"""Seconds between looks at the table, give or take a fifth: how late a change can be told whose hint was lost."""
ANSWER = 5.0
"""Seconds that the database has to answer a look, before its connection counts as dead."""
RETRY_FIRST, RETRY_MAX = 0.2, 5.0
"""Seconds between tries to connect: doubling from the first to the last, with jitter."""


class Subscription:
    """One waiter's place at one upload. Take it before reading the row: then no change falls between the two."""

    __slots__ = ("_known", "_waiting", "version")

    def __init__(self) -> None:
        self.version = 0
        self._known = 0
        self._waiting: asyncio.Future[None] | None = None

    async def wait_beyond(self, version: int, seconds: float) -> bool:
        """Wait until the upload is past `version`, or `seconds` are over, or nobody listens any more; say which."""
        if self.version <= version and seconds > 0:
            self._known = version
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait((self._waiting,), timeout=seconds)
            finally:
                self._waiting = None
        return self.version > version

    def tell(self, version: int) -> None:
        """Note a version, and wake the waiter if it is news."""
        self.version = max(version, self.version)
        if self.version > self._known:
            self.wake()

    def wake(self) -> None:
        """Have the waiter look for itself."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class ChangeListener:
    """The process's ear for changes of uploads. Lives on one event loop."""

    def __init__(self, database_url: str, *, recheck: float = RECHECK_INTERVAL) -> None:
        self._database_url = database_url
        self._recheck = recheck
        self._subscriptions: defaultdict[UUID, set[Subscription]] = defaultdict(set)
        self.waiting = 0
        self.listening = False
        self.closing = False

    @contextlib.contextmanager
    def subscribe(self, upload_id: UUID) -> Iterator[Subscription]:
        """Have a waiter told of an upload's changes for as long as the context lasts."""
        subscription = Subscription()
        self._subscriptions[upload_id].add(subscription)
        self.waiting += 1
        try:
            yield subscription
        finally:
            self.waiting -= 1
            self._subscriptions[upload_id].discard(subscription)
            if not self._subscriptions[upload_id]:
                del self._subscriptions[upload_id]

    def close(self) -> None:
        """Wake everybody: whoever sees `closing` says goodbye to its client."""
        self.closing = True
        for watches in self._subscriptions.values():
            for subscription in watches:
                subscription.wake()

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is made anew."""
        pause = RETRY_FIRST
        while True:
            try:
                async with await self._connect() as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    pause, self.listening = RETRY_FIRST, True
                    await self._listen(conn)
            except (psycopg.Error, TimeoutError) as error:
                if self.listening:
                    log.warning("change_listener_disconnected", error=type(error).__name__)
                self.listening = False
            await jittered_sleep(pause)
            pause = min(pause * 2, RETRY_MAX)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._database_url, autocommit=True, application_name="darkroom-changes", connect_timeout=int(ANSWER)
        )

    async def _listen(self, conn: psycopg.AsyncConnection) -> None:
        """Pass on what is said, and look for ourselves in between. Raises psycopg.Error, or TimeoutError."""
        while True:
            await self._look(conn)
            async for notice in conn.notifies(timeout=self._recheck * random.uniform(0.8, 1.2)):
                self._pass_on(notice.payload)

    async def _look(self, conn: psycopg.AsyncConnection) -> None:
        """Ask for the versions of all that is waited for; where nothing is, this still shows a dead connection."""
        query = "SELECT id, version FROM uploads WHERE id = ANY(%b)"
        curs = await _within(ANSWER, conn, query, list(self._subscriptions))
        for upload_id, version in await curs.fetchall():
            self._tell(upload_id, version)

    def _pass_on(self, payload: str) -> None:
        try:
            for upload_id, version in unpack(payload):
                self._tell(upload_id, version)
        except ValueError:
            log.warning("notification_unreadable")

    def _tell(self, upload_id: UUID, version: int) -> None:
        for subscription in self._subscriptions.get(upload_id, ()):
            subscription.tell(version)


async def _within(seconds: float, conn: psycopg.AsyncConnection, query: str, ids: list[UUID]) -> psycopg.AsyncCursor:
    """Ask with a time limit that holds even where the server is frozen: psycopg's own cancelling would wait for it."""
    asking = asyncio.ensure_future(conn.execute(query, (ids,)))
    done, _ = await asyncio.wait((asking,), timeout=seconds)
    if not done:
        # First of all, or psycopg would ask the server that does not answer to cancel, and to roll back.
        await conn.close()
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        asking.cancel()
        raise TimeoutError
    return asking.result()
