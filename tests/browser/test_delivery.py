"""How pages and files are delivered: cached as long as they may be, and allowed to load nothing from elsewhere."""

import re

import httpx
import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def http(services):
    with httpx.Client(base_url=services.url) as client:
        yield client


def test_files_are_kept_for_ever_under_an_address_that_changes_with_them(http):
    page = http.get("/")
    files = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text)
    assert len(files) >= 3
    for file in files:
        answer = http.get(file)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert http.get(file, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_a_page_from_before_a_deployment_still_gets_its_files_but_keeps_them_not(http):
    answer = http.get("/assets/0123456789abcdef/darkroom.css")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "upload.html", "..%2Froutes.py", "__init__.py"])
def test_nothing_but_the_files_is_served(http, name):
    assert http.get(f"/assets/x/{name}").status_code == 404


def test_pages_are_asked_for_again_each_time_and_sent_only_when_they_changed(http):
    for path in ("/", "/processing/0190a1e0-0000-7000-8000-000000000000"):
        page = http.get(path)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Cache-Control"] == "no-cache"
        assert http.get(path, headers={"If-None-Match": page.headers["ETag"]}).status_code == 304


def test_who_mistypes_an_address_gets_a_page_and_a_program_gets_a_problem(http):
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    page = http.get("/procesing/1", headers=browser)
    assert page.status_code == 404
    assert "There is nothing here" in page.text
    assert "style-src 'self'" in page.headers["Content-Security-Policy"]
    for path, headers in (("/procesing/1", {}), ("/api/nothing", browser)):
        problem = http.get(path, headers=headers)
        assert problem.status_code == 404
        assert problem.json()["code"] == "NOT_FOUND"


def test_a_page_holds_nothing_inline_and_names_nobody_else(http):
    for path in ("/", "/processing/x"):
        page = http.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
        assert not re.search(r'(?:href|src)="(?!/)', page.replace('href="#"', ""))


def test_posthog_is_named_only_where_it_has_a_key(services, posthog, tmp_path):
    with_key = httpx.get(services.url)
    assert directive(with_key, "connect-src") == {"'self'", services.url, posthog.url}
    assert "phc_test" in with_key.text
    with Stack(tmp_path, services.database_url, services.env["AMQP_URL"], {"POSTHOG_HOST": posthog.url}) as keyless:
        keyless.start("gateway")
        keyless.wait_ready(within=60)
        page = httpx.get(keyless.url)
        assert directive(page, "connect-src") == {"'self'", keyless.url}
        assert posthog.url not in page.text
        assert directive(page, "default-src") == {"'self'"}


def directive(page, name):
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    return set(policy[name].split())
