"""What names a person beside the events: an announcement goes with its registration, all of it with an erasure.

Called within the transaction that records the event, so that neither can be had without the other.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from shared.eventstore.object_cleanups import LATE

# What leads to objects and names the person elsewhere goes, and the work that is left is
# noted. A client that was given a URL may write until it expires, and a stage that was overtaken for a while.
_FORGET = """
WITH gone AS (DELETE FROM pending_uploads WHERE id = ANY (%(erased)b::uuid[]) RETURNING id, expires_at),
unkept AS (DELETE FROM kept_uploads WHERE upload_id = ANY (%(erased)b::uuid[]))
INSERT INTO object_cleanups AS c (upload_id, due_at, until)
SELECT e.id, now(), greatest(now(), gone.expires_at) + %(late)b
FROM unnest(%(erased)b::uuid[]) AS e (id) LEFT JOIN gone ON gone.id = e.id ORDER BY e.id
ON CONFLICT (upload_id) DO UPDATE SET due_at = excluded.due_at, until = greatest(c.until, excluded.until)
"""

# An announcement goes with the registration that it allowed, and its e-mail with it. Where a client may still write,
# its URL is waited out: then all but the registered copy is removed. In upload order, as all that locks rows here.
_TAKE_ANNOUNCEMENTS = """
WITH wanted AS (SELECT id FROM pending_uploads WHERE id = ANY (%(announced)b::uuid[]) ORDER BY id FOR UPDATE),
gone AS (
    DELETE FROM pending_uploads AS p USING wanted WHERE p.id = wanted.id RETURNING p.id, p.email, p.expires_at
),
noted AS (
    INSERT INTO object_cleanups (upload_id, due_at, until)
    SELECT id, expires_at + %(late)b, expires_at + %(late)b FROM gone WHERE email IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT id FROM gone
"""


class NotAnnouncedError(Exception):
    """An announced upload cannot be registered any more: it was erased, or its time is over. Nothing was written."""


def take_announcements(conn: Any, announced: Sequence[UUID]) -> None:
    """Remove the announcements of uploads that are registered now. Raises NotAnnouncedError where one is gone."""
    taken = conn.execute(_TAKE_ANNOUNCEMENTS, {"announced": list(announced), "late": LATE}).fetchall()
    if missing := set(announced) - {row["id"] for row in taken}:
        raise NotAnnouncedError(", ".join(map(str, sorted(missing))))


def forget(conn: Any, erased: Sequence[UUID | str]) -> None:
    """Forget uploads that are erased now, and note that their objects have to go."""
    conn.execute(_FORGET, {"erased": list(erased), "late": LATE})
