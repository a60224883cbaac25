"""Reports as pages, Markdown, JUnit and one-line values: all of what the text says, one file, and
nothing that needs a network, a script or a style sheet."""

import copy
import re
import time
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from repository import EXAMPLES

import probe
from probe import printable
from probe.explanation.waterfall import waterfall
from probe.model_comparison.reports import junit as pairs_junit
from probe.model_comparison.reports.blocks import headline as pair_headline
from probe.model_comparison.reports.text import render
from probe.report import graph, junit, markdown, pictures
from probe.report.blocks import blocks, headline
from probe.report.html import entry, sweep_page
from probe.report.text import line as row_of

X = np.random.default_rng(0).normal(size=(2, 3, 9, 70)).astype(np.float32)
VOID = {"meta", "br", "rect", "path", "circle", "input"}


class Page(HTMLParser):
    """The text of a page; fails where tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.tags, self.ids, self.links = [], [], set(), set(), set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        held = dict(attributes)
        assert not {"style", "src", "onclick", "onload"} & set(held), held
        assert "id" not in held or held["id"] not in self.ids
        self.ids.add(held.get("id"))
        if tag == "a":
            self.links.add(held["href"].removeprefix("#"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def conv():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 5, 3, padding=1).eval()


@pytest.fixture(scope="module")
def reports(conv):
    """One of each verdict."""
    right = np.asarray(probe.check(conv, "", given=X).outputs["framework"])
    wrong = right.copy()
    wrong[1, 2, 3, 4:] += 1
    many = torch.nn.LSTM(3, 4, batch_first=True).eval()
    sequence = X[:, 0, :, :3]
    found = [
        probe.check(conv, "", given=X),
        probe.check(conv, "", given=X, expected=wrong),
        probe.check(conv, "", given=X, expected=np.moveaxis(right, 1, 3)),
        probe.check(conv, "", given=X, expected=right[0, 0], expected_at="0,0"),
        probe.check(conv, "", given=X, expected=wrong, rtol=1e-3, atol=1e-3),
        probe.check(many, "", given=sequence),
        probe.check(torch.nn.ReLU(), "", given=np.full((2, 3), np.nan, np.float32)),
    ]
    assert {one.verdict for one in found} == {"agree", "diverge", "unchecked"}
    return found


@pytest.mark.costly
def test_a_page_holds_all_that_the_text_says(reports):
    for report in reports:
        page = report.to_html()
        assert len(page) < 60_000 and "http" not in page and "<script" not in page
        told = Page(page).text
        for block in blocks(report):
            for line in block.lines:
                for text in (line.label, line.text.partition(": ")[2] or line.text, *line.below):
                    assert " ".join(text.split()) in told, text


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def assert_holds_the_numbers(page, text):
    """Without style sheet and script, the page has every number of the text as often as the text
    has it, or oftener."""
    told = Counter(NUMBER.findall(Page(page).text))
    wanted = Counter(NUMBER.findall(" ".join(text.split())))
    assert len(wanted) > 3 and not wanted - told, wanted - told


def test_a_page_holds_every_number_of_the_text(reports, conv):
    for report in reports:
        assert_holds_the_numbers(report.to_html(), str(report))
        assert_holds_the_numbers(report._repr_html_(), str(report))
    story = probe.explain(conv, "", X, at=(0, 1, 1, 1))
    assert_holds_the_numbers(story.to_html(), str(story))
    entries = [entry(one, k, True) for k, one in enumerate(reports)]
    rows = "\n".join(row_of(one) for one in reports)
    assert_holds_the_numbers(sweep_page(entries, "net.pt", "2 agree, 5 diverge"), rows)


def test_a_page_of_two_models_holds_all_that_the_text_says(branching):
    twin = copy.deepcopy(branching)
    twin.norm.eps = 1e-3
    x = X[:, :, :, :9]
    for other, sources in ((branching, 0), (twin, 1)):
        found = probe.compare(branching, other, x)
        page, held = found.to_html(), Page(found.to_html())
        assert len(found.sources) == sources == page.count("<summary>source: ")
        assert_holds_the_numbers(page, render(found, fold=False))
        assert held.links <= held.ids and page.count("<script>") == 1 and "http" not in page
        assert {"script", "style"}.isdisjoint(Page(found._repr_html_()).tags)
        assert_holds_the_numbers(found._repr_html_(), render(found, fold=False))
        squares = re.findall(r'<rect x="\d+" y=', page)
        assert len(squares) == sources, "what diverges is a square"
        assert held.text.count("elements by their local error") == sources
    assert "norm: " in held.text and ", diverge" in held.text


def test_a_page_of_two_models_shows_where_a_pair_differs(branching):
    twin = copy.deepcopy(branching)
    with torch.no_grad():
        twin.second.bias[1] += 1
    found = probe.compare(branching, twin, X[:, :, :, :9])
    (source,) = found.sources
    local, propagated = (one.ratio for one in (source.local, source.propagated))
    channels, *_ = source.drawn.maps  # every pixel is off by as much: nothing to see in a map
    assert (channels.down, channels.across) == ("batch", "channels")
    drawn = {(row, first, length) for shade in channels.shades for row, first, length in shade}
    assert drawn == {(0, 1, 1), (1, 1, 1)}, "the channel that is wrong, of both samples"
    assert channels.most == pytest.approx(local, rel=1e-5) and channels.sizes == (2, 3)
    assert [one.most for one in source.drawn.maps[1:]] == [pytest.approx(propagated, rel=1e-5)]
    for histogram in source.drawn.histograms:
        beyond = sum(int(bar.text) for bar in histogram.bars if bar.kind == "diverge")
        assert beyond == source.local.count == 2 * 9 * 9
    below = [one for one in found.pairs if one.drawn.histograms and not one.source]
    assert [one.b[-1] for one in below] == ["norm", "/add", "last"]
    page = Page(found.to_html())
    assert "where differences come down from before" in page.text
    worst = ", ".join(map(str, below[0].propagated.worst.index))
    assert f"worst: [{worst}] A" in page.text and "height down, width across" in page.text


def noisy():
    """Pictures of an error that is another everywhere."""
    ratio = np.random.default_rng(0).uniform(0, 100, size=(1, 1, 64, 64))
    made = pictures.drawn([pictures.Errors("local error", ratio)] * 2)
    assert made.marks > 2_000
    return made


def test_a_page_of_200_pairs_is_small(branching):
    twin = copy.deepcopy(branching)
    twin.norm.eps = 1e-3
    found = probe.compare(branching, twin, X[:, :, :, :9])
    (source,) = found.sources
    wrong = replace(source, drawn=noisy())
    pairs = [replace(found.pairs[0], tensors=(str(k), str(k))) for k in range(176)] + [wrong] * 24
    page = replace(found, pairs=tuple(pairs)).to_html()
    assert len(page.encode()) <= 300_000, len(page.encode())
    assert page.count("<figure>") > 0 and page.count("elements by their local error") == 48


class Branching(torch.nn.Module):
    """A residual block and what comes after it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.norm, self.last = torch.nn.BatchNorm2d(3), torch.nn.ReLU()

    def forward(self, x):
        x = self.first(x)
        return self.last(self.norm(self.second(x)) + x)


@pytest.fixture(scope="module")
def branching():
    torch.manual_seed(0)
    return Branching().eval()


def test_a_sweep_knows_what_each_call_takes(branching):
    reports = list(probe.sweep(branching, X[:, :, :, :9], flow=True))
    told = {one.call_name: one.inputs_from for one in reports}
    assert told["first"] == (None,) and told["norm"] == (("second", 0),)
    assert set(told["/add"]) == {("norm", 0), ("first", 0)} and told["last"] == (("/add", 0),)
    assert all(one.inputs_from == () for one in probe.sweep(branching, X[:, :, :, :9]))
    page = sweep_page([entry(one, k, True) for k, one in enumerate(reports)], "net", "5 agree")
    assert page.count("<circle cx=") == 5 + len(graph.SHADES) and "the graph of calls" in page
    assert "the graph" not in sweep_page(
        [entry(replace(reports[0], inputs_from=()), 0, True)], "", ""
    )


def test_a_sweep_shows_its_table_in_a_notebook(branching):
    swept = probe.sweep(branching, X[:, :, :, :9])
    assert next(swept).layer == "first"
    assert repr(swept) == "<Sweep of a live Branching (torch.nn.Module): 1 call so far>"
    page = Page(swept._repr_html_())
    assert "5 agree, 0 diverge, 0 unchecked" in page.text and "Conv2d" in page.text
    assert {"script", "style"}.isdisjoint(page.tags) and swept._repr_html_().count("<tr>") == 6
    assert list(swept) == [], "the pass is over"
    values = {"first": np.zeros((2, 3, 9, 9), np.float32), "last": np.zeros(3, np.float32)}
    shown = Page(probe.sweep(branching, X[:, :, :, :9], expected=values)._repr_html_()).text
    assert "diverge" in shown


def test_a_block_that_the_pass_does_not_call_is_a_note_below_the_table():
    class Unused(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used = torch.nn.Linear(3, 2)
            self.block = torch.nn.Sequential(torch.nn.Linear(3, 2))

        def forward(self, x):
            return self.used(x)

    swept = probe.sweep(Unused(), np.ones((2, 3), np.float32), layers=["used", "block"])
    shown = Page(swept._repr_html_()).text
    assert "1 agree" in shown and "did not call 'block'" in shown


def test_branches_open_lanes_and_joins_close_them():
    def drawn(*after):
        return graph.laid_out(
            [graph.Vertex(str(k), "", "agree", 0.5 * k, one) for k, one in enumerate(after)]
        )

    chain = drawn((), (0,), (1,))
    assert (chain.lanes, [one.lane for one in chain.vertices]) == (1, [0, 0, 0])
    residual = drawn((), (0,), (1,), (2, 0), (3,))
    assert [one.lane for one in residual.vertices] == [0, 1, 1, 0, 0]
    assert graph.Edge(0, 0, 3, 0) in residual.edges and residual.lanes == 2
    assert drawn((), ()) is None, "nothing is joined"
    many = drawn(*[(), *((k,) for k in range(graph.MOST + 9))])
    assert (len(many.vertices), many.left_out) == (graph.MOST, 10)
    # No vertex lies on the way of an edge that does not end there.
    rng = np.random.default_rng(0)
    for _ in range(50):
        after = [tuple(sorted({*rng.integers(0, k, 2).tolist()})) for k in range(1, 30)]
        found = drawn((), *after)
        for edge in found.edges:
            for row in range(edge.row + 1, edge.to_row):
                assert found.vertices[row].lane != edge.lane
    assert [graph.shade_of(one) for one in (0.0, 0.5, 1.0, 1.1, np.inf, np.nan)] == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_a_notebook_gets_markup_without_script_and_style(reports):
    for report in reports:
        page = report._repr_html_()
        assert {"script", "style"}.isdisjoint(Page(page).tags)
        assert page.index(report.verdict) < page.index("<details>")
        assert len(repr(report)) < 200 and "\n" not in repr(report)


def test_each_value_that_a_user_holds_is_one_short_line(reports, conv, branching):
    story = probe.explain(conv, "", X, at=(0, 1, 1, 1))
    pool = probe.explain(torch.nn.MaxPool2d(3), "", X, at=(0, 1, 1, 1))
    twin = copy.deepcopy(branching)
    twin.norm.eps = 1e-3
    found = probe.compare(branching, twin, X[:, :, :, :9])
    held = [*reports[1].findings, *reports[1].comparisons.values(), *reports[1].held.values()]
    weights = reports[1].weights.values()
    (source,) = found.sources
    more = [story.origin, *story.terms, *pool.steps, source, source.drawn, found]
    more += [probe.sweep(conv, X), probe.open_model(conv)]
    for one in [*reports, story, *held, *weights, *more]:
        assert "\n" not in repr(one) and len(repr(one)) < 200, repr(one)


def test_names_out_of_a_file_are_no_markup(reports):
    evil = "<script>alert(1)</script>\x1b[31m"
    report = replace(reports[1], layer=evil, source=evil, notes=(evil,))
    for page in (report.to_html(), report._repr_html_()):
        assert "<script" not in page and "\x1b" not in page
    swept = sweep_page([entry(report, 1, True)], evil, "1 diverge")
    assert swept.count("<script") == 1 and "\x1b" not in swept
    text = report.to_markdown().replace("<br>", "")
    assert re.search(r"(?<!\\)<", text) is None and "\x1b" not in text
    case = junit.suite(evil, [junit.case(report)])
    assert "\x1b" not in case and ElementTree.fromstring(case) is not None


@pytest.mark.parametrize(
    "text",
    [
        *("<b>x</b>", "&lt;b&gt; &copy;", "1. x", "23) x", "- x", "+ x", "-", "---", "===", "# x"),
        *("    x", " - x", "a|b", "*a* _b_ ~~c~~ `d`", "[a](b)", "![a](b)", "a\\", "1.5", "-0.5"),
        *("see https://a.b/c", "HTTP://a.b", "www.a.b", "@someone", "fix #12", "$x$", "a\nb"),
    ],
)
def test_text_stays_text_in_markdown(text):
    told = markdown.escaped(text)
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"{told}\n")
    plain = shown.replace("<!-- -->", "")
    assert unescape(plain.strip("\n").removeprefix("<p>").removesuffix("</p>")).strip() == (
        printable.line(text).strip()
    )
    assert not re.search(r"@\w|#\d|\w://|www\.", told.replace("&#32;", " ")), "GitHub's links"
    assert text not in ("1.5", "-0.5") or told == text, "numbers are as they are"


def test_markdown_has_the_verdict_first_and_a_table_for_each_matter(reports):
    for report in reports:
        text = report.to_markdown()
        assert text.startswith(f"**{report.verdict}**: ")
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)


def test_the_map_shows_where_the_error_is(reports):
    first, second = pictures.maps(pictures.errors_of(reports[1]))
    assert (first.down, first.across) == ("height", "width")
    assert (second.down, second.across) == ("batch", "channels")
    assert first.shape == (9, 48), "more than 48 cells are pooled"
    assert first.most == pytest.approx(reports[1].comparisons["numpy", "expected"].ratio, rel=1e-5)
    assert {row for shade in first.shades[1:] for row, *_ in shade} == {3}
    assert [one for shade in second.shades[1:] for one in shade] == [(1, 2, 1)]
    assert pictures.errors_of(reports[2]) is None, "another shape has no map"


def test_a_map_of_one_colour_is_left_out_and_one_has_absolute_numbers():
    axes = ("batch", "height", "width")
    flat = pictures.Errors("local error", np.full((1, 4, 5), 2.0), axes, np.full((1, 4, 5), 0.5))
    assert not pictures.drawn([flat]).maps and not pictures.drawn([flat]).absolute
    ratio, apart = np.zeros((1, 4, 5)), np.zeros((1, 4, 5))
    ratio[0, 1, 2], apart[0, 1, 2], apart[0, 3, 3] = 3.0, 0.25, 1.0
    found = pictures.drawn([pictures.Errors("local error", ratio, axes, apart)])
    (absolute,) = found.absolute
    assert (absolute.most, absolute.unit, absolute.sizes) == (1.0, "", (4, 5))
    assert absolute.shades[1] == ((1, 2, 1),) and absolute.shades[4] == ((3, 3, 1),)
    assert found.maps[0].unit == " x" and [*map(len, found.maps[0].shades)][1] == 1


def test_the_axes_of_a_map_are_named_and_counted_and_titles_are_short(reports):
    page = reports[1].to_html()
    assert page.count('text-anchor="middle">height</text>') == page.count(">width</text>") == 2
    assert f">{reports[1].outputs['numpy'].shape[3] - 1}</text>" in page
    assert page.count("absolute: height down, width across") == 1
    title = re.search("<h1>(.*)</h1>", page)[1]
    assert title == f"(root) ({reports[1].kind})" and reports[1].framework in page
    shown = reports[1]._repr_html_()
    assert "#e5534b" in shown and shown.index(">width</text>") < shown.index("<details>")


def test_the_histogram_counts_every_element(reports):
    for report in (reports[0], reports[1]):
        bars = pictures.spread(pictures.errors_of(report)).bars
        assert sum(int(bar.text) for bar in bars) == report.outputs["numpy"].size
        beyond = sum(int(bar.text) for bar in bars if bar.kind == "diverge")
        assert beyond == sum(one.count for one in report.comparisons.values()) / 3 * (beyond > 0)


def test_stored_weights_are_drawn_against_effective_ones():
    report = probe.check(EXAMPLES / "digits_qkeras.h5", "conv2d", np.load(EXAMPLES / "digits.npy"))
    drawn = pictures.scatters([*report.weights.values()])
    assert [one.name for one in drawn] == ["kernel", "bias"]
    page = report.to_html()
    assert page.count("h0M") > 100 and "16 effective" in page


def test_a_sweep_of_200_layers_is_small_and_quick(reports):
    made = [replace(one, layer=f"block.{k}.conv") for k in range(29) for one in reports][:200]
    started = time.process_time()
    entries = [entry(one, k, k < 20) for k, one in enumerate(made)]
    page = sweep_page(entries, "net.pt", "many", framework="torch 2", command="probe net.pt --all")
    took = time.process_time() - started
    held = Page(page)
    assert len(page.encode()) <= 300_000, len(page.encode())
    assert took < 5, took  # 0.5 s as a rule
    assert held.links <= held.ids and "probe net.pt --all" in held.text
    assert "http" not in page and len(page.partition("<script>")[2]) < 20_000
    assert all(f"block.{k}.conv" in held.text for k in range(28))


def test_a_sweep_of_200_layers_that_all_diverge_is_small(reports):
    wrong = reports[1]
    noise = np.random.default_rng(0).lognormal(3, 3, size=wrong.outputs["numpy"].shape)
    values = wrong.outputs["numpy"] + noise.astype(np.float32) * 1e-6
    held = replace(wrong, outputs=wrong.outputs | {"expected": values})
    entries = [entry(replace(held, layer=f"block.{k}.conv"), k, k < 20) for k in range(200)]
    page = sweep_page(entries, "net.pt", "200 diverge")
    assert len(page.encode()) <= 300_000, len(page.encode())
    assert all(f"block.{k}.conv" in page for k in range(200)) and "<path stroke" in page


def test_the_waterfall_ends_at_the_element(conv):
    story = probe.explain(conv, "", X, at=(0, 1, 1, 1))
    bars, zero = waterfall(story.origin)
    assert bars[-1].after.startswith(f"{story.value:.6g}"[:6])
    assert {"the other 15 terms", "bias"} <= {bar.label for bar in bars}
    assert all(0 <= bar.start <= 1 and bar.width <= 1 for bar in bars) and 0 <= zero <= 1
    signs = {bar.kind == "minus" for bar in bars[:12] if bar.value.startswith("-")}
    assert signs == {True} and {bar.kind for bar in bars} == {"plus", "minus", "rest"}
    page = Page(story.to_html())
    assert "the whole layer" in page.text and bars[0].label in page.text
    assert repr(story) == f"<Story (root)[0, 1, 1, 1] = {story.value:.9g}: agree>"
    shown = Page(story._repr_html_())
    assert {"script", "style"}.isdisjoint(shown.tags)
    assert story._repr_html_().count("<rect") == len(bars)
    assert '"#2da44e"' in story._repr_html_(), "the colour of agree"
    assert_holds_the_numbers(story._repr_html_(), str(story))


def test_junit_has_a_case_for_each_call(reports):
    held = ElementTree.fromstring(junit.suite("net.pt", [junit.case(one) for one in reports]))
    (suite,) = held
    assert [int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")] == [
        len(reports),
        sum(one.verdict == "diverge" for one in reports),
        0,
        sum(one.verdict == "unchecked" for one in reports),
    ]
    for case, report in zip(suite, reports, strict=True):
        verdict = case.find("properties/property[@name='verdict']").get("value")
        assert verdict == report.verdict
        wrong = case.find("failure")
        assert (wrong is not None) is (report.verdict == "diverge")
        assert wrong is None or wrong.get("message") == headline(report)
    strict = junit.case(reports[-1], strict=True)
    assert strict.outcome == "failure"


def test_junit_of_two_models_fails_at_the_source_alone(branching):
    twin = copy.deepcopy(branching)
    twin.norm.eps = 1e-3
    x = X[:, :, :, :9]
    found = probe.compare(branching, twin, x)
    (suite,) = ElementTree.fromstring(pairs_junit.suite(found))
    told = {one.get("name").partition(" ~ ")[0]: [below.tag for below in one][1:] for one in suite}
    failed, passed = {"norm": ["failure"]}, {"first": [], "second": []}
    assert told == {**passed, **failed, "/add": ["skipped"], "last": ["skipped"]}
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "2")
    failure, skipped = suite.find(".//failure"), suite.find(".//skipped")
    assert failure.get("message").startswith("diverge: norm: epsilon 1e-05 in A, 0.001 in B")
    worst = ", ".join(map(str, found.sources[0].local.worst.index))
    assert f"worst: [{worst}]" in failure.text
    assert skipped.get("message") == "it inherits the difference that norm makes"
    agree = ElementTree.fromstring(pairs_junit.suite(probe.compare(branching, branching, x)))
    assert agree.find(".//failure") is None and agree.find(".//skipped") is None
    sentence = "unchecked: 5 of 5 pairs agree, without a partner: more"
    open_ = replace(probe.compare(branching, branching, x), verdict="unchecked", sentence=sentence)
    (suite,) = ElementTree.fromstring(pairs_junit.suite(open_))
    assert suite[-1].get("name") == "both models", "where no pair says the verdict"
    assert suite[-1].find("skipped").get("message") == pair_headline(open_) == sentence
    assert pairs_junit.suite(open_, strict=True).count("<failure") == 1


@pytest.mark.costly
def test_a_layer_whose_inputs_your_values_do_not_say_is_skipped_behind_one_that_diverges(branching):
    x = X[:, :, :, :9]
    right = {one.call_name: np.array(one.outputs["framework"]) for one in probe.sweep(branching, x)}
    values = {"first": right["first"] + 1, "norm": right["norm"] + 1, "last": right["last"] + 1}
    first, norm, last = (
        one for one in probe.sweep(branching, x, expected=values) if "expected" in one.outputs
    )
    assert {one.verdict for one in (first, norm, last)} == {"diverge"}
    assert (first.inherits, norm.inherits, last.inherits) == ("", "first", "norm")
    cases = [junit.case(one) for one in (first, norm, last)]
    assert [one.outcome for one in cases] == ["failure", "skipped", "skipped"]
    assert "it may come from first" in row_of(norm) and "first" in cases[1].headline
    values = {"first": right["first"] + 1, "second": right["second"] + 1}
    _, second = (
        one for one in probe.sweep(branching, x, expected=values) if "expected" in one.outputs
    )
    assert second.inherits == "", "its input is among the values: it is judged on that"


def test_markdown_of_two_models_has_the_verdict_the_source_and_the_table(branching):
    twin = copy.deepcopy(branching)
    twin.norm.eps = 1e-3
    found = probe.compare(branching, twin, X[:, :, :, :9])
    text = found.to_markdown()
    assert text.startswith("**diverge**: B differs from A in norm")
    assert text.index("**source: norm") < text.index("| verdict | layers of A |")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "agree" in line]
    assert len(rows) == 4 and "- differs: epsilon 1e-05 in A, 0.001 in B" in text


def test_the_headline_is_one_line_of_100_columns(reports):
    for report in reports:
        for one in (report, replace(report, layer="name" * 60)):
            assert headline(one).startswith(f"{report.verdict}: ")
            assert len(headline(one)) <= 100 and "\n" not in headline(one)
