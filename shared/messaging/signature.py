"""A message's signature: who has MESSAGE_SIGNING_KEY wrote this body. It lies in the header `signature`."""

import hashlib
import hmac

HEADER = "signature"


class Signer:
    """Signs bodies and verifies them, by HMAC-SHA256. Without a key it signs nothing, and nothing verifies.

    The body names its upload, its version and every key, so that none of them can be exchanged. A message whose
    signature does not verify is not refused: it costs one read of the stream and decides nothing itself. So the key may
    be exchanged at any time, process by process: messages signed with the other key are handled like redelivered ones.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign(self, body: bytes) -> str | None:
        """Return the signature, in hexadecimal; None without a key."""
        return hmac.digest(self._key, body, hashlib.sha256).hex() if self._key else None

    def verifies(self, body: bytes, signature: object) -> bool:
        """Return whether a header of whatever type is the body's signature; in constant time."""
        expected = self.sign(body)
        if expected is None or not isinstance(signature, str):
            return False
        return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
