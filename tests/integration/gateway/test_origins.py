"""Which other origins' pages may call, and what production adds."""

import pytest

from tests.integration.gateway.gateways import a_gateway

FRIEND, STRANGER = "https://app.example.com", "https://app.example.com.evil.example"


@pytest.fixture(scope="module")
def open_gateway(module_database_url, tmp_path_factory):
    env = {
        "CORS_ORIGINS": f"http://localhost:5173, {FRIEND}",
        "ENVIRONMENT": "production",
        "OPERATOR_TOKEN": "0123456789abcdef" * 2,
    }
    with a_gateway(tmp_path_factory.mktemp("origins"), module_database_url, env=env) as running:
        yield running


def preflight(gateway, origin, method="POST", headers="content-type, x-session-token"):
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return gateway.http.options("/api/process", headers={"Origin": origin, **asked})


def test_a_listed_origin_may_send_the_token_and_read_the_answer(open_gateway):
    allowed = preflight(open_gateway, FRIEND)
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "x-session-token" in allowed.headers["Access-Control-Allow-Headers"].lower()
    answer = open_gateway.http.post("/api/process", json={}, headers={"Origin": FRIEND})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", [STRANGER, "null", "http://app.example.com", "https://appxexample.com"])
def test_no_other_origin_may(open_gateway, origin):
    assert "Access-Control-Allow-Origin" not in preflight(open_gateway, origin).headers
    answer = open_gateway.http.get("/health/live", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_configuration_no_origin_may(gateway):
    answer = gateway.http.get("/health/live", headers={"Origin": FRIEND})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_production_tells_browsers_to_stay_with_https(open_gateway):
    assert open_gateway.http.get("/health/live").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_production_limits_how_often_a_client_starts_runs_unless_told_otherwise(open_gateway):
    headers = {"X-Session-Token": "x", "Content-Type": "text/plain"}
    codes = [open_gateway.http.post("/api/process", headers=headers).status_code for _ in range(61)]
    assert codes == [415] * 60 + [429]
