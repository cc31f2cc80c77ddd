"""The pages' own arithmetic, run where it runs: in a browser."""

import hashlib
import uuid

import pytest

from services.analytics.captures import _OCCURRENCES, distinct_id

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def run(visitor):
    """Gives a function that runs JavaScript with a script of the pages imported as `it`."""
    page = visitor.page
    page.goto("/")
    base = page.locator("script[type=module]").get_attribute("src").rpartition("/")[0]

    def run_in_page(script, body, argument=None):
        return page.evaluate(f"async (argument) => {{ const it = await import('{base}/{script}'); {body} }}", argument)

    return run_in_page


def test_neither_progress_nor_what_is_left_ever_goes_back_whatever_a_stage_takes(run):
    wrong = run(
        "progress.js",
        """
        const wrong = [];
        for (const taken of [[0, 0, 0, 0], [1, 60, 1, 1], [30, 200, 40, 90], [0.1, 75, 0.1, 900], [3, 1, 2, 3]]) {
            let progress = 0, left = Infinity;
            it.STAGES.forEach((stage, at) => {
                for (let seconds = 0; seconds <= taken[at]; seconds += taken[at] / 50 || 1) {
                    const now = it.progressOf(stage.name, seconds, stage.from);
                    const rest = it.remaining(stage.name, seconds).seconds;
                    if (now < progress || rest > left || now >= 100) wrong.push([stage.name, seconds, now, rest]);
                    [progress, left] = [now, rest];
                }
            });
        }
        return wrong;
        """,
    )
    assert wrong == []


def test_a_late_stage_is_called_late_and_not_almost_there(run):
    words = run(
        "progress.js",
        """return [0, 40, 60, 73, 120].map((seconds) => it.remainingInWords(it.remaining('generating', seconds)));""",
    )
    assert words == [
        "about a minute and a half left",
        "about 45 seconds left",
        "a few more seconds",
        "a few more seconds",
        "taking a little longer than usual",
    ]


def test_server_sent_events_are_read_alike_however_the_network_cuts_them(run):
    text = ':hello\r\nid: 4\r\ndata: {"a":\r\ndata: 1}\n\n:\n\nevent: x\rdata:two\rid: 5\r\rid: 6\n\ndata: cut off'
    events = run(
        "live.js",
        """
        return Array.from({ length: argument.length }, (_, size) => {
            const read = it.eventReader(), found = [];
            for (let at = 0; at < argument.length; at += size + 1) {
                found.push(...read(argument.slice(at, at + size + 1)));
            }
            return found;
        });
        """,
        text,
    )
    expected = [{"id": "4", "data": '{"a":\n1}'}, {"id": "5", "data": "two"}]
    assert [found for found in events if found != expected] == []


def test_a_capture_has_the_names_that_the_server_gives_it(run):
    made = run(
        "analytics.js",
        "return [await it.uuid5(argument[0], argument[1]), await it.distinctId(argument[2])];",
        [str(_OCCURRENCES), "0190a1e0-0000-7000-8000-000000000000:2", "token"],
    )
    assert made[0] == str(uuid.uuid5(_OCCURRENCES, "0190a1e0-0000-7000-8000-000000000000:2"))
    assert made[1] == distinct_id(hashlib.sha256(b"token").hexdigest())
