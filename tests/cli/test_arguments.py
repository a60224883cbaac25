"""Which options go together, which word is a verb, and what a shell completes."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from repository import EXAMPLES, ROOT

from probe.cli import arguments
from probe.cli.main import command

KERAS, QKERAS = str(EXAMPLES / "digits.keras"), str(EXAMPLES / "digits_qkeras.h5")
VALUES = {
    "call": "0",
    "seed": "0",
    "shape": "1,8,8,1",
    "expect_value": "1",
    "at": "0,0,0,0",
    "arg": "use_cache=False",
    "replace": "conv2d=x.npy",
    "device": "cpu",
    "image_layout": "hwc",
    "scale": "255",
    "rtol": "0",
    "atol": "0",
    "layer": "conv2d",
}
FLAGS = {"all", "sees", "fold", "parts", "thorough", "strict", "quiet", "verbose", "no_search"}


def flags(*names):
    """The options of these names on a command line, each with a value."""
    for name in names:
        yield f"--{name.replace('_', '-')}"
        if name not in FLAGS:
            yield VALUES.get(name, "x.npy")


def needed(*names):
    """What these need beside them."""
    more = {other for name, other, _ in arguments._NEEDS if name in names}
    return sorted(more - {*names})


@pytest.mark.parametrize(
    ("name", "other"),
    [(name, other) for name, others, _ in arguments._EXCLUDED for other in others],
)
def test_options_that_exclude_each_other(probe, name, other):
    chosen = {name, other, *needed(name, other), "layer"}
    status, out, err = probe(KERAS, *flags(*sorted(chosen)))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be used" in err or " needs " in err, err


@pytest.mark.parametrize(("name", "other"), [(name, other) for name, other, _ in arguments._NEEDS])
def test_options_that_need_another(probe, name, other):
    beside = () if other == "all" or name == "strict" else ("layer",)
    status, out, err = probe(KERAS, *flags(name, *beside))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"--{name.replace('_', '-')} needs --{other.replace('_', '-')}" in err


@pytest.mark.parametrize("name", arguments._OF_ONE_LAYER)
def test_options_of_one_layer_are_refused_in_a_listing_and_a_sweep(probe, name):
    for beside, words in ((), "needs --layer NAME"), (("all",), "cannot be used with --all"):
        status, out, err = probe(KERAS, *flags(name, *beside))
        assert (status, out, err.count("\n")) == (2, "", 1) and words in err


@pytest.mark.parametrize("name", arguments._OF_A_RUN)
def test_options_of_a_run_are_refused_in_a_listing(probe, name):
    status, out, err = probe(KERAS, *flags(name))
    assert (status, out) == (2, "") and "needs --layer NAME or --all" in err


def test_every_option_is_a_field():
    options = {parameter.name for parameter in command.commands["FILE"].params}
    assert {part.name for part in dataclasses.fields(arguments.Arguments)} == options - {"version"}


def test_a_verb_is_a_verb_and_a_file_of_that_name_is_a_file(probe, tmp_path, monkeypatch):
    status, out, _ = probe("causes", "raw-weights")
    assert status == 0 and out.startswith("raw-weights: ")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "causes").write_bytes((EXAMPLES / "digits.keras").read_bytes())
    status, out, _ = probe("./causes")
    assert status == 0 and "conv2d" in out
    shown = CliRunner().invoke(command, ["--help"]).output
    assert "probe causes" in shown and "FILE  " not in shown.partition("Other commands")[2]


def test_a_word_too_few_or_too_many_is_one_sentence_with_the_command(probe):
    models, shape = (KERAS, QKERAS), ("--shape", "1,8,8,1")
    both = shlex.join(models)
    told = "one model is checked at a time; "
    for given, words in (
        ((), "give a model's file: probe model.h5 lists its layers, and "),
        (("compare", KERAS), "B is missing: probe compare A B\n"),
        (("record", KERAS), "-o FILE is missing: probe record MODEL -o FILE\n"),
        (("repro",), "MODEL is missing: probe repro MODEL --layer NAME -o DIR\n"),
        (("--layer", "conv2d"), "MODEL is missing: probe MODEL\n"),
        ((*models, *shape), f"{told}two models are compared by probe compare {both} --s"),
        ((KERAS, "conv2d"), f"{told}a layer is given by --layer conv2d: probe "),
        (("compare", *models, "x"), "one word is too many, x: probe compare A B\n"),
        ((KERAS, "--layer"), "--layer needs a value: --layer NAME\n"),
        ((KERAS, "--all=1"), "--all takes no value: --all\n"),
        ((KERAS, "--Layer", "x"), "there is no option --Layer; did you mean --layer? (probe help "),
        ((KERAS, "--expct", "x"), "there is no option --expct; did you mean --expect? (probe help"),
        (
            ("compare", *models, "--factory", "x"),
            "there is no option --factory; did you mean --a-factory or --b-factory? (probe help c",
        ),
        (("help", "diff"), "no command 'diff'; there are causes, compare, dump-header, record, r"),
    ):
        status, out, err = probe(*given)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(f"probe: {words}")


def test_help_is_asked_for_in_words_and_lists_both_options():
    run = CliRunner().invoke
    assert run(command, ["help"]).output == run(command, ["-h"]).output
    assert run(command, ["help", "compare"]).output == run(command, ["compare", "--help"]).output
    assert "-h, --help" in run(command, ["-h"]).output


def completed(*words, incomplete=""):
    shell = ShellComplete(command, {}, "probe", "_PROBE_COMPLETE")
    return [item.value for item in shell.get_completions(list(words), incomplete)]


def test_a_shell_completes_the_names_of_the_layers():
    assert completed(QKERAS, "--layer", incomplete="conv") == ["conv2d", "conv2d_1"]
    assert "causes" in completed()
    assert completed("nothing.h5", "--layer") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_of_the_page_switch_completion_on(shell):
    """bash of macOS is too old, which click says on standard error."""
    line = f"_PROBE_COMPLETE={shell}_source probe"
    assert line in (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "probe"],
        env={**os.environ, "_PROBE_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"{shell}_complete" in done.stdout, done.stderr


def test_one_verdict_for_machines(probe, tmp_path):
    """Whatever the JSON is of, it names its schema."""
    for asked in (("--layer", "conv2d"), ("--all",), ("--layer", "conv2d", "--at", "0,0,0,0")):
        _, out, _ = probe(QKERAS, *asked, "--json", "-")
        assert json.loads(out)["schema"] == 1
