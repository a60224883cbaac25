"""The pages in a browser: offline, without an error on its console, by keyboard, without scripts,
and what axe-core says of contrast and structure.

Run by its name, in an environment of its own: ``nox -s browser``.
"""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import probe
from probe.report.html import entry, sweep_page

TABLE = "table.sortable tbody tr"
NAMES = ("agree", "diverge", "sweep", "element", "comparison")


@pytest.fixture(scope="module")
def pages(models, tmp_path_factory):
    """A file of each kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    model, other, x = models
    agrees = probe.check(model, "second", x)
    wrong = np.array(agrees.outputs["framework"])
    wrong[1, 2, 3:, 2:] += 1
    diverges = probe.check(model, "second", x, expected=wrong)
    swept = [*probe.sweep(model, x, flow=True), diverges]
    texts = {
        "agree": agrees.to_html(),
        "diverge": diverges.to_html(),
        "sweep": sweep_page(
            [entry(one, place, True) for place, one in enumerate(swept, 1)],
            "net.onnx",
            "5 agree, 1 diverge, 0 unchecked",
            command="probe net.onnx --all",
        ),
        "element": probe.explain(model, "second", x, at=(0, 1, 1, 1)).to_html(),
        "comparison": probe.compare(model, other, x).to_html(),
    }
    assert tuple(texts) == NAMES
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in texts}


@pytest.fixture
def opened(browser, pages):
    """Opens a page by its name; fails where it says an error or asks for another file."""
    contexts, told = [], []

    def open_(name, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda one: one.url == pages[name] or told.append(one.url))
        page.goto(pages[name])
        return page

    yield open_
    for context in contexts:
        context.close()
    assert told == []


def rows(page, column):
    return [one.inner_text() for one in page.locator(f"{TABLE} td:nth-child({column})").all()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_has_nothing_to_say(opened, name, scheme):
    page = opened(name, color_scheme=scheme)
    for one in page.locator("details").all():
        one.evaluate("one => { one.open = true }")
    page.set_viewport_size({"width": 500, "height": 800})
    found = Axe().run(page).response["violations"]
    told = [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found]
    assert told == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [360, 420, 1000, 1600])
def test_a_page_is_no_wider_than_the_window(opened, name, width):
    page = opened(name, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


BROKEN_WORDS = """() => [...document.querySelectorAll("th, .number, .whole")].flatMap(cell => {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = []
    for (let node; (node = walker.nextNode());)
        for (const word of node.textContent.matchAll(/[\\w.]+/g)) {
            const range = document.createRange()
            range.setStart(node, word.index)
            range.setEnd(node, word.index + word[0].length)
            const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)))
            if (tops.size > 1 && word[0].length < 20) broken.push(word[0])
        }
    return broken
})"""


@pytest.mark.parametrize("name", NAMES)
def test_no_word_of_a_row_head_or_a_number_is_broken(opened, name):
    for width in (360, 420, 1000):
        page = opened(name, viewport={"width": width, "height": 800})
        assert page.evaluate(BROKEN_WORDS) == [], width


@pytest.mark.parametrize("name", ["sweep", "comparison"])
def test_a_table_that_scrolls_says_so(opened, name):
    for width, told in ((360, True), (1600, False)):
        page = opened(name, viewport={"width": width, "height": 800})
        table = page.locator(".wide:has(table.sortable)")
        assert ("scrolls" in (table.get_attribute("class") or "").split()) == told
        shown = table.evaluate("one => getComputedStyle(one, '::before').content")
        assert ("scrolls sideways" in shown) == told


def test_the_verdict_and_the_cause_are_on_the_first_screen(opened):
    for width, whole in ((420, False), (1000, True)):
        page = opened("diverge", viewport={"width": width, "height": 800})
        box = page.locator(".verdict").bounding_box()
        why = page.get_by_text("why").first.bounding_box()
        assert why["y"] < 600 and (not whole or box["y"] + box["height"] < 800)


@pytest.mark.parametrize("name", ["sweep", "comparison"])
def test_a_table_is_sorted_and_filtered_by_keyboard(opened, name):
    page = opened(name)
    before = rows(page, 1)
    assert before == [str(place + 1) for place in range(len(before))]
    head = page.locator("thead th", has_text="difference" if name == "sweep" else "local")
    column = page.locator("thead th").all_inner_texts().index(head.inner_text()) + 1
    head.locator("button").focus()
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == direction
        values = [float(one.replace(">", "")) for one in rows(page, column)]
        assert values == sorted(values, reverse=direction == "descending")
    page.get_by_label("show layers with").fill("relu")
    shown = [one for one in page.locator(TABLE).all() if one.is_visible()]
    assert len(shown) == 1 and "relu" in shown[0].inner_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_reads_without_scripts(opened, name):
    page = opened(name, java_script_enabled=False)
    assert page.locator("table").first.is_visible() and page.locator("h1").is_visible()
    assert not page.locator("input").is_visible()


def test_a_link_opens_what_it_leads_to(opened):
    page = opened("sweep")
    detail = page.locator("details[id]").first
    detail.evaluate("one => { one.open = false }")
    page.locator(f"a[href='#{detail.get_attribute('id')}']").first.click()
    page.wait_for_function("document.querySelector('details[id]').open")


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_page_shows_what_is_folded(opened, name):
    page = opened(name)
    for one in page.locator("details").all():
        one.evaluate("one => { one.open = false }")
    page.emulate_media(media="print")
    for one in page.locator("details > :not(summary)").all():
        assert one.is_visible()
