"""Somebody who has only the OpenAPI document, and many ideas: what is answered is what is documented."""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.integration.gateway.runs import a_run

EXAMPLES = 25
"""Requests of each kind to each route: a minute in all."""

OPERATIONS = [
    ("POST", "/api/uploads"),
    ("POST", "/api/uploads/presign"),
    ("POST", "/api/uploads/{uploadId}/complete"),
    ("POST", "/api/process"),
    ("POST", "/api/process/{jobId}/retry"),
    ("GET", "/api/status/{jobId}"),
    ("GET", "/api/status/{jobId}/events"),
    ("GET", "/api/results/{resultId}"),
]
# No schema can say which bytes are a picture of 64 pixels and more.
NOT_SAID = {"/api/uploads": [positive_data_acceptance]}
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.fixture(scope="module")
def document(gateway):
    return schemathesis.openapi.from_url(f"{gateway.url}/schema/openapi.json")


@pytest.fixture(scope="module")
def finished(gateway):
    """A finished run, so that there is something to find: (run, its owner's headers)."""
    with a_run(gateway) as (run, headers):
        for step in run.to_the_end():
            step()
        yield run, headers


def test_the_document_has_all_routes_of_the_interface_and_no_others(document):
    ours = {
        (operation.ok().method.upper(), operation.ok().path)
        for operation in document.get_all_operations()
        if not operation.ok().path.startswith("/api/ops")
    }
    assert ours == set(OPERATIONS)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_stranger_finds_nothing_undocumented(document, method, path, mode):
    operation = document[path][method]

    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    def ask(case):
        response = case.call(timeout=30)
        # That what is too large is a 413 is not known to this check.
        too_large = [negative_data_rejection] if response.status_code == 413 else []
        case.validate_response(response, excluded_checks=[*NOT_SAID.get(path, []), *too_large])

    ask()


@pytest.mark.parametrize(("method", "path"), [operation for operation in OPERATIONS if "{" in operation[1]])
def test_an_owner_finds_nothing_undocumented(document, finished, method, path):
    run, headers = finished
    ids = {"jobId": str(run.upload_id), "uploadId": str(run.upload_id), "resultId": str(run.result_id)}
    operation = document[path][method]
    mine = {name: value for name, value in ids.items() if f"{{{name}}}" in path}

    @hypothesis.given(case=operation.as_strategy(path_parameters=mine))
    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    def ask(case):
        response = case.call_and_validate(headers=headers, timeout=30)
        assert response.status_code not in {401, 404}

    ask()
