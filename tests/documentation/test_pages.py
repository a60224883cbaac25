"""What README.md and the pages of docs/ say of other files is so: links, code and keys."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from repository import EXAMPLES, ROOT, script
from tflite_files import FlatTensor, one_op

import probe
from probe.cli.main import command

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

doc_blocks = script("tools/doc_blocks.py")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*doc_blocks.pages(), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]
}
VERDICTS = ("agree", "diverge", "unchecked")
DOCS = [page for page in PAGES if page.startswith("docs/")]


def prose(text):
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text):
    """Those of the headings that a repository's pages and the site agree on."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        if re.sub(r"[-\s]+", "-", words) == words.replace(" ", "-"):
            found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.is_file() or (
            anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            missing.append(link)
    assert not missing


def test_every_page_is_linked_from_the_index():
    linked = set(re.findall(r"\]\(([\w-]+\.md)", PAGES["docs/index.md"]))
    assert {f"docs/{name}" for name in linked} == {*DOCS} - {"docs/index.md"}


@pytest.mark.parametrize("page", DOCS)
def test_a_page_says_first_whom_it_is_for(page):
    title, _, first = PAGES[page].split("\n", 3)[:3]
    assert title.startswith("# ") and re.match(r"For (people|everybody) \w+", first)


def test_the_readme_is_one_page():
    text = PAGES["README.md"]
    assert len(text.splitlines()) <= 200 and len(text.encode()) <= 10_000


def test_code_shown_of_the_repository_is_there():
    found = 0
    for text in PAGES.values():
        for block in doc_blocks.blocks(text):
            source = ROOT / block.file
            if block.file and source.is_file():
                assert block.body.partition("\n")[2] in source.read_text(encoding="utf-8"), (
                    block.file
                )
                found += 1
    assert found >= 2


def test_paths_of_the_repository_are_there():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"docs"}
    for page, text in PAGES.items():
        for word in re.findall(r"`([\w./-]+)`", prose(text)):
            if "/" in word and Path(word).parts[0] in folders:
                assert (ROOT / word).exists(), f"{word} in {page}"


def test_the_layers_of_the_code_are_those_of_the_contract():
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = configuration["tool"]["importlinter"]["contracts"][0]["layers"]
    (shown,) = (
        block.body
        for block in doc_blocks.blocks(PAGES["docs/architecture.md"])
        if block.body.startswith("__main__\n")
    )
    assert shown.splitlines() == [line.replace(" | ", ", ") for line in contract]


NAMED = ("missing", "outputs", "parties", "parts", "recovered", "subtotals", "weights")
"""Whose keys are names: of parties, of weights, of channels."""


def keys(value, path=""):
    """The keys of a report, as docs/json.md writes them; what stands for an array is one."""
    if isinstance(value, list):
        yield f"{path}[]"
        for one in value:
            yield from () if isinstance(one, list) else keys(one, f"{path}[]")
    elif path == "parameters[]":
        return  # by names that are the op's own
    elif isinstance(value, dict) and not {"shape", "finite"} <= set(value):
        named = path.rpartition(".")[2] in NAMED
        for key, one in value.items():
            yield from keys(one, f"{path}.{'NAME' if named else key}".lstrip("."))
        if path and not named and not path.endswith("[]"):
            yield path
    elif not path.endswith("[]"):
        yield path


def documented(section):
    text = PAGES["docs/json.md"].partition(f"## {section}\n")[2].partition("\n## ")[0]
    return {
        key
        for row in f"\n{text}".partition("\n\n|")[2].partition("\n\n")[0].splitlines()
        for key in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    }


def test_the_skill_for_assistants_names_keys_commands_and_options_that_there_are():
    text = PAGES["docs/skill.md"]
    table = text.partition("| key |")[2].partition("\n\n")[0]
    words = {word for row in table.splitlines() for word in re.findall(r"`([\w.\[\]]+)`", row)}
    assert len(words) > 8 and words - {"tie", "compare"} <= {
        key for section in ("One layer", "Two models") for key in documented(section)
    }
    options = {
        option
        for verb in command.commands.values()
        for parameter in verb.params
        for option in parameter.opts
    }
    assert {*re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)} <= options
    verbs = {*re.findall(r"`probe ([a-z]+)\b", text)} - {"run", "help"}
    assert verbs == {"causes", "compare", "record"}


def test_the_keys_of_one_layer(tmp_path):
    quantised = probe.check(
        EXAMPLES / "digits_qkeras.h5", "conv2d", np.load(EXAMPLES / "digits.npy")
    )
    net = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2)).eval()
    x = np.ones((1, 3), np.float32)
    biased = net(torch.from_numpy(x)).detach().numpy() + net.bias.detach().numpy()
    differing = probe.check(net, "", x, expected=biased)
    dense, more = torch.nn.Linear(3, 2), np.random.default_rng(0).normal(size=(20, 3))
    other = (more @ dense.weight.detach().numpy().T + 0.5).astype(np.float32)
    rest = probe.check(dense, "", more.astype(np.float32), expected=other)
    told = {
        key
        for report in (quantised, differing, rest, _of_codes(tmp_path / "codes.tflite"))
        for key in keys(json.loads(report.to_json()))
    }
    assert told | {"missing.NAME"} == documented("One layer")


def _of_codes(path):
    x, y = (FlatTensor(name, (1, 4), "int8", scale=0.5) for name in "xy")
    one_op("RESHAPE", [x], [y], ("ReshapeOptions", {"newShape": [1, 4]}), path=path)
    return probe.check(str(path), "y")


def test_the_keys_of_one_element():
    net = torch.nn.Conv2d(2, 3, 3, padding=1).eval()
    story = probe.explain(net, "", np.ones((1, 2, 4, 4), np.float32), at=(0, 1, 1, 1), sees=True)
    told = set(keys(json.loads(story.to_json())))
    assert told | {"missing.NAME"} == documented("One element")


def test_the_keys_of_all_layers(tmp_path):
    doc_blocks.command(
        "examples/digits.pt",
        "--factory",
        "examples/digits_net.py:DigitsNet",
        "--shape",
        "1,1,8,8",
        "--all",
        "--json",
        str(tmp_path / "all.json"),
    )
    told = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert set(told) == {key.removesuffix("[]") for key in documented("All layers")} - set(VERDICTS)
    assert set(told["counts"]) == set(VERDICTS)
