"""What must hold once the dust has settled, read from the event store, the broker and the provider's own count."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

import aio_pika
import msgspec
import psycopg

from contracts.events import (
    Event,
    GenerationStarted,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ResultStored,
    StageAttemptFailed,
    Status,
    decode,
)
from shared.messaging.topology import QUEUES, dead
from shared.read_model.rebuild import rebuild
from shared.upload.upload import Upload, fold
from tests.gemini_server import Gemini


class Verdict(msgspec.Struct):
    """The counts to print, and every invariant that does not hold."""

    counts: dict[str, int]
    broken: list[str]


def streams(database_url: str) -> dict[UUID, list[Event]]:
    """Read every upload's events, oldest first."""
    found: dict[UUID, list[Event]] = defaultdict(list)
    with psycopg.connect(database_url) as conn:
        query = "SELECT state FROM upload_events ORDER BY originator_id, originator_version"
        for (state,) in conn.execute(query):
            event = decode(bytes(state))
            found[event.upload_id].append(event)
    return found


def unfinished(database_url: str) -> int:
    """Count runs that have not ended, and rows that are still to be handed on."""
    with psycopg.connect(database_url) as conn:
        row = conn.execute(
            "SELECT (SELECT count(*) FROM uploads WHERE status = 'processing') + (SELECT count(*) FROM outbox)"
        ).fetchone()
    return int(row[0]) if row else 0


async def judge(
    database_url: str, amqp_url: str, accepted: Iterable[str], photos: Mapping[str, str], gemini: Gemini
) -> Verdict:
    """Check every invariant."""
    verdict = Verdict(counts={}, broken=[])
    found = streams(database_url)
    ends: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for upload_id, events in found.items():
        upload = _checked_stream(upload_id, events, verdict)
        if upload is None or upload.status is Status.PENDING:
            continue
        ends[upload.status] += 1
        if upload.failure is not None:
            codes[upload.failure.code] += 1
        _check_calls(upload, events, photos.get(str(upload_id), ""), gemini, verdict)
    for upload_id in accepted:
        if not any(isinstance(event, ProcessingCompleted | ProcessingFailed) for event in found[UUID(upload_id)]):
            verdict.broken.append(f"{upload_id} was accepted and has not ended")
    _check_read_model(database_url, verdict)
    await _check_queues(amqp_url, verdict)
    verdict.counts |= {f"runs {status}": number for status, number in sorted(ends.items())}
    verdict.counts |= {f"  failed with {code}": number for code, number in sorted(codes.items())}
    verdict.counts |= {
        "events": sum(map(len, found.values())),
        "stage attempts failed and tried again": _count(found, StageAttemptFailed),
        "provider calls claimed": _count(found, GenerationStarted),
        "provider calls received": gemini.begun,
        "pictures drawn (billed)": gemini.drawn,
    }
    return verdict


def _checked_stream(upload_id: UUID, events: list[Event], verdict: Verdict) -> Upload | None:
    """Check one stream by itself, and fold it."""
    kinds = Counter(type(event) for event in events)
    if [event.version for event in events] != list(range(1, len(events) + 1)):
        verdict.broken.append(f"{upload_id}: versions have gaps")
        return None
    if kinds[ProcessingRequested] > 1:
        verdict.broken.append(f"{upload_id}: ProcessingRequested {kinds[ProcessingRequested]} times")
    upload = fold(None, events)
    if upload is None:
        return None
    if upload.status is Status.PROCESSING:
        verdict.broken.append(f"{upload_id}: has not ended, at {upload.stage}")
    ended = kinds[ProcessingCompleted] + kinds[ProcessingFailed]
    if upload.status is not Status.PENDING and ended != 1:
        verdict.broken.append(f"{upload_id}: ended {ended} times")
    if upload.status is Status.COMPLETED and kinds[ResultStored] != 1:
        verdict.broken.append(f"{upload_id}: completed with {kinds[ResultStored]} results")
    return upload


def _check_calls(upload: Upload, events: list[Event], photo: str, gemini: Gemini, verdict: Verdict) -> None:
    """No call without a claim, and no second picture that no unknown outcome explains."""
    claims = sum(isinstance(event, GenerationStarted) for event in events)
    if gemini.begun_by_image[photo] > claims:
        verdict.broken.append(f"{upload.id}: {gemini.begun_by_image[photo]} calls on {claims} claims")
    billed_and_refused = sum(
        isinstance(event, StageAttemptFailed) and event.code in ("PROVIDER_BROKEN_IMAGE", "PROVIDER_NO_IMAGE")
        for event in events
    )
    if gemini.drawn_by_image[photo] > 1 + upload.unknown_calls + billed_and_refused:
        verdict.broken.append(
            f"{upload.id}: {gemini.drawn_by_image[photo]} pictures paid, {upload.unknown_calls} unknown outcomes"
        )


def _check_read_model(database_url: str, verdict: Verdict) -> None:
    report = rebuild(database_url)
    if report.different:
        verdict.broken.append(f"{report.different} rows of the read model are not what the events say")
    verdict.counts["uploads rebuilt from events"] = report.uploads
    with psycopg.connect(database_url) as conn:
        left = conn.execute("SELECT count(*) FROM outbox").fetchone()
    if left and left[0]:
        verdict.broken.append(f"{left[0]} rows are left in the outbox")


async def _check_queues(amqp_url: str, verdict: Verdict) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        for name in QUEUES:
            for queue in (name, dead(name)):
                declared = await channel.declare_queue(queue, passive=True)
                if declared.declaration_result.message_count:
                    verdict.broken.append(f"{declared.declaration_result.message_count} messages are stuck in {queue}")


def _count(found: Mapping[UUID, list[Event]], kind: type) -> int:
    return sum(isinstance(event, kind) for events in found.values() for event in events)
