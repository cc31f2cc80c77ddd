"""Session tokens."""

import hmac

import pytest

from services.gateway.http import sessions
from services.gateway.http.problems import InvalidSessionTokenError
from services.gateway.http.sessions import check_token, digest, new_token


def test_a_token_opens_only_what_has_its_digest():
    token = new_token()
    check_token(token, digest(token))
    for wrong in (token[:-1], token + "x", "", digest(token), "é", "\udcff"):
        with pytest.raises(InvalidSessionTokenError):
            check_token(wrong, digest(token))


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) >= 43 and token.isascii() for token in tokens)


def test_digests_are_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(sessions.hmac, "compare_digest", lambda *both: compared.append(both) or True)
    check_token("a token", "another digest")
    assert compared == [(digest("a token"), "another digest")]
    assert hmac is sessions.hmac
