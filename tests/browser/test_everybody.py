"""The pages for people with a telephone, a keyboard, a screen reader, a dark room, or no patience for motion."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.holding import held

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

TELEPHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SMALLEST = {"viewport": {"width": 320, "height": 568}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state_of_the_pages(visit, photo, gemini, services, scheme):
    visitor = visit(color_scheme=scheme, reduced_motion="reduce")
    for state in every_state(visitor, photo, gemini, services):
        visitor.shoot(f"{scheme}-{state}")
        found = Axe().run(visitor.page)
        assert found.violations_count == 0, f"{state}: {found.generate_report()}"


@pytest.mark.parametrize("screen", [TELEPHONE, SMALLEST], ids=["telephone", "smallest"])
def test_on_a_telephone_nothing_runs_over_the_edge_and_everything_can_be_hit(visit, photo, gemini, services, screen):
    visitor = visit(**screen)
    page = visitor.page
    for state in every_state(visitor, photo, gemini, services):
        visitor.shoot(f"{screen['viewport']['width']}-{state}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state
        assert page.evaluate(SMALL_TARGETS) == [], state


def test_everything_can_be_done_with_the_keyboard_alone(visitor, photo):
    page = visitor.page
    page.on("filechooser", lambda _: None)  # from now on the browser hands its file dialogue over
    page.goto("/")
    press_until(page, "#photo")
    assert page.locator("#drop").evaluate("(drop) => getComputedStyle(drop).outlineStyle") == "solid"
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Enter")
    choosing.value.set_files(photo)
    press_until(page, "#email")
    page.keyboard.type("ann@example.com")
    page.keyboard.press("Enter")
    visitor.sees("Your picture is ready")
    press_until(page, "#download")
    with page.expect_download():
        page.keyboard.press("Enter")


def test_a_screen_reader_hears_each_step_and_the_end(visitor, photo, services):
    visitor.page.add_init_script(RECORD_WHAT_IS_SPOKEN)
    with held(services, "generator"):
        visitor.hand_over(photo)
        expect(visitor.page.locator("li[aria-current=step]")).to_contain_text("Developing")
    visitor.sees("Your picture is ready")
    spoken = visitor.page.evaluate("spoken")
    assert spoken[-1] == "Your picture is ready."
    assert any(words.startswith("Step 2 of 4: Developing.") for words in spoken)
    assert len(spoken) <= 6, spoken
    bar = visitor.page.locator("#bar")
    assert "percent" in bar.get_attribute("aria-valuetext")


def test_who_asks_for_less_motion_sees_none(visitor, photo, services):
    page = visitor.page
    with held(services, "generator"):
        visitor.hand_over(photo)
        expect(page.locator("li[aria-current=step]")).to_contain_text("Developing")
        assert page.evaluate("document.getAnimations().length") > 0
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate("document.getAnimations().length") == 0


def every_state(visitor, photo, gemini, services):
    """Bring a visitor to every state, one after the other, and name it."""
    page = visitor.page
    page.goto("/")
    yield "front"
    page.get_by_role("button", name="Develop this photo").click()
    yield "front-incomplete"
    page.get_by_label("Choose a photo").set_input_files(photo)
    expect(page.get_by_alt_text("Your photo, coffee.jpg")).to_be_visible()
    yield "front-chosen"
    with held(services, "generator"):
        job_id = visitor.hand_over(photo)
        expect(page.locator("li[aria-current=step]")).to_contain_text("Developing")
        yield "developing"
    visitor.sees("Your picture is ready")
    yield "ready"
    page.goto("/")
    expect(page.get_by_role("region", name="Earlier on this device")).to_be_visible()
    yield "front-earlier"
    gemini.use("auth:401")
    visitor.hand_over(photo)
    visitor.sees("This one did not work out")
    yield "failed"
    page.evaluate("localStorage.clear()")
    page.goto(f"/processing/{job_id}")
    visitor.sees("This browser does not have the key")
    yield "no-key"
    visitor.expected = {404}
    page.goto("/nowhere")
    visitor.sees("There is nothing here")
    yield "nowhere"


def press_until(page, selector, key="Tab"):
    for _ in range(12):
        page.keyboard.press(key)
        if page.evaluate("(selector) => document.activeElement?.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by {key}")


# The file input has no size of its own: what is hit is the frame around it.
SMALL_TARGETS = """() => [...document.querySelectorAll('a, button, input, label.drop')]
    .filter((target) => target.checkVisibility() && target.type !== 'file')
    .map((target) => [target.textContent.trim() || target.id, target.getBoundingClientRect()])
    .filter(([, { width, height }]) => Math.min(width, height) < 44)
    .map(([name, { width, height }]) => `${name}: ${width} by ${height}`)"""

RECORD_WHAT_IS_SPOKEN = """
    window.spoken = [];
    document.addEventListener('DOMContentLoaded', () => {
        const region = document.getElementById('spoken');
        new MutationObserver(() => window.spoken.push(region.textContent))
            .observe(region, { childList: true, characterData: true, subtree: true });
    });"""
