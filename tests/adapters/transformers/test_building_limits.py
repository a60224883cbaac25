"""What is built from a config.json is bounded by what the files hold, whatever its keys are
called."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import probe as library
from probe.errors import CannotOpen

MANY = 10**9
PARTS = "describes a model of more than 10,100 modules and parameters, but its files have 1 tensors"
MORE = "takes more than 1"
"""128 MiB of memory, or 1 s of processor time: whichever comes first on this machine."""


@pytest.fixture
def limits(monkeypatch):
    """Low ones, which are met sooner."""
    monkeypatch.setattr("probe.adapters.transformers.empty_module._MEMORY", 1 << 27)
    monkeypatch.setattr("probe.adapters.transformers.empty_module._SECONDS", 1.0)


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("GPTNeoForCausalLM", {"attention_types": [[["global", "local"], MANY]]}, MORE),
        ("LevitModel", {"image_size": 10**6, "depths": [9999] * 3}, MORE),
        ("Qwen2ForCausalLM", {"num_hidden_layers": MANY}, MORE),
        ("FunnelModel", {"block_sizes": [MANY, 1, 1]}, PARTS),
        ("EfficientNetModel", {"depth_coefficient": 1e12}, PARTS),
        ("MimiModel", {"num_quantizers": MANY}, PARTS),
        ("GPT2Model", {"n_layer": 9999}, PARTS),
        ("ReformerModel", {"attn_layers": ["local"] * 20_000}, PARTS),
    ],
    ids=lambda value: value if str(value).isalnum() else "",
)
def test_an_endless_config(limits, tmp_path, name, config, told):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name], **config}))
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(CannotOpen) as refused:
        library.open_model(tmp_path)
    assert told in str(refused.value)
    assert str(tmp_path / "config.json") in str(refused.value)
