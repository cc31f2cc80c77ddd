"""Every event of the Upload aggregate, as one tagged union of frozen Structs.

The same Struct is the domain event, the stored event (as JSON in the event table) and the message body on RabbitMQ.
Instants are timezone-aware UTC datetimes, sizes are bytes, lengths are pixels, keys name objects in the object store.
An event is never changed once recorded; its `type` tag is its name for ever.
"""

import enum
from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

import msgspec

Version = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Attempt = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
OWNER = "user"
"""What stands in `ReplayRequested.requested_by` where the upload's owner asked; else it is an operator's name."""

ObjectKey = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Status(enum.StrEnum):
    """Where an upload stands, as a client sees it."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class Stage(enum.StrEnum):
    """The step of the saga that is due, or `complete` when none is."""

    VALIDATING = "validating"
    GENERATING = "generating"
    STORING = "storing"
    WATERMARKING = "watermarking"
    COMPLETE = "complete"


class _Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=False):
    """One thing that happened to one upload. `version` counts from 1 without gaps within an upload."""

    schema_version: ClassVar[int] = 1

    upload_id: UUID
    version: Version
    occurred_at: Instant

    @property
    def originator_id(self) -> UUID:
        """The aggregate's id under the name that the `eventsourcing` library asks for."""
        return self.upload_id

    @property
    def originator_version(self) -> int:
        """The event's position under the name that the `eventsourcing` library asks for."""
        return self.version

    @property
    def message_id(self) -> str:
        """`{upload_id}:{version}`: the event's identity on the wire, the same at every delivery."""
        return f"{self.upload_id}:{self.version}"

    @property
    def correlation_id(self) -> str | None:
        """The run's id (workflowRunId), or None before a run was asked for."""
        return None


class _RunFact(_Fact, frozen=True, kw_only=True):
    """A fact of one run. `attempt` counts the tries of the whole run: 1, then one more with every replay."""

    workflow_run_id: UUID
    attempt: Attempt

    @property
    def correlation_id(self) -> str | None:
        """The run's id (workflowRunId)."""
        return str(self.workflow_run_id)


class UploadRegistered(_Fact, frozen=True, kw_only=True, tag="UploadRegistered"):
    """An original lies in the object store. Recorded by the gateway; never published, since it names the e-mail."""

    email: str
    session_token_digest: str
    original_key: ObjectKey
    content_type: str
    size_bytes: Bytes
    width: Pixels
    height: Pixels


class ProcessingRequested(_RunFact, frozen=True, kw_only=True, tag="ProcessingRequested"):
    """A run began; it ends by `deadline_at` one way or the other. Recorded by the gateway; the validator reacts."""

    original_key: ObjectKey
    deadline_at: Instant


class ImageValidated(_RunFact, frozen=True, kw_only=True, tag="ImageValidated"):
    """The original decodes fully and is within limits. Recorded by the validator; the generator reacts."""

    original_key: ObjectKey
    width: Pixels
    height: Pixels
    format: str
    sha256: str
    size_bytes: Bytes


class GenerationStarted(_RunFact, frozen=True, kw_only=True, tag="GenerationStarted"):
    """The AI provider is about to be called, call number `call` of this run; nobody else may call before `lease_until`.

    Recorded by the generator before the call, so that a call that died in flight is seen. Nobody reacts. `max_unknown`
    is how many calls of unknown outcome the upload is allowed to get over; None in events of the first release.
    """

    worker: str
    call: Attempt
    lease_until: Instant
    max_unknown: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class ImageGenerated(_RunFact, frozen=True, kw_only=True, tag="ImageGenerated"):
    """The new picture lies under `generated_key`. Recorded by the generator; the storer reacts.

    `generation` counts the run's pictures from 1. `provider` is `gemini` or `local`; `model` is the provider's own name
    of what drew it.
    """

    generated_key: ObjectKey
    generation: Attempt
    provider: str
    model: str
    content_type: str
    width: Pixels
    height: Pixels
    size_bytes: Bytes


class ResultStored(_RunFact, frozen=True, kw_only=True, tag="ResultStored"):
    """The result lies under its final key. Recorded by the storer; the watermarker reacts."""

    result_id: UUID
    result_key: ObjectKey
    content_type: str
    width: Pixels
    height: Pixels
    size_bytes: Bytes


class PreviewWatermarked(_RunFact, frozen=True, kw_only=True, tag="PreviewWatermarked"):
    """The watermarked preview lies under `preview_key`. Recorded by the watermarker, with ProcessingCompleted."""

    preview_key: ObjectKey
    content_type: str
    width: Pixels
    height: Pixels
    size_bytes: Bytes


class ProcessingCompleted(_RunFact, frozen=True, kw_only=True, tag="ProcessingCompleted"):
    """The run ended well. Recorded by the watermarker; analytics reacts."""

    result_id: UUID
    preview_key: ObjectKey


class StageAttemptFailed(_RunFact, frozen=True, kw_only=True, tag="StageAttemptFailed"):
    """Try number `stage_attempt` of a stage failed and the next one is due at `retry_at`. The same stage reacts, then.

    `outcome_unknown` says that the AI provider may have done, and billed, the work all the same.
    """

    stage: Stage
    stage_attempt: Attempt
    code: str
    message: str
    retry_at: Instant
    outcome_unknown: bool = False


class ProcessingFailed(_RunFact, frozen=True, kw_only=True, tag="ProcessingFailed"):
    """The run ended badly, at `stage`. `message` is fit for a person; `retryable` says whether its owner may try again.

    `outcome_unknown` is that of StageAttemptFailed, for the call that the run ended with.
    """

    stage: Stage
    code: str
    message: str
    retryable: bool
    outcome_unknown: bool = False


class ReplayRequested(_RunFact, frozen=True, kw_only=True, tag="ReplayRequested"):
    """A failed run goes on at `from_stage` as `attempt`, with what earlier stages left. That stage reacts.

    `requested_by` is OWNER or an operator's name; `reason` is in their words.
    """

    from_stage: Stage
    requested_by: str
    reason: str
    deadline_at: Instant


class UploadErased(_Fact, frozen=True, kw_only=True, tag="UploadErased"):
    """The person asked to be forgotten: the pictures and the e-mail are gone. Nobody reacts."""

    requested_by: str
    reason: str


Event = (
    UploadRegistered
    | ProcessingRequested
    | ImageValidated
    | GenerationStarted
    | ImageGenerated
    | ResultStored
    | PreviewWatermarked
    | ProcessingCompleted
    | StageAttemptFailed
    | ProcessingFailed
    | ReplayRequested
    | UploadErased
)
RunEvent = (
    ProcessingRequested
    | ImageValidated
    | GenerationStarted
    | ImageGenerated
    | ResultStored
    | PreviewWatermarked
    | ProcessingCompleted
    | StageAttemptFailed
    | ProcessingFailed
    | ReplayRequested
)

EVENT_TYPES: tuple[type[Event], ...] = Event.__args__

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Return the event's JSON, as stored and as sent."""
    return _encoder.encode(event)


def decode(body: bytes) -> Event:
    """Read an event from its JSON. Raises msgspec.DecodeError (or its ValidationError) on anything else.

    On bytes that no publisher of ours wrote it may raise more: UnicodeDecodeError, RecursionError, MemoryError.
    """
    return _decoder.decode(body)


def routing_key(event_type: type[Event]) -> str:
    """Return the topic routing key of an event type: `upload.` and its name in snake_case."""
    name = event_type.__name__
    return "upload." + "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
