"""Configuration from the environment, one frozen class per concern. Nothing is read at import.

In development a missing credential is a warning and the local stand-in takes over; in production it is a refusal that
names every missing or wrong setting at once.
"""

import math
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]

RATE_LIMIT_UPLOADS = 30
RATE_LIMIT_COMPLETE = 60
RATE_LIMIT_PROCESS = 60
"""Calls a minute and client in production, where nothing else is set. In development there is no limit."""

KEY_LENGTH = 32
"""Characters of a secret of ours, at the least."""
KEY_VARIETY = 8
"""How many of them differ in production, at the least."""

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")

_NO_URL = re.compile(r"[\s\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})")

DEFAULT_GEMINI_MODEL = "gemini-3.1-flash-image"


class SettingsError(Exception):
    """The configuration cannot work; `problems` has a sentence for each setting that is missing or wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("configuration refused:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


class _FromEnvironment(msgspec.Struct, frozen=True, kw_only=True, rename="upper"):
    """Settings whose names in the environment are the field names in capitals."""


class Process(_FromEnvironment, frozen=True, kw_only=True):
    """How a process presents itself. `grace_period`: seconds from SIGTERM to the end of what is under way.

    `health_port` is where it answers /health/live, /health/ready and /metrics; 0 for nowhere.
    """

    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: Port = 8000
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console", ""] = ""
    grace_period: Seconds = 25.0
    health_port: Port = 0


class Database(_FromEnvironment, frozen=True, kw_only=True):
    """Where PostgreSQL is, as a libpq URL."""

    database_url: str = ""


class Broker(_FromEnvironment, frozen=True, kw_only=True):
    """Where RabbitMQ is, as an AMQP URL with the vhost as its path.

    `message_signing_key` is what all processes sign messages with, and verify them. Without one every message costs a
    read of its upload's events, as one of a stranger does.
    """

    amqp_url: str = ""
    message_signing_key: str = ""


class Objects(_FromEnvironment, frozen=True, kw_only=True):
    """Where the pictures lie: `s3://bucket` or `file:///dir`. `public_url` is how clients reach this service.

    `s3_public_endpoint_url` is how clients reach the bucket's server, where they know it by another name than we do.
    """

    object_store_url: str = ""
    s3_endpoint_url: str = ""
    s3_public_endpoint_url: str = ""
    s3_region: str = "auto"
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""
    public_url: str = ""


class Gateway(_FromEnvironment, frozen=True, kw_only=True):
    """Who may call the gateway, and how often. Rates are calls a minute and client, 0 for no limit.

    `cors_origins` and `trusted_proxies` (addresses or networks) are separated by commas. `trusted_proxy_hops` is how
    many such proxies a request passes, one after the other, at most. `upload_timeout`: seconds that a body may take.
    `streams_per_client` is how many event streams and long polls a gateway keeps open for one client.
    `upload_spool_bytes` is what uploads that are coming in may hold of a gateway's temporary disk.
    """

    cors_origins: str = ""
    trusted_proxies: str = ""
    trusted_proxy_hops: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    streams_per_client: Annotated[int, msgspec.Meta(gt=0)] = 256
    upload_timeout: Seconds = 600.0
    upload_spool_bytes: Annotated[int, msgspec.Meta(gt=0)] = 768 * 1024 * 1024
    upload_spool_bytes_per_client: Annotated[int, msgspec.Meta(gt=0)] = 256 * 1024 * 1024
    rate_limit_uploads: Annotated[int, msgspec.Meta(ge=0)] | None = None
    rate_limit_complete: Annotated[int, msgspec.Meta(ge=0)] | None = None
    rate_limit_process: Annotated[int, msgspec.Meta(ge=0)] | None = None

    @property
    def origins(self) -> list[str]:
        """Return the origins whose pages may call."""
        return _listed(self.cors_origins)

    @property
    def proxies(self) -> list[str]:
        """Return the proxies whose word for a client's address is taken."""
        return _listed(self.trusted_proxies)


class Retention(_FromEnvironment, frozen=True, kw_only=True):
    """How long uploads are kept, in days from when they came; 0 for ever. A run under way is never cut short.

    `retention_unstarted_days` is for those that were never started, `retention_days` for all.
    """

    retention_unstarted_days: Annotated[float, msgspec.Meta(ge=0, le=36_500)] = 7
    retention_days: Annotated[float, msgspec.Meta(ge=0, le=36_500)] = 0


class Generator(_FromEnvironment, frozen=True, kw_only=True):
    """Who draws. A call takes up to `generator_timeout` seconds and is leased for a little longer.

    `generator_max_unknown` is how many calls of unknown outcome (each may be billed) an upload gets over,
    however often its owner tries again.
    """

    generator: Literal["gemini", "local", ""] = ""
    gemini_api_key: str = ""
    gemini_model: str = DEFAULT_GEMINI_MODEL
    gemini_base_url: str = ""
    generator_timeout: Seconds = 150.0
    generator_max_unknown: Annotated[int, msgspec.Meta(ge=0)] = 2


class Analytics(_FromEnvironment, frozen=True, kw_only=True):
    """Where product analytics go; nowhere without a key."""

    posthog_api_key: str = ""
    posthog_host: str = "https://eu.i.posthog.com"


class Operators(_FromEnvironment, frozen=True, kw_only=True):
    """What lets an operator in. `provider_call_cost` estimates, in US dollars, what a call of the AI provider costs."""

    operator_token: str = ""
    provider_call_cost: Annotated[float, msgspec.Meta(ge=0)] = 0.04


class Telemetry(_FromEnvironment, frozen=True, kw_only=True):
    """Where traces go, as an OTLP/HTTP URL; nowhere without one."""

    otel_exporter_otlp_endpoint: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All concerns; a service takes only its own. `warnings` says which stand-ins took over."""

    process: Process
    database: Database
    broker: Broker
    objects: Objects
    gateway: Gateway
    generator: Generator
    analytics: Analytics
    operators: Operators
    telemetry: Telemetry = Telemetry()
    retention: Retention = Retention()
    warnings: tuple[str, ...] = ()


def load(environ: Mapping[str, str], *, data_dir: Path = Path(".darkroom"), service: str = "all") -> Settings:
    """Read, check and complete a service's configuration. Raises SettingsError naming all that is wrong at once."""
    problems: list[str] = []
    settings = Settings(
        process=_read(Process, environ, problems),
        database=_read(Database, environ, problems),
        broker=_read(Broker, environ, problems),
        objects=_read(Objects, environ, problems),
        gateway=_read(Gateway, environ, problems),
        generator=_read(Generator, environ, problems),
        analytics=_read(Analytics, environ, problems),
        operators=_read(Operators, environ, problems),
        telemetry=_read(Telemetry, environ, problems),
        retention=_read(Retention, environ, problems),
    )
    problems += _wrong(settings, service)
    production = settings.process.environment == "production"
    missing = _missing(settings, service)
    if production:
        problems += [said for said in missing if said.split()[0] not in " ".join(problems)] + _unsafe(settings)
    if problems:
        raise SettingsError(problems)
    return _with_stand_ins(settings, tuple(_unencrypted(settings) if production else missing), data_dir)


def _read(kind: type[S], environ: Mapping[str, str], problems: list[str]) -> S:
    """Convert one concern, setting by setting, so that each wrong one is named; an empty value counts as unset."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        raw = environ.get(field.encode_name, "").strip()
        if not raw:
            continue
        try:
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except msgspec.ValidationError as error:
            said = "the value" if _is_secret(field.encode_name) else repr(raw)
            problems.append(f"{field.encode_name}={said}: {error}")
            continue
        if isinstance(values[field.name], float) and not math.isfinite(values[field.name]):
            problems.append(f"{field.encode_name}={raw!r}: not a number")
    return kind(**values)


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_TOKEN", "_SECRET_ACCESS_KEY", "_URL"))


def _wrong(settings: Settings, service: str) -> list[str]:
    """Name settings that have a value which cannot work."""
    found = []
    schemes = (
        ("DATABASE_URL", settings.database.database_url, ("postgresql", "postgres")),
        ("AMQP_URL", settings.broker.amqp_url, ("amqp", "amqps")),
        ("OBJECT_STORE_URL", settings.objects.object_store_url, ("s3", "file")),
        ("S3_ENDPOINT_URL", settings.objects.s3_endpoint_url, ("http", "https")),
        ("S3_PUBLIC_ENDPOINT_URL", settings.objects.s3_public_endpoint_url, ("http", "https")),
        ("GEMINI_BASE_URL", settings.generator.gemini_base_url, ("http", "https")),
        ("POSTHOG_HOST", settings.analytics.posthog_host, ("http", "https")),
        ("PUBLIC_URL", settings.objects.public_url, ("http", "https")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", settings.telemetry.otel_exporter_otlp_endpoint, ("http", "https")),
    )
    for name, value, allowed in schemes:
        if value and (_scheme(value) not in allowed or not _is_url(value)):
            found.append(f"{name} must be a valid URL that begins with {' or '.join(a + '://' for a in allowed)}")
    store = settings.objects.object_store_url
    if _scheme(store) == "s3" and not urlsplit(store).netloc:
        found.append("OBJECT_STORE_URL names no bucket: write s3://bucket")
    if 0 < len(settings.broker.message_signing_key) < KEY_LENGTH:
        found.append(f"MESSAGE_SIGNING_KEY has fewer than {KEY_LENGTH} characters")
    found += _wrong_lists(settings.gateway)
    draws = service in (EVERYTHING, "generator")
    if draws and settings.generator.generator == "gemini" and not settings.generator.gemini_api_key:
        found.append("GENERATOR=gemini needs GEMINI_API_KEY")
    return found


def _unsafe(settings: Settings) -> list[str]:
    """Name what would do for a laptop only."""
    return (
        ["CORS_ORIGINS: * lets every page of the web call; name the origins"] if "*" in settings.gateway.origins else []
    )


def _unencrypted(settings: Settings) -> list[str]:
    """Name engines that are asked without encryption, on another machine than this."""
    asked = (
        ("DATABASE_URL", settings.database.database_url, "sslmode=", "add sslmode=require or verify-full"),
        ("AMQP_URL", settings.broker.amqp_url, "amqps:", "write amqps://"),
        ("S3_ENDPOINT_URL", settings.objects.s3_endpoint_url, "https:", "write https://"),
    )
    return [
        f"{name} asks for no encryption: {advice}, unless the network itself is encrypted"
        for name, url, sign, advice in asked
        if url and sign not in url and urlsplit(url).hostname not in {None, "localhost", "127.0.0.1", "::1"}
    ]


def _scheme(url: str) -> str:
    """Return a URL's scheme, or nothing where it is not even one."""
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


def _is_url(text: str) -> bool:
    """Return whether all of a text can be in a URL: no spaces, and a % only before two hexadecimal digits."""
    return not _NO_URL.search(text)


def _wrong_lists(gateway: Gateway) -> list[str]:
    """Name the members of lists that cannot work."""
    found = [
        f"CORS_ORIGINS: {origin!r} is no origin: write https://example.com, without a path"
        for origin in gateway.origins
        if origin != "*" and not _ORIGIN.fullmatch(origin)
    ]
    for proxy in gateway.proxies:
        try:
            ip_network(proxy)
        except ValueError:
            found.append(f"TRUSTED_PROXIES: {proxy!r} is neither an address nor a network such as 10.0.0.0/8")
    return found


def _listed(text: str) -> list[str]:
    return [member.strip() for member in text.split(",") if member.strip()]


def _missing(settings: Settings, service: str) -> list[str]:
    """Name what a service cannot do without in production, and what development has a stand-in for."""
    needs = [need for need in _NEEDS if service == EVERYTHING or need.by(service)]
    return [said for need in needs if (said := need.lacks(settings))]


class _Need(NamedTuple):
    """A setting that services cannot do without: which of them, and what is said where it is missing."""

    by: Callable[[str], bool]
    lacks: Callable[[Settings], str]


EVERYTHING = "all"
"""A process that runs every service."""
COMMAND = "command"
"""A command of an operator: it needs what it uses, and says so itself."""
_WITHOUT_PICTURES = frozenset({"dispatcher", "analytics", COMMAND})


def _everyone(_: str) -> bool:
    return True


def _is_service(name: str) -> bool:
    return name != COMMAND


def _has_pictures(name: str) -> bool:
    return name not in _WITHOUT_PICTURES


def _unset(name: str, get: Callable[[Settings], str]) -> Callable[[Settings], str]:
    return lambda settings: "" if get(settings) else f"{name} is not set"


def _short(name: str, get: Callable[[Settings], str]) -> Callable[[Settings], str]:
    advice = f"{name} needs {KEY_LENGTH} characters or more, many of them different: try `openssl rand -hex 32`"
    return lambda settings: advice if len(get(settings)) < KEY_LENGTH or len(set(get(settings))) < KEY_VARIETY else ""


def _lacks_s3_key(name: str) -> Callable[[Settings], str]:
    def lacks(settings: Settings) -> str:
        bucket = settings.objects.object_store_url.startswith("s3:")
        return f"{name.upper()} is not set" if bucket and not getattr(settings.objects, name) else ""

    return lacks


def _lacks_generator(settings: Settings) -> str:
    chosen = settings.generator.generator or settings.generator.gemini_api_key
    return "" if chosen else "GENERATOR is not set, and there is no GEMINI_API_KEY"


_NEEDS = (
    _Need(_everyone, _unset("DATABASE_URL", lambda settings: settings.database.database_url)),
    _Need(_is_service, _unset("AMQP_URL", lambda settings: settings.broker.amqp_url)),
    _Need(_is_service, _short("MESSAGE_SIGNING_KEY", lambda settings: settings.broker.message_signing_key)),
    _Need(_has_pictures, _unset("OBJECT_STORE_URL", lambda settings: settings.objects.object_store_url)),
    _Need(_has_pictures, _lacks_s3_key("s3_access_key_id")),
    _Need(_has_pictures, _lacks_s3_key("s3_secret_access_key")),
    _Need("generator".__eq__, _lacks_generator),
    _Need("gateway".__eq__, _short("OPERATOR_TOKEN", lambda settings: settings.operators.operator_token)),
)
"""Who needs what. A service has no credential that it does not use."""


def _with_stand_ins(settings: Settings, warnings: tuple[str, ...], data_dir: Path) -> Settings:
    """Complete a configuration: in development a local directory for objects; the generator by the key's presence."""
    objects, generator = settings.objects, settings.generator
    production = settings.process.environment == "production"
    gateway = msgspec.structs.replace(
        settings.gateway,
        rate_limit_uploads=_first(settings.gateway.rate_limit_uploads, RATE_LIMIT_UPLOADS if production else 0),
        rate_limit_complete=_first(settings.gateway.rate_limit_complete, RATE_LIMIT_COMPLETE if production else 0),
        rate_limit_process=_first(settings.gateway.rate_limit_process, RATE_LIMIT_PROCESS if production else 0),
    )
    if not objects.object_store_url:
        directory = (data_dir / "objects").absolute().as_uri()
        objects = msgspec.structs.replace(objects, object_store_url=directory)
    if not generator.generator:
        choice: Literal["gemini", "local"] = "gemini" if generator.gemini_api_key else "local"
        generator = msgspec.structs.replace(generator, generator=choice)
    return msgspec.structs.replace(settings, objects=objects, gateway=gateway, generator=generator, warnings=warnings)


def _first(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given
