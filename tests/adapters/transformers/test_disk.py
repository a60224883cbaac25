"""Parameters that memory does not hold stay on the disk, and are read while their module runs."""

import gc
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.hooks import AlignDevicesHook
from probe.adapters.torch.capture.model import TorchModel
from probe.adapters.torch.capture.unseen_tensors import UnseenTensors
from probe.adapters.transformers import memory
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers_cases import CASES, build

import probe as library
from probe.errors import BadInput
from probe.recording.store import INDEX


def verdicts(model):
    return [(one.layer, one.verdict) for one in library.sweep(model)]


@pytest.mark.parametrize("name", ["Llama", pytest.param("Mixtral", marks=pytest.mark.exhaustive)])
def test_a_sweep_from_the_disk_is_the_same(saved, name):
    """Mixtral's experts are one tensor in transformers, and many in the files."""
    model = library.open_model(saved(name), device="disk")
    assert {one.device.type for one in model.module.parameters()} == {"meta"}
    assert model.framework.endswith("on cpu and disk")
    found = verdicts(model)
    assert found == verdicts(library.open_model(saved(name)))
    assert {verdict for _, verdict in found} == {"agree"}
    assert {one.device.type for one in model.module.parameters()} == {"meta"}


def test_weights_that_are_brought_and_taken_are_no_calls(saved, monkeypatch):
    """Each was copied on its way out, in float32, and hashed."""
    seen, plain = set(), UnseenTensors.note

    def note(self, tensors, *words):
        seen.update(tuple(one.shape) for one in tensors)
        plain(self, tensors, *words)

    monkeypatch.setattr(UnseenTensors, "note", note)
    # a second pass, on another input, would tell these from what follows from the input
    monkeypatch.setattr(TorchModel, "_following", lambda self, *given: iter(given[2].items()))
    model = library.open_model(saved("Llama"), device="disk")
    table = tuple(model.module.get_input_embeddings().weight.shape)
    assert {verdict for _, verdict in verdicts(model)} == {"agree"}
    assert seen and table not in seen
    norm = "model.layers.0.input_layernorm"
    reports = [one for one in library.sweep(model) if one.layer.startswith(f"{norm}/mul")]
    assert [name for one in reports for name in one.weights] == ["weight"]


def test_a_block_and_values_of_yours(saved):
    model, layer = library.open_model(saved("Llama"), device="disk"), "model.layers.1"
    right = library.check(saved("Llama"), layer).outputs["framework"]
    assert library.check(model, layer, expected=right).ok
    report = library.check(model, layer, expected=right * 1.01, search=False)
    assert report.verdict == "diverge" and "mlp.down_proj.weight" in report.weights


def test_what_had_to_be_written_is_removed(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = library.open_model(saved("Mixtral"), device="disk")
    assert any(one.is_file() for one in tmp_path.rglob("*"))
    del model
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_large_one_stays_there_unless_it_is_told_to_move(saved, copied, monkeypatch):
    monkeypatch.setattr(memory, "_LARGE", 1000)

    def devices(folder, device=None):
        model = library.open_model(folder, device=device)
        assert any("--device cpu" in one for one in model.notes) == (device is None and on_disk)
        return {one.device.type for one in model.module.parameters()}

    on_disk = True
    assert devices(saved("Llama")) == {"meta"}
    assert devices(saved("Llama"), "cpu") == {"cpu"}
    on_disk = False
    assert devices(copied("Llama", dtype="bfloat16")) == {"cpu"}, "the files hold float32"
    assert devices(saved("Mixtral")) == {"cpu"}, "its experts would have to be written"


def test_a_directory_that_memory_does_not_hold(saved, tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text("100000\n")
    monkeypatch.setattr(memory, "_CGROUPS", (str(limit),))
    model = library.open_model(saved("Llama"))
    assert {one.device.type for one in model.module.parameters()} == {"meta"}
    assert any("read from the disk while it runs" in note for note in model.notes)
    limit.write_text("max\n")
    model = library.open_model(saved("Llama"))
    assert {one.device.type for one in model.module.parameters()} == {"cpu"}


def test_the_command(probe, saved):
    status, out, err = probe(saved("Llama"), "--all", "--strict", "--device", "disk")
    assert status == 0 and out.splitlines()[-1].endswith(" agree, 0 diverge, 0 unchecked")
    assert not err


def test_what_is_no_directory():
    file = Path(__file__).parents[3] / "examples" / "digits.pt"
    with pytest.raises(BadInput, match="parameters of a Hugging Face directory"):
        library.open_model(file, device="disk")
    with pytest.raises(BadInput, match="parameters of a Hugging Face directory"):
        library.open_model(build(CASES["ViT"]), device="disk")


IDS = {"input_ids": [[1, 2, 3, 4, 5, 6, 7, 8]]}


def index_of(folder):
    found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    del found["written"], found["sha256"]
    return found


def record_with_an_interrupt(directory, folder, layer):
    """Records to the folder what comes before a layer."""

    def interrupt(name):
        if name == layer:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.record(
            library.open_model(directory, device="disk"), IDS, f"{folder}/", progress=interrupt
        )


@pytest.fixture
def brought(monkeypatch):
    """The shapes of the weights that are read from the disk for a call."""
    found, plain = [], AlignDevicesHook.pre_forward

    def pre_forward(self, module, *args, **kwargs):
        found.extend(tuple(one.shape) for one in module.parameters(recurse=False))
        return plain(self, module, *args, **kwargs)

    monkeypatch.setattr(AlignDevicesHook, "pre_forward", pre_forward)
    return found


def matrices(shapes):
    return [one for one in shapes if len(one) == 2]


def test_an_interrupted_recording_does_not_run_its_layers_again(saved, tmp_path, brought):
    """The second run brings the weights of the layers from the interrupt on, and what it writes is
    what a run without one does."""
    directory, last = saved("Llama"), "model.layers.1.mlp.down_proj"
    whole, folder = tmp_path / "whole", tmp_path / "run"
    library.record(library.open_model(directory, device="disk"), IDS, f"{whole}/")
    every = matrices(brought)
    brought.clear()
    record_with_an_interrupt(directory, folder, last)
    before = matrices(brought)
    brought.clear()
    kept = library.record(library.open_model(directory, device="disk"), IDS, f"{folder}/")
    assert index_of(folder) == index_of(whole)
    assert {one.name for one in folder.iterdir()} == {one.name for one in whole.iterdir()}
    assert {one.verdict for one in library.sweep(kept)} == {"agree"}
    # the layer that was on as the interrupt came, and those after it
    assert len(before) > 10
    assert matrices(brought) == every[len(before) - 1 :]


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("change", ["input", "weights", "array"])
def test_what_has_changed_since_the_interrupt_is_computed_again(saved, tmp_path, change):
    directory, folder = tmp_path / "model", tmp_path / "run"
    shutil.copytree(saved("Llama"), directory)
    record_with_an_interrupt(directory, folder, "lm_head")
    ids = {"input_ids": [[8, 7, 6, 5, 4, 3, 2, 1]]} if change == "input" else IDS
    if change == "weights":
        (file,) = directory.glob("*.safetensors")
        tensors = {name: one * 1.5 for name, one in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    if change == "array":
        next(folder.glob("*.model.layers.0.self_attn.q_proj.output0.npy")).unlink()
    library.record(library.open_model(directory, device="disk"), ids, f"{folder}/")
    whole = tmp_path / "whole"
    library.record(library.open_model(directory, device="disk"), ids, f"{whole}/")
    found, wanted = (
        {one.layer: one.outputs["framework"] for one in library.sweep(library.open_model(path))}
        for path in (folder, whole)
    )
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)


SWEEP = """
import resource, sys
import probe

def taken(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith(field)) << 10

model = probe.open_model(sys.argv[1], device="disk")
limit = taken("VmData") + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
ids = {"input_ids": [[1, 2, 3, 4, 5, 6, 7, 8]]}
verdicts = [one.verdict for one in probe.sweep(model, ids)]
assert len(verdicts) > 300 and set(verdicts) == {"agree"}
print(taken("VmHWM"))
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits the memory of a process")
def test_a_sweep_takes_the_memory_of_a_few_blocks(tmp_path):
    """Three blocks and 512 MiB, where the parameters take 1.4 GiB; the system holds it to that."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=8,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=256,
    )
    module = LlamaForCausalLM(config)
    module.save_pretrained(tmp_path, max_shard_size="60MB")
    block, whole = (
        sum(one.numel() * one.element_size() for one in part.parameters())
        for part in (module.model.layers[0], module)
    )
    del module
    limit = 3 * block + (512 << 20)
    assert limit < 0.8 * whole
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SWEEP, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < limit
