"""The front page: a photo is chosen, handed over, or refused in words that help."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.holding import held
from tests.photos import a_gif, a_jpeg

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_photo_becomes_a_picture_that_is_seen_beside_it_and_can_be_saved(visitor, photo, services):
    page = visitor.page
    page.goto("/")
    page.get_by_label("Choose a photo").set_input_files(photo)
    expect(page.get_by_alt_text("Your photo, coffee.jpg")).to_be_visible()
    page.get_by_label("E-mail").fill("ann@example.com")
    visitor.shoot("upload-chosen")
    with held(services, "generator"):
        page.get_by_role("button", name="Develop this photo").click()
        visitor.sees("Your picture is developing")
        expect(page.locator("li[aria-current=step]")).to_contain_text("Now: Developing")
        expect(page).to_have_title(re.compile("^2[0-9]% Developing · darkroom$"))
        visitor.shoot("developing")
    visitor.sees("Your picture is ready")
    expect(page).to_have_title("Ready · darkroom")
    assert shown(page, "The photo you gave us") == [900, 600]
    assert shown(page, "The preview of your finished picture")[0] > 0
    visitor.shoot("ready")

    with page.expect_download() as saving:
        page.get_by_role("link", name="Download preview").click()
    assert saving.value.suggested_filename == "coffee-darkroom.jpg"
    assert saving.value.path().read_bytes().startswith(b"\xff\xd8\xff")


def test_the_front_page_leads_back_to_what_was_handed_over_before(visitor, photo):
    job_id = visitor.hand_over(photo)
    visitor.sees("Your picture is ready")
    visitor.page.close()
    visitor.page = visitor.context.new_page()
    visitor.page.goto("/")
    earlier = visitor.page.get_by_role("region", name="Earlier on this device").get_by_role("link")
    expect(earlier).to_contain_text("coffee.jpg")
    visitor.shoot("upload-earlier")
    earlier.click()
    visitor.sees("Your picture is ready")
    assert visitor.page.url.endswith(f"/processing/{job_id}")
    visitor.expected = {409}


def test_what_the_gateway_refuses_is_told_in_its_words_beside_the_photo(visitor, tmp_path):
    visitor.expected = {413, 415, 400}
    tiny = tmp_path / "tiny.jpg"
    tiny.write_bytes(a_jpeg(32, 32))
    page = visitor.page
    page.goto("/")
    page.get_by_label("Choose a photo").set_input_files(tiny)
    page.get_by_label("E-mail").fill("ann@example.com")
    page.get_by_role("button", name="Develop this photo").click()
    error = page.locator("#photo-error")
    expect(error).to_have_text("The picture is 32 by 32 pixels; each side needs at least 64.")
    expect(page.locator("#photo")).to_be_focused()
    expect(page.locator("#photo")).to_have_accessible_description(
        "JPEG, PNG, WebP or AVIF, up to 50 megapixels. The picture is 32 by 32 pixels; each side needs at least 64."
    )
    visitor.shoot("upload-refused")

    fake = tmp_path / "letter.jpg"
    fake.write_bytes(b"Dear Sir or Madam")
    page.locator("#photo").set_input_files(fake)
    expect(error).to_be_hidden()
    page.get_by_role("button", name="Develop this photo").click()
    expect(error).to_have_text("The file is not a picture in JPEG, PNG, WebP or AVIF format.")


def test_what_is_surely_refused_is_not_sent_at_all(visitor, tmp_path):
    huge, gif, empty = tmp_path / "huge.jpg", tmp_path / "moving.gif", tmp_path / "empty.jpg"
    with huge.open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    gif.write_bytes(a_gif())
    empty.touch()
    page = visitor.page
    page.goto("/")
    for file, why in (
        (huge, "This file has 60 MB; at most 50 MB can be sent."),
        (gif, "This is not a picture in JPEG, PNG, WebP or AVIF format. Save it as a JPEG and choose that."),
        (empty, "This file is empty."),
    ):
        page.locator("#photo").set_input_files(file)
        expect(page.locator("#photo-error")).to_have_text(why)
        page.get_by_role("button", name="Develop this photo").click()
        expect(page.locator("#photo-error")).to_have_text(why)
    assert not visitor.asked_for("/api/")


def test_an_empty_form_says_what_is_missing_and_takes_the_focus_there(visitor):
    page = visitor.page
    page.goto("/")
    page.get_by_role("button", name="Develop this photo").click()
    expect(page.locator("#photo-error")).to_have_text("Choose a photo first.")
    expect(page.locator("#email-error")).to_contain_text("e-mail address")
    expect(page.locator("#photo")).to_be_focused()
    visitor.shoot("upload-incomplete")
    page.get_by_label("E-mail").fill("ann@example.com")
    expect(page.locator("#email-error")).to_be_hidden()


def test_a_photo_can_be_dropped_anywhere_and_pasted(visitor):
    page = visitor.page
    page.goto("/")
    for event, name in (("drop", "dropped.jpg"), ("paste", "pasted.jpg")):
        taken = page.evaluate(
            """([event, name, bytes]) => {
                const files = new DataTransfer();
                files.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/jpeg' }));
                const options = { bubbles: true, cancelable: true };
                const happening = event === 'drop'
                    ? new DragEvent('drop', { ...options, dataTransfer: files })
                    : new ClipboardEvent('paste', { ...options, clipboardData: files });
                document.querySelector('h1').dispatchEvent(happening);
                return happening.defaultPrevented;
            }""",
            [event, name, list(a_jpeg(80, 80))],
        )
        expect(page.get_by_alt_text(f"Your photo, {name}")).to_be_visible()
        assert taken or event == "paste"  # or the browser would leave the page for the photo


def test_an_upload_under_way_shows_how_far_it_is_and_can_be_cancelled(visitor, photo):
    page = visitor.page
    page.route("**/api/uploads", lambda route: None)  # never answered
    page.goto("/")
    page.get_by_label("Choose a photo").set_input_files(photo)
    page.get_by_label("E-mail").fill("ann@example.com")
    page.get_by_role("button", name="Develop this photo").click()
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
    visitor.shoot("upload-sending")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Develop this photo")).to_be_focused()
    expect(page.get_by_label("E-mail")).to_have_value("ann@example.com")
    assert page.evaluate("localStorage.length") == 0


def test_an_upload_that_cannot_get_through_says_why_and_keeps_what_was_entered(visitor, photo):
    visitor.expected = {429, "ERR_FAILED"}
    page = visitor.page
    page.goto("/")
    page.get_by_label("Choose a photo").set_input_files(photo)
    page.get_by_label("E-mail").fill("ann@example.com")
    page.route("**/api/uploads", lambda route: route.abort())
    page.get_by_role("button", name="Develop this photo").click()
    expect(page.get_by_role("alert")).to_contain_text("The connection broke off")
    expect(page.get_by_role("alert")).to_be_focused()

    page.unroute("**/api/uploads")
    page.route("**/api/uploads", lambda route: route.fulfill(**too_many()))
    page.get_by_role("button", name="Develop this photo").click()
    expect(page.get_by_role("alert")).to_have_text("Too many uploads. Please try again in 7 seconds.")

    page.unroute("**/api/uploads")
    page.get_by_role("button", name="Develop this photo").click()
    page.wait_for_url("**/processing/*")


def test_a_browser_that_keeps_nothing_is_told_before_anything_is_sent(visitor):
    page = visitor.page
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('denied', 'SecurityError'); }")
    page.goto("/")
    expect(page.get_by_role("alert")).to_contain_text("you could not come back to your picture")
    expect(page.get_by_role("button", name="Develop this photo")).to_be_disabled()


def shown(page, alt):
    """Return the size of a picture that is seen, once it is."""
    image = page.get_by_alt_text(alt)
    expect(image).to_be_visible()
    image.evaluate("(image) => image.decode()")
    return image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")


def too_many():
    return {
        "status": 429,
        "headers": {"Retry-After": "7"},
        "json": {"success": False, "code": "RATE_LIMITED", "detail": "Too many uploads."},
    }
