"""The page of a job: through reloads, restarts, second tabs and failures, to the picture or to words that help."""

import uuid

import pytest
from playwright.sync_api import expect

from tests.browser.holding import held
from tests.browser.posthog_server import starts
from tests.browser.test_upload_page import shown
from tests.stack import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

READY = "Your picture is ready"
DEVELOPING = "Your picture is developing"


def test_a_reload_in_the_middle_shows_the_same_place_and_goes_on(visitor, photo, gemini, services):
    visitor.expected = {409}
    page = visitor.page
    page.clock.install()
    with held(services, "generator"):
        visitor.hand_over(photo)
        expect(step(page)).to_contain_text("Developing")
        page.clock.fast_forward(30_000)
        expect(page.get_by_text("about 45 seconds left")).to_be_visible()
        visitor.shoot("half-way")
        before, elapsed = progress(page), page.locator("#elapsed").inner_text()
        assert before > 40
        assert elapsed >= "0:30"
        page.add_init_script(RECORD_PROGRESS)
        page.reload()
        expect(step(page)).to_contain_text("Developing")
        assert min(page.evaluate("shown")) >= before
        assert page.locator("#elapsed").inner_text() >= elapsed
    visitor.sees(READY)
    page.reload()
    visitor.sees(READY)
    assert shown(page, "The photo you gave us") == [900, 600]
    assert gemini.drawn == 1


def test_a_gateway_that_dies_is_waited_for(visitor, photo, services):
    visitor.expected = {"ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET"}
    page = visitor.page
    with held(services, "generator"):
        job_id = visitor.hand_over(photo)
        expect(step(page)).to_contain_text("Developing")
        services.kill("gateway")
        try:
            expect(page.get_by_text("Connection lost. Reconnecting…")).to_be_visible()
            expect(page.get_by_role("status")).to_have_text("Connection lost. Reconnecting.")
            visitor.shoot("reconnecting")
        finally:
            services.start("gateway")
            services.wait_ready(within=60)
    visitor.sees(READY)
    reconnected = visitor.asked_for(f"/api/status/{job_id}/events")[1:]
    assert reconnected
    assert all(headers["last-event-id"].isdecimal() for headers in reconnected)


def test_a_failure_that_may_pass_can_be_tried_again_until_it_is_ready(visitor, photo, gemini, services):
    visitor.expected = {409}
    gemini.use("auth:401")
    visitor.hand_over(photo)
    page = visitor.page
    visitor.sees("This one did not work out")
    expect(page).to_have_title("Did not work out · darkroom")
    expect(page.locator("#failed-why")).not_to_be_empty()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    visitor.shoot("failed-retryable")
    gemini.use("ok")
    with held(services, "generator"):
        page.get_by_role("button", name="Try again").click()
        visitor.sees(DEVELOPING)
    visitor.sees(READY)
    page.reload()  # its history has a failure in it, and that is not how it ended
    visitor.sees(READY)


def test_a_failure_that_will_not_pass_offers_another_photo_instead(visitor, photo, gemini):
    gemini.use("blocked")
    visitor.hand_over(photo)
    visitor.sees("This one did not work out")
    expect(visitor.page.get_by_role("button", name="Try again")).to_be_hidden()
    visitor.shoot("failed-for-good")
    visitor.page.get_by_role("link", name="Choose another photo").click()
    visitor.sees("Hand over a photo. Come back to a picture.")


def test_a_second_tab_finds_the_run_under_way_and_both_see_it_end(visitor, photo, gemini, services):
    visitor.expected = {409}
    with held(services, "generator"):
        job_id = visitor.hand_over(photo)
        visitor.sees(DEVELOPING)
        expect(step(visitor.page)).to_contain_text("Developing")
        second = visitor.context.new_page()
        with second.expect_response("**/api/process") as start:
            second.goto(f"/processing/{job_id}")
        assert start.value.status == 409
        expect(step(second)).to_contain_text("Developing")
    for page in (second, visitor.page):
        expect(page.get_by_role("heading", level=1)).to_have_text(READY, timeout=30_000)
    assert gemini.drawn == 1


def test_without_the_key_or_with_a_wrong_one_the_page_kindly_says_whose_it_is(visit, photo):
    owner, stranger = visit(), visit()
    job_id = owner.hand_over(photo)
    stranger.page.goto(f"/processing/{job_id}")
    stranger.sees("This browser does not have the key")
    assert not stranger.asked_for("/api/")
    stranger.shoot("no-key")
    stranger.expected = {401}
    give_key(stranger.page, job_id, "wrong")
    stranger.page.reload()
    stranger.sees("This browser does not have the key")
    stranger.page.get_by_role("link", name="Develop a photo here").click()
    stranger.sees("Hand over a photo. Come back to a picture.")
    owner.sees(READY)


def test_an_unknown_job_is_called_unknown(visitor):
    visitor.expected = {404}
    visitor.page.goto("/")
    job_id = uuid.uuid4()
    give_key(visitor.page, job_id, "any")
    visitor.page.goto(f"/processing/{job_id}")
    visitor.sees("There is no picture here")
    visitor.shoot("unknown")


def test_a_start_that_fails_on_our_side_is_made_again_unasked(visitor, photo):
    visitor.expected = {500}
    failures = iter([True, True])
    visitor.page.route(
        "**/api/process",
        lambda route: (
            route.fulfill(status=500, json={"code": "WORKFLOW_TRIGGER_FAILED"})
            if next(failures, None)
            else route.continue_()
        ),
    )
    visitor.hand_over(photo)
    visitor.sees(READY)
    assert len(visitor.asked_for("/api/process")) >= 3


def test_the_page_follows_a_stream_and_where_none_comes_through_it_polls(visit, photo, services):
    streaming = visit()
    with held(services, "generator"):
        job_id = streaming.hand_over(photo)
        expect(step(streaming.page)).to_contain_text("Developing")
    streaming.sees(READY)
    assert len(streaming.asked_for(f"/api/status/{job_id}/events")) == 1
    assert len([url for url, _ in streaming.requests if url.endswith(f"/api/status/{job_id}")]) == 1
    assert not streaming.asked_for("wait=")

    polling = visit()
    polling.expected = {404}
    polling.page.route("**/events", lambda route: route.fulfill(status=404, json={"code": "NOT_FOUND"}))
    with held(services, "generator"):
        polling.hand_over(photo)
        expect(step(polling.page)).to_contain_text("Developing")
    polling.sees(READY)
    assert len(polling.asked_for("/events")) == 1
    assert polling.asked_for("wait=20")
    assert all("if-none-match" in headers for headers in polling.asked_for("wait=20"))


def test_without_the_original_the_preview_stands_alone(visitor, photo):
    visitor.expected = {409}
    visitor.hand_over(photo)
    visitor.sees(READY)
    page = visitor.page
    page.goto("/")  # a page that holds no connection to the database
    page.evaluate(
        """() => new Promise((resolve, reject) => {
            Object.assign(indexedDB.deleteDatabase('darkroom'), { onsuccess: resolve, onerror: reject });
        })"""
    )
    page.go_back()
    visitor.sees(READY)
    expect(page.get_by_alt_text("The photo you gave us")).to_be_hidden()
    assert shown(page, "The preview of your finished picture")[0] > 0
    visitor.shoot("ready-alone")


def test_a_link_to_the_preview_that_has_run_out_is_asked_for_anew(visitor, photo):
    visitor.expected = {404}
    links = iter([True])
    visitor.page.route(
        "**/objects/**", lambda route: route.fulfill(status=404) if next(links, None) else route.continue_()
    )
    with visitor.page.expect_response("**/api/results/*"):
        visitor.hand_over(photo)
    visitor.sees(READY)
    expect(visitor.page.locator("#preview-trouble")).to_be_hidden()
    assert shown(visitor.page, "The preview of your finished picture")[0] > 0


def test_a_picture_can_be_forgotten_on_this_device(visitor, photo):
    job_id = visitor.hand_over(photo)
    visitor.sees(READY)
    visitor.page.get_by_role("button", name="Forget it on this device").click()
    visitor.sees("Hand over a photo. Come back to a picture.")
    expect(visitor.page.get_by_role("region", name="Earlier on this device")).to_be_hidden()
    assert visitor.page.evaluate("localStorage.length") == 0
    visitor.page.goto(f"/processing/{job_id}")
    visitor.sees("This browser does not have the key")


def test_a_start_is_told_to_posthog_once_and_just_as_the_server_tells_it(visitor, photo, posthog):
    visitor.expected = {409}
    job_id = visitor.hand_over(photo)
    token = visitor.token(job_id)
    visitor.sees(READY)
    visitor.page.reload()
    visitor.sees(READY)
    eventually(lambda: bool(starts(posthog.from_pages, job_id) and starts(posthog.from_servers, job_id)), within=20)
    [told] = starts(posthog.from_pages, job_id)
    [server] = starts(posthog.from_servers, job_id)
    same = ("event", "distinct_id", "uuid")
    assert [told[name] for name in same] == [server[name] for name in same]
    assert told["api_key"] == "phc_test"
    for name, value in told["properties"].items():
        assert server["properties"][name] == value
    assert not [body for body in posthog.raw if token in body or "ann@example.com" in body]


def step(page):
    return page.locator("li[aria-current=step]")


def progress(page):
    return int(page.get_by_role("progressbar", name="Progress").get_attribute("aria-valuenow"))


def give_key(page, job_id, token):
    page.evaluate(
        "([id, token]) => localStorage.setItem(`darkroom.upload.${id}`, JSON.stringify({ token, at: Date.now() }))",
        [str(job_id), token],
    )


RECORD_PROGRESS = """
    window.shown = [];
    document.addEventListener('DOMContentLoaded', () => {
        const bar = document.getElementById('bar');
        new MutationObserver(() => window.shown.push(Number(bar.getAttribute('aria-valuenow'))))
            .observe(bar, { attributes: true });
    });"""
