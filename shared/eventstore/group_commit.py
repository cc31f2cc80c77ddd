"""Group commit: one writer per process commits every append that waits in one transaction.

One by one, a commit's wait for the disk is the price of each append; in a group it is shared. A conflict costs only the
append that conflicts: the group is sorted out and the rest committed.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import msgspec
from eventsourcing.persistence import IntegrityError, InterfaceError, OperationalError, PersistenceError

from contracts.events import Event, encode
from shared.database.audit_log import AuditDraft
from shared.eventstore.application import UploadsApplication
from shared.eventstore.outbox import OutboxRow, RowKey, ends_run
from shared.eventstore.personal_data import NotAnnouncedError
from shared.eventstore.recorder import NoLongerWantedError
from shared.jitter import jittered_sleep
from shared.projection.uploads import changes_of

log = logging.getLogger(__name__)

MAX_GROUP = 256
"""Appends in one transaction; more wait for the next."""
REMOVAL_DELAY = 0.1
"""Seconds that settled outbox rows wait for an append to ride along with."""
ANNOUNCE_DELAY = 0.025
"""Seconds after a commit until its uploads are announced: what it makes due goes first, and the next groups join in."""
RETRY_FIRST, RETRY_MAX = 0.1, 5.0
"""Seconds between tries while the database is away: doubling from the first to the last, with jitter."""


class ConflictError(Exception):
    """Somebody else recorded an event at this version first. Nothing was written: load and decide again."""


class StoreUnavailableError(Exception):
    """The database did not answer in time. Nothing was written; or all of it, where only the answer was lost."""


class Append(msgspec.Struct, kw_only=True):
    """Consecutive events of one upload, and the outbox rows that go with them: written whole or not at all."""

    events: Sequence[Event]
    outbox: Sequence[OutboxRow]
    done: asyncio.Future[None]
    announced: bool = False
    audit: AuditDraft | None = None
    abandoned: bool = False

    @property
    def upload_id(self) -> UUID:
        """The upload that all events belong to."""
        return self.events[0].upload_id


Outcome = BaseException | None
Committed = Callable[[Sequence[OutboxRow]], None]
StateChanged = Callable[[bool], None]
Written = Callable[[int, float], None]
"""Hears how many appends shared a commit, and how many seconds it took."""


class GroupCommit:
    """The process's only writer of events. Lives on one event loop; the blocking library runs in its own thread."""

    def __init__(
        self,
        application: UploadsApplication,
        *,
        on_committed: Committed,
        on_state: StateChanged = lambda _: None,
        on_written: Written = lambda _, __: None,
        max_group: int = MAX_GROUP,
    ) -> None:
        self._application = application
        self._on_committed = on_committed
        self._on_state = on_state
        self._on_written = on_written
        self._max_group = max_group
        self._waiting: deque[Append] = deque()
        self._published: list[RowKey] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="group-commit")
        self._changed: dict[UUID, int] = {}
        self._announcer = ThreadPoolExecutor(1, thread_name_prefix="announcer")
        self._announcing: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> asyncio.Task[None]:
        """Begin to write; call on the event loop. The task ends with `close`, or with an error that nobody foresaw."""
        self._writer = asyncio.get_running_loop().create_task(self._write_forever(), name="group-commit")
        return self._writer

    async def append(
        self,
        events: Sequence[Event],
        outbox: Sequence[OutboxRow],
        *,
        announced: bool = False,
        audit: AuditDraft | None = None,
        wait: float | None = None,
    ) -> None:
        """Commit consecutive events of one upload with their outbox rows; the rows due now are published right after.

        Waits for the database for up to `wait` seconds (None: for ever). With `announced` the announcement goes, too;
        `audit` is written with the events.
        Raises ConflictError, StoreUnavailableError, NotAnnouncedError where that is gone, or the library's
        PersistenceError where the database refuses the append itself. Raises ValueError where the events are not
        consecutive: the database would take it for a conflict, and sort out the whole group each time.
        """
        if any((e.upload_id, e.version) != (events[0].upload_id, events[0].version + n) for n, e in enumerate(events)):
            raise ValueError(f"these do not follow each other: {', '.join(event.message_id for event in events)}")
        if self._closing:
            raise StoreUnavailableError("the writer is closing")
        done = asyncio.get_running_loop().create_future()
        waiting = Append(events=events, outbox=outbox, done=done, announced=announced, audit=audit)
        self._waiting.append(waiting)
        self._wake.set()
        if wait is None:
            await waiting.done
            return
        patience = asyncio.get_running_loop().call_later(wait, self._withdraw, waiting)
        try:
            await waiting.done
        finally:
            patience.cancel()

    def remove_published(self, keys: Sequence[RowKey]) -> None:
        """Have outbox rows removed that were published: with the next group, or alone if none comes soon."""
        self._published.extend(keys)
        self._wake.set()

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await asyncio.wait((self._writer,))
        if self._announcing is not None:
            await self._announcing
        self._thread.shutdown(wait=False)
        self._announcer.shutdown(wait=False)

    def _withdraw(self, waiting: Append) -> None:
        """See that an append is not written any more; the try that is under way may still succeed."""
        if waiting.done.done():
            return
        waiting.abandoned = True
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiting)
        waiting.done.set_exception(StoreUnavailableError("the database did not answer in time"))

    async def _write_forever(self) -> None:
        while not self._closing or self._waiting or self._published:
            await self._wait_for_work()
            group, published = self._take_group(), self._take_published()
            if group or published:
                await self._write(group, published)

    async def _wait_for_work(self) -> None:
        """Return once an append waits; settled rows alone are worth a transaction after SETTLE_DELAY, or in numbers."""
        while not self._waiting and not self._closing and len(self._published) < self._max_group:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), REMOVAL_DELAY if self._published else None)
            except TimeoutError:
                return

    def _take_group(self) -> list[Append]:
        """Take what waits, at most one append an upload: a rival within the group would spoil the whole transaction."""
        group: dict[UUID, Append] = {}
        rivals: list[Append] = []
        while self._waiting and len(group) < self._max_group:
            append = self._waiting.popleft()
            if append.upload_id in group:
                rivals.append(append)
            else:
                group[append.upload_id] = append
        self._waiting.extendleft(reversed(rivals))
        return [group[upload_id] for upload_id in sorted(group)]

    def _take_published(self) -> list[RowKey]:
        published, self._published = self._published, []
        return published

    async def _write(self, group: list[Append], published: list[RowKey]) -> None:
        loop = asyncio.get_running_loop()
        wait = RETRY_FIRST
        while True:
            # Before every try, and so after the pause: who gave up during it was told that nothing is written.
            group = [append for append in group if not append.abandoned]
            began = loop.time()
            try:
                outcomes = await loop.run_in_executor(self._thread, self._commit, group, published)
            except (OperationalError, InterfaceError) as error:
                self._on_state(False)
                if self._closing and wait >= RETRY_MAX:
                    self._resolve(group, [StoreUnavailableError(str(error))] * len(group))
                    return
                await jittered_sleep(wait)
                wait = min(wait * 2, RETRY_MAX)
            else:
                self._on_state(True)
                self._on_written(len(group), loop.time() - began)
                self._resolve(group, outcomes)
                return

    def _resolve(self, group: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """Hand on what is due now, tell each waiter, and refuse rivals of what was just written."""
        written = {a.upload_id: a.events[-1].version for a, o in zip(group, outcomes, strict=True) if o is None}
        due = [row for a, o in zip(group, outcomes, strict=True) if o is None for row in a.outbox if row.now]
        if due:
            self._on_committed(due)  # first: the next stage waits for it
        for append, outcome in zip(group, outcomes, strict=True):
            _tell(append, outcome)
        self._announce(written)
        for rival in [a for a in self._waiting if a.events[0].version <= written.get(a.upload_id, 0)]:
            self._waiting.remove(rival)
            _tell(rival, ConflictError(rival.events[0].message_id))

    def _announce(self, written: dict[UUID, int]) -> None:
        """Announce which uploads changed, after the commit and beside the next one.

        Within it, NOTIFY would make the commits of all processes wait for each other's disk: it takes a lock on the
        whole database. It is a hint; what a crash leaves unsaid, those who wait look up.
        """
        self._changed |= written
        if self._changed and (self._announcing is None or self._announcing.done()):
            self._announcing = asyncio.get_running_loop().create_task(self._announce_all())

    async def _announce_all(self) -> None:
        while self._changed:
            if not self._closing:
                await asyncio.sleep(ANNOUNCE_DELAY)
            changed, self._changed = self._changed, {}
            with contextlib.suppress(PersistenceError):
                await asyncio.get_running_loop().run_in_executor(self._announcer, self._application.announce, changed)

    # From here on: in the writer's thread.

    def _commit(self, group: Sequence[Append], published: Sequence[RowKey]) -> list[Outcome]:
        """Commit a group; return each outcome. Raises OperationalError or InterfaceError where the fate is unknown."""
        try:
            self._save(group, published)
        except (IntegrityError, NotAnnouncedError) as error:
            return self._resolve_conflicts(group, published, error)
        except (OperationalError, InterfaceError):
            raise
        except NoLongerWantedError:
            return self._without_abandoned(group, published)
        except Exception as error:  # noqa: BLE001 — whatever is wrong with one append must not end the writer
            if len(group) <= 1:
                return [error] * len(group)
            return [self._commit([append], ())[0] for append in group]
        return [None] * len(group)

    def _without_abandoned(self, group: Sequence[Append], published: Sequence[RowKey]) -> list[Outcome]:
        """Commit what is still waited for; the others were told that nothing is written."""
        wanted = [append for append in group if not append.abandoned]
        outcomes = dict(zip([append.upload_id for append in wanted], self._commit(wanted, published), strict=True))
        unwritten = StoreUnavailableError("nobody waited any more")
        return [outcomes.get(append.upload_id, unwritten) for append in group]

    def _resolve_conflicts(
        self, group: Sequence[Append], published: Sequence[RowKey], refusal: Exception
    ) -> list[Outcome]:
        """Find who lost to what is recorded already, and commit the rest.

        An event that stands there to the letter is our own: the commit before went through, only its answer was lost.
        Where nothing is recorded at an append's version, another rule refused it.
        """
        recorded = self._application.states([append.events[0] for append in group])
        rest = [append for append in group if append.upload_id not in recorded]
        if len(rest) == len(group):
            return [refusal] if len(group) == 1 else [self._commit([append], ())[0] for append in group]
        outcomes: dict[UUID, Outcome] = {
            a.upload_id: o for a, o in zip(rest, self._commit(rest, published), strict=True)
        }
        for append in group:
            first = append.events[0]
            if recorded.get(append.upload_id) != encode(first):
                outcomes.setdefault(append.upload_id, ConflictError(f"{first.message_id} is taken"))
        return [outcomes.get(append.upload_id) for append in group]

    def _save(self, group: Sequence[Append], published: Sequence[RowKey]) -> None:
        self._application.record(
            [event for append in group for event in append.events],
            changes=[changes_of(append.events) for append in group],
            outbox=[row for append in group for row in append.outbox],
            ended=[append.upload_id for append in group if ends_run(append.events[-1])],
            published=published,
            announced=[append.upload_id for append in group if append.announced],
            audit=[append.audit for append in group if append.audit is not None],
            still_wanted=lambda: not any(append.abandoned for append in group),
        )


def _tell(append: Append, outcome: Outcome) -> None:
    """Wake the waiter, unless it went away."""
    if append.done.done() or append.abandoned:
        return
    if outcome is None:
        append.done.set_result(None)
    else:
        append.done.set_exception(outcome)
