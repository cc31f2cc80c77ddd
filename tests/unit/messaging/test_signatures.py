"""A message is believed only where one of our own processes signed just this body."""

from shared.messaging.signatures import MessageSigner

BODY = b'{"type":"ProcessingRequested"}'


def test_a_body_is_believed_with_its_own_signature_under_the_same_key_only():
    signer, another = MessageSigner("a" * 32), MessageSigner("b" * 32)
    signature = signer.sign(BODY)

    assert signer.verify(BODY, signature)
    assert not signer.verify(BODY + b" ", signature)
    assert not another.verify(BODY, signature)
    assert not any(
        signer.verify(BODY, other) for other in (None, "", 7, signature.upper(), signature.encode(), "\u017f")
    )


def test_without_a_key_nothing_is_signed_and_nothing_believed():
    signer = MessageSigner("")

    assert signer.sign(BODY) is None
    assert not signer.verify(BODY, None)
    assert not signer.verify(BODY, MessageSigner("a" * 32).sign(BODY))
