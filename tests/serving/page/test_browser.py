"""The page as a visitor sees it, in Chromium."""

import re

import pytest
from PIL import Image

HEART = "Which label does the heart point to?"
BLUE = "What number is in the blue frame?"
LONG = 60_000  # ms


@pytest.fixture
def visit(browser, site):
    """Open the page in a browser session of its own."""
    contexts = []

    def open_page(width=1100, height=900):
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(LONG)
        contexts.append(context)
        page = context.new_page()
        page.goto(site.url)
        page.wait_for_selector("#ask")
        return page

    yield open_page
    for context in contexts:
        context.close()


def slider(page):
    return page.locator("#tokens input[type=range]")


def choose(page, question):
    """An example, up to the moment when the slider knows its tokens."""
    page.get_by_text(question, exact=True).first.click()
    page.wait_for_selector("#tokens input[type=range][max='196']")
    page.wait_for_function("text => document.querySelector('#question textarea').value === text", arg=question)


def answered(page, kept):
    """(text, cost) of the full and of the pruned answer, once `kept` tokens were kept."""
    page.wait_for_selector(f"#pruned-card .cost:has-text('{kept} of 196')")
    return [
        (page.inner_text(f"#{card}-card .text"), page.inner_text(f"#{card}-card .cost")) for card in ("full", "pruned")
    ]


def drag(page, to):
    """Take the slider's thumb to a number of tokens with the mouse, and let go."""
    box, least, most = slider(page).bounding_box(), 1, 196
    now = float(slider(page).input_value())
    radius = 8

    def x(value):
        return box["x"] + radius + (value - least) / (most - least) * (box["width"] - 2 * radius)

    y = box["y"] + box["height"] / 2
    page.mouse.move(x(now), y)
    page.mouse.down()
    page.mouse.move(x(to), y, steps=5)
    page.mouse.up()


def test_a_question_is_answered_from_all_tokens_and_from_a_tenth(visit, vlm):
    page = visit()
    choose(page, HEART)
    page.click("#ask")
    (full, full_cost), (pruned, pruned_cost) = answered(page, 20)
    assert (full, pruned) == ("B", "B")
    assert re.fullmatch(r"196 of 196 visual tokens, \d+\sms", full_cost)
    assert re.fullmatch(r"20 of 196 visual tokens, \d+\sms", pruned_cost)
    drawn = page.eval_on_selector_all("#answers img", "images => images.map(image => image.naturalWidth)")
    assert drawn == [336, 336]


def test_dragging_the_slider_answers_again_from_as_many_tokens(visit):
    page = visit()
    choose(page, HEART)
    page.click("#ask")
    before = answered(page, 20)[0]
    drag(page, 120)
    page.wait_for_function("!document.querySelector('#pruned-card .cost')?.innerText.startsWith('20 ')")
    kept = int(slider(page).input_value())
    assert 100 < kept < 140
    full, _ = answered(page, kept)
    assert full == before  # not computed again: its time is the same


def test_the_slider_goes_from_one_token_to_all(visit):
    page = visit()
    choose(page, HEART)
    assert (slider(page).get_attribute("min"), slider(page).get_attribute("max")) == ("1", "196")
    drag(page, 1)
    answered(page, 1)
    drag(page, 196)
    (full, _), (pruned, _) = answered(page, 196)
    assert full == pruned


def test_the_line_for_a_terminal_gives_the_answer_of_the_page(visit, tmp_path, monkeypatch, capsys):
    import shlex
    import shutil

    from grip_vlm import cli, registry

    page = visit()
    choose(page, BLUE)
    page.click("#ask")
    _, (text, _) = answered(page, 20)
    line = page.inner_text("#command .cm-content").replace("\n", "")
    shutil.copy(registry.PACKAGE / "assets" / "examples" / "pointing.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    assert words[:2] == ["grip-vlm", "answer"]
    cli.main(words[1:])
    assert capsys.readouterr().out.splitlines()[0] == text


def test_methods_are_compared(visit):
    page = visit()
    choose(page, HEART)
    page.click("#method input")
    page.get_by_role("option", name="random").click()
    page.click("#ask")
    answered(page, 20)
    assert page.inner_text("#pruned-card h3") == "random"


def test_another_vlm_offers_the_methods_that_work_with_it(visit, vlm_dir):
    page = visit()
    choose(page, HEART)
    page.click("#vlm input")
    page.get_by_role("option", name=str(vlm_dir)).click()
    page.wait_for_function("document.querySelector('#method input').value === 'random'")
    page.get_by_role("option", name="tiny-llava", exact=True).wait_for(state="detached")  # the first list has faded out
    page.click("#method input")
    texts = page.get_by_role("option").all_inner_texts()
    assert [text.split()[-1] for text in texts] == ["random", "fastv"]  # the chosen one has a tick before it


def test_auto_is_shown_where_the_scorer_has_a_calibration(visit, site):
    from grip_vlm import pruners
    from grip_vlm.serving.comparison import offers_auto

    page = visit()
    choose(page, HEART)
    assert page.locator("#auto").is_visible() == offers_auto(pruners.parse("grip", "tiny-llava", 0)[1])


def test_auto_decides_the_number_of_tokens_where_the_scorer_is_calibrated(visit):
    page = visit()
    choose(page, HEART)
    page.check("#auto input")
    page.wait_for_selector("#tokens input[type=range]:disabled")
    page.click("#ask")
    page.wait_for_selector("#pruned-card .cost:has-text('of 196')")
    assert 1 <= int(page.inner_text("#pruned-card .cost").split()[0]) < 196
    assert "--budget auto" in page.inner_text("#command .cm-content").replace("\n", "")
    assert page.inner_text("#pruned-card .text") == "B"


def test_a_file_that_is_no_image_gives_a_sentence(visit, tmp_path):
    path = tmp_path / "notes.png"
    path.write_bytes(b"these are notes")
    page = visit()
    page.set_input_files("#image input[type=file]", str(path))
    page.wait_for_selector("#wrong [role=alert]")
    sentence = "'notes.png' is not an image that can be read: its format is not known."
    assert page.inner_text("#wrong").strip() == sentence
    page.fill("#question textarea", HEART)
    page.click("#ask")
    page.wait_for_selector("#wrong [role=alert]")
    assert page.locator("#pruned-card").count() == 0


def test_a_method_that_cannot_keep_so_few_tokens_says_so(visit):
    page = visit()
    choose(page, HEART)
    page.click("#method input")
    page.get_by_role("option", name="fastv").click()
    drag(page, 1)
    page.wait_for_selector("#wrong [role=alert]")
    assert "keeps at least" in page.inner_text("#wrong")


@pytest.mark.parametrize(("question", "sentence"), [("", "There is no image yet"), (HEART, "There is no image yet")])
def test_what_is_missing_is_said(visit, question, sentence):
    page = visit()
    page.fill("#question textarea", question)
    page.click("#ask")
    page.wait_for_selector("#wrong [role=alert]")
    assert sentence in page.inner_text("#wrong")


def test_two_visitors_at_once_get_their_own_answers(visit):
    first, second = visit(), visit()
    choose(first, HEART)
    choose(second, BLUE)
    for _ in range(3):
        first.click("#ask")
        second.click("#ask")
        assert answered(first, 20)[1][0] == "B"
        assert answered(second, 20)[1][0] == "4"
        assert first.inner_text(".asked") == HEART
        assert second.inner_text(".asked") == BLUE


def test_an_image_is_deleted_when_its_last_visitor_leaves(visit, site, tmp_path):
    path = tmp_path / "private.png"
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path)
    pages = visit(), visit()
    for page in pages:
        page.set_input_files("#image input[type=file]", str(path))
        page.wait_for_selector("#tokens input[type=range][max='196']")
    assert site.files("private.png")
    pages[0].context.close()
    pages[1].wait_for_timeout(3000)
    assert site.files("private.png")
    pages[1].context.close()
    other = visit()
    for _ in range(40):
        if not site.files("private.png"):
            break
        other.wait_for_timeout(500)
    assert not site.files("private.png")


def test_a_name_and_a_question_with_markup_are_shown_as_text(visit):
    page = visit()
    choose(page, HEART)
    page.fill("#question textarea", "<img src=x onerror=alert(1)> & what?")
    page.click("#ask")
    answered(page, 20)
    assert page.inner_text(".asked") == "<img src=x onerror=alert(1)> & what?"
    assert page.locator("#answers img").count() == 2


def test_nothing_is_fetched_from_elsewhere(browser, site):
    context = browser.new_context()
    page = context.new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(site.url)
    page.wait_for_selector("#ask")
    choose(page, HEART)
    page.click("#ask")
    answered(page, 20)
    assert requests
    assert [url for url in requests if not url.startswith((site.url, "data:", "blob:"))] == []
    context.close()


def test_the_page_fits_a_phone(visit):
    page = visit(width=360, height=740)
    choose(page, HEART)
    page.click("#ask")
    answered(page, 20)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    full, pruned = (page.locator(f"#{card}-card").bounding_box() for card in ("full", "pruned"))
    assert full["y"] == pruned["y"]
    assert pruned["x"] >= full["x"] + full["width"]
