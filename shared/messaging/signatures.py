"""A message's signature: proof that one of our own processes sent this body, so that it may stand in for the stream."""

import hashlib
import hmac

HEADER = "signature"


class MessageSigner:
    """Signs and checks message bodies with a keyed BLAKE2b under the installation's key.

    A body whose signature does not fit costs its consumer one read of the stream and nothing else, so the key is
    changed by setting another: messages under the old one take that way. Without a key nothing is signed, and every
    message takes it.
    """

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha256(key.encode()).digest() if key else b""

    def sign(self, body: bytes) -> str | None:
        """Return the signature of a body, in hexadecimal digits; None without a key."""
        return self._digest(body) if self._key else None

    def verify(self, body: bytes, signature: object) -> bool:
        """Return whether the signature is this body's, compared in constant time; `signature` is a header's value."""
        if not self._key or not isinstance(signature, str):
            return False
        return hmac.compare_digest(self._digest(body).encode(), signature.encode(errors="replace"))

    def _digest(self, body: bytes) -> str:
        return hashlib.blake2b(body, digest_size=32, key=self._key).hexdigest()
