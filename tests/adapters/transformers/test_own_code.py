"""Code that a config inside of config.json names: it is not run, nobody is asked, and nothing is
read from standard input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from probe.adapters.transformers.config import code_within, values
from probe.adapters.transformers.directory import read
from safetensors.numpy import save_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

AUTO = dict.fromkeys(
    ["AutoBackbone", "AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"], "evil.Net"
)

OPENED = """
import contextlib, json, os, sys
import probe, probe.adapters.transformers.config as cleaning
from probe.errors import ProbeError

def sentence(folder):
    try:
        return str(probe.open_model(folder))
    except ProbeError as error:
        return str(error)

folders = sys.argv[1:]
told = {"pipe": [sentence(one) for one in folders]}
with contextlib.suppress(OSError):
    told["left"] = os.read(0, 100).decode()
main, terminal = os.openpty()
os.write(main, 9 * len(folders) * b"y\\n")
os.dup2(terminal, 0)
told["terminal"] = [sentence(one) for one in folders[:2]]
cleaning._kept = lambda config: config.items()  # as if nothing were left out
told["asked"] = [sentence(one) for one in folders[:3]]
print(json.dumps(told))
"""


def directory(folder, config):
    folder.mkdir()
    ran = folder.with_name("ran")
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'a').write(__name__)\nclass Net: pass\n")
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"a": np.ones(3, np.float32)}, folder / "model.safetensors")
    return folder


def hostile(kind, folder):
    return {
        "model_type": kind,
        "auto_map": AUTO,
        "name_or_path": str(folder),
        "_name_or_path": str(folder),
    }


def renamed(kind, folder):
    """The same by a key that transformers takes for another name of its own."""
    config = hostile(kind, folder)
    names = {f"x{at}": name for at, name in enumerate(config) if name != "model_type"}
    given = {key: config[name] for key, name in names.items()}
    return {"model_type": kind, "attribute_map": names, **given}


BERT = {"model_type": "bert", "num_hidden_layers": 1}
CASES = {
    "EncoderDecoderModel": lambda evil: {
        "model_type": "encoder-decoder",
        "encoder": BERT,
        "decoder": evil("align_text_model"),
    },
    "VisionEncoderDecoderModel": lambda evil: {
        "model_type": "vision-encoder-decoder",
        "encoder": {"model_type": "vit", "num_hidden_layers": 1},
        "decoder": evil("align_text_model"),
    },
    "LlavaForConditionalGeneration": lambda evil: {
        "model_type": "llava",
        "text_config": {**evil("align_text_model"), "tie_word_embeddings": False},
        "vision_config": {"model_type": "clip_vision_model", "num_hidden_layers": 1},
    },
    "VisionTextDualEncoderModel": lambda evil: {
        "model_type": "vision-text-dual-encoder",
        "text_config": evil("siglip_text_model"),
        "vision_config": {"model_type": "clip_vision_model", "num_hidden_layers": 1},
    },
    "OmDetTurboForObjectDetection": lambda evil: {
        "model_type": "omdet-turbo",
        "timm_kwargs": {"trust_remote_code": True},
        "backbone_config": evil("align_text_model"),
    },
}


@pytest.mark.costly
def test_no_code_of_a_config_inside_runs(tmp_path):
    folders = []
    for evil, cls in ((renamed, "EncoderDecoderModel"), *((hostile, cls) for cls in CASES)):
        folder = tmp_path / f"{cls}-{evil.__name__}"
        inside = CASES[cls](lambda kind, evil=evil, folder=folder: evil(kind, folder))
        folders.append(directory(folder, {"architectures": [cls], **inside}))
    run = subprocess.run(
        [sys.executable, "-c", OPENED, *folders],
        input="y\nsecond\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "ran").exists()
    told = json.loads(run.stdout)  # and nothing but that: no question
    assert told.pop("left") == "y\nsecond\n"
    for sentences in told.values():
        for folder, sentence in zip(folders, sentences, strict=False):
            assert "trust_remote_code" not in sentence
            assert "--trust" in sentence or folder.name.endswith("renamed"), sentence
    assert all("which is not run" in sentence for sentence in told["asked"]), told["asked"]


def test_no_config_inside_keeps_what_names_code(tmp_path):
    """Whatever its class."""
    inside = {kind: {"sizes": [hostile(kind, tmp_path)]} for kind in CONFIG_MAPPING_NAMES}
    found = read(directory(tmp_path / "all", inside))
    assert len(list(code_within(found.config))) == len(AUTO) * len(inside) > 1000
    assert not list(code_within(values(found, own=False)))
    assert str(tmp_path) not in json.dumps(values(found, own=False))
