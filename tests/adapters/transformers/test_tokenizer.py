"""What a tokenizer.json may cost, and what is printed where its library panics."""

import json
import sys

import pytest
from probe.adapters.transformers.tokenizer import token_ids
from tokenizers import Tokenizer, models

from probe.errors import CannotOpen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks with threads")

GROWING = {
    "type": "Sequence",
    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}] * 8,
}

ADDING = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "a", "type_id": 0}}] * 3000
    + [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": one, "type_id": 0}} for one in "AB"],
    "special_tokens": {"a": {"id": "a", "ids": [5], "tokens": ["a"]}},
}


def folder_of(tmp_path, **changed):
    words = json.loads(Tokenizer(models.WordLevel({"a": 5, "?": 0}, "?")).to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**words, **changed}))
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"normalizer": GROWING}, "takes more than 512 MiB of memory"),
        (
            {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////9hYmM="}},
            "tokenizer.json is no tokenizer: index out of bounds",  # a panic
        ),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "(a|aa|a|aa)+b"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "tokenizer.json is no tokenizer: ",
        ),
        (
            {"post_processor": ADDING},
            "makes 3,001 tokens of a text of 40 letters, more than the limit of 2,280",
        ),
    ],
    ids=["growing", "precompiled", "backtracking", "adding"],
)
def test_a_tokenizer_is_refused(capfd, tmp_path, changed, told):
    folder = folder_of(tmp_path, **changed)
    with pytest.raises(CannotOpen) as refused:
        token_ids(folder, "a" * 40)
    assert told in str(refused.value)
    assert not str(refused.value).endswith(": ")
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_has_run_in_this_process(tmp_path):
    """Its threads are not in the child."""
    folder = folder_of(tmp_path)
    known = Tokenizer.from_file(str(folder / "tokenizer.json"))
    known.encode_batch(["a"] * 1000)
    assert token_ids(folder, "a") == [5]
    assert token_ids(folder, "b" * 100_000) == [0]
