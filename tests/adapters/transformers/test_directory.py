"""Hugging Face directories: what is listed of them, how they open, and what is refused in one
sentence."""

import json
import pickle
import re
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers_cases import CASES

import probe as library
from probe.errors import BadInput, CannotOpen, ForwardFailed, NotTrusted, ProbeError

SHARDS = "model.safetensors.index.json"


def sharded(folder, parts=3, index=True):
    """The parameters of a directory in several files."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, places = sorted(state), {}
    for part in range(parts):
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        held = {name: state[name] for name in names[part::parts]}
        save_file(held, folder / file, {"format": "pt"})
        places |= dict.fromkeys(held, file)
    if index:
        (folder / SHARDS).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def without(folder, name):
    state = load_file(folder / "model.safetensors")
    save_file({key: one for key, one in state.items() if key != name}, folder / "model.safetensors")
    return folder


def the_sentence(folder, **options):
    with pytest.raises(CannotOpen) as refused:
        library.open_model(folder, **options)
    return str(refused.value)


def checked(folder, layer="model.layers.0.self_attn.q_proj", **options):
    report = library.check(library.open_model(folder, **options), layer)
    assert report.ok, report
    return report


def test_the_listing_needs_no_framework(saved):
    folder = saved("Llama")
    code = (
        "import sys; from probe.cli import main; sys.argv = ['probe', sys.argv[1]]\n"
        "try: main()\nfinally: print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert lines[-1] == "[]"
    names = [line.split()[0] for line in lines if line.startswith("model.")]
    module = transformers.AutoModelForCausalLM.from_pretrained(folder)
    owners = {name.rpartition(".")[0] for name in module.state_dict()}
    assert set(names) == {name for name in owners if name.startswith("model.")}
    q_proj = next(line for line in lines if line.startswith("model.layers.1.self_attn.q_proj"))
    assert q_proj.split() == [
        "model.layers.1.self_attn.q_proj",
        "weight",
        "(32,",
        "32)",
        "float32",
        "1024",
    ]
    assert "note: config.json names the class LlamaForCausalLM" in lines
    assert "note: config.json asks for the precision float32" in lines


def test_a_directory_opens_as_transformers_opens_it(saved):
    folder = saved("Llama")
    report = checked(folder)
    module = transformers.LlamaForCausalLM.from_pretrained(folder)
    weight = module.model.layers[0].self_attn.q_proj.weight
    assert np.array_equal(report.weights["weight"].stored, weight.detach().numpy())
    assert report.framework.startswith(f"transformers {transformers.__version__} on torch ")
    assert any("LlamaForCausalLM of transformers" in note for note in report.notes)


def test_a_live_model_gets_the_input_that_is_drawn_for_its_directory(saved):
    folder = saved("Llama")
    live = transformers.AutoModelForCausalLM.from_pretrained(folder)
    name = "model.layers.0.self_attn"
    report, other = library.check(live, name), library.check(folder, name)
    assert report.ok and report.how == other.how and report.framework == other.framework
    ids = np.arange(8).reshape(1, 8)
    for given in (ids, [ids, np.ones_like(ids)], {"input_ids": ids, "use_cache": False}):
        assert library.check(live, name, given).ok
    with pytest.raises(BadInput, match="a live model has no tokenizer"):
        library.check(live, name, "a text")


@pytest.mark.parametrize("index", [True, False], ids=["index", "numbered"])
def test_shards_are_one_model(saved, copied, index):
    whole, parts = checked(saved("Llama")), checked(sharded(copied(), index=index))
    assert np.array_equal(whole.outputs["framework"], parts.outputs["framework"])


def test_a_file_of_another_name(saved, copied):
    folder = copied()
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    one, other = checked(saved("Llama")), checked(folder)
    assert np.array_equal(one.outputs["framework"], other.outputs["framework"])


def test_tied_weights_are_told(probe, copied):
    folder = copied(tie_word_embeddings=True)
    without(folder, "lm_head.weight")
    model = library.open_model(folder)
    assert any("lm_head.weight is model.embed_tokens.weight" in note for note in model.notes)
    assert model.module.lm_head.weight is model.module.model.embed_tokens.weight
    assert checked(folder, "lm_head").ok
    _, out, _ = probe(folder)
    assert (
        "the output layer has no tensor of its own: it is tied to model.embed_tokens.weight" in out
    )


def test_the_precision_of_the_config(copied):
    model = library.open_model(copied(dtype="bfloat16"))
    assert next(model.module.parameters()).dtype == torch.bfloat16
    assert (
        "the files hold float32; it computes in bfloat16, which config.json asks for" in model.notes
    )


def test_tensors_without_a_use_are_told(copied):
    folder = copied()
    state = load_file(folder / "model.safetensors") | {"extra.weight": torch.zeros(2)}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    model = library.open_model(folder)
    assert any(
        "does not use these tensors of the files: extra.weight" in one for one in model.notes
    )


@pytest.mark.parametrize("named", [3, True, {"a": 1}, [3], [[]]], ids=repr)
def test_a_listing_whatever_the_config_names(probe, copied, named):
    status, out, err = probe(copied(architectures=named, vocab_size=[1], text_config=named))
    assert (status, err) == (0, "") and "names the class" not in out, err


def test_a_missing_tensor(copied):
    told = the_sentence(without(copied(), "model.layers.1.mlp.up_proj.weight"))
    assert "do not fit LlamaForCausalLM: missing model.layers.1.mlp.up_proj.weight" in told


def test_a_tensor_of_another_shape(copied):
    folder = copied()
    state = load_file(folder / "model.safetensors") | {"model.norm.weight": torch.zeros(31)}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    told = the_sentence(folder)
    assert "with another shape model.norm.weight (file (31,), LlamaForCausalLM (32,))" in told


@pytest.mark.parametrize("index", [True, False], ids=["index", "numbered"])
def test_a_missing_shard(copied, index):
    folder = sharded(copied(), index=index)
    (folder / "model-00002-of-00003.safetensors").unlink()
    told = the_sentence(folder)
    assert "model-00002-of-00003.safetensors" in told and "missing: download all of them" in told


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "sub/a.safetensors", "", 3]
)
def test_no_shard_lies_outside(copied, name):
    folder = copied()
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / SHARDS).write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    assert "which is not one of its own folder" in the_sentence(folder)


def test_an_index_of_other_files(copied):
    folder = sharded(copied())
    index = json.loads((folder / SHARDS).read_text(encoding="utf-8"))
    index["weight_map"]["other.weight"] = "model-00001-of-00003.safetensors"
    (folder / SHARDS).write_text(json.dumps(index))
    assert "holds 'other.weight', but it does not" in the_sentence(folder)


def test_two_files_with_one_tensor(copied):
    folder = copied()
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for name in ("a.safetensors", "b.safetensors"):
        save_file(state, folder / name)
    assert "a.safetensors and b.safetensors both hold a tensor" in the_sentence(folder)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architectures": ["NoSuchForCausalLM"]}, "'NoSuchForCausalLM', which is no model"),
        ({"architectures": ["AutoModel"]}, "'AutoModel', which is no model"),
        ({"architectures": ["logging"]}, "'logging', which is no model"),
        ({"architectures": ["PreTrainedModel"]}, "which is no model of its own but a base class"),
        ({"architectures": []}, "names no architectures"),
        ({"architectures": None}, "names no architectures"),
        ({"architectures": [3]}, "names no architectures"),
        ({"dtype": "load"}, "asks for the precision 'load'; float64, float32"),
        ({"num_hidden_layers": 10**9}, "describes a model of more than 12,100 modules and"),
        pytest.param(
            {"num_labels": 10**9},
            "takes more than 1,026 MiB of memory",
            marks=pytest.mark.costly,
        ),
        ({"vocab_size": 10**11}, "describes a model of"),
        (
            {"vocab_size": 10**11, "quantization_config": {"quant_method": "gptq", "bits": 4}},
            "describes a model of",
        ),
        (
            {"hidden_size": "wide"},
            "is refused by LlamaConfig: Validation error for field 'hidden_size': TypeError: Field",
        ),
        (
            {"hidden_act": "os.system"},
            "LlamaForCausalLM cannot be built from config.json: KeyError: ",
        ),
        ({"hidden_act": "os.system"}, 'raised by "self.act_fn = ACT2FN[config.hidden_act]" (mod'),
        ({"id2label": {"a": "b"}}, 'raised by "self.id2label = {int(key): value for key, value'),
        ({"model_type": {"a": 1}}, "cannot be opened as LlamaForCausalLM: TypeError: unhashable"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_is_refused(copied, config, told):
    assert told in the_sentence(copied(**config))


def test_large_numbers_that_cost_nothing(copied):
    model = library.open_model(copied(block_size=131072, codebook_size=65536, num_labels=21843))
    assert model.module.config.num_labels == 21843


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "cannot be read as JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b" " * (2**25 + 1), "has more than 33,554,432 bytes"),
    ],
    ids=["cut", "list", "deep", "long"],
)
def test_a_broken_config(copied, content, told):
    folder = copied()
    (folder / "config.json").write_bytes(content)
    assert told in the_sentence(folder)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4 * 10**12]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "P32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 3},
    ],
    ids=["large", "outside", "negative", "type", "number"],
)
def test_a_broken_header(copied, header):
    folder, text = copied(), json.dumps(header).encode()
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert "is a broken .safetensors file" in the_sentence(folder)


def test_a_header_longer_than_any(copied):
    folder = copied()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10**9) + b"{}")
    assert "its header of 1,000,000,000 bytes" in the_sentence(folder)


def test_a_sparse_file(copied):
    folder = copied()
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2**33)
    assert "is sparse" in the_sentence(folder)


OWN = """
import pathlib, torch
from transformers import PretrainedConfig, PreTrainedModel
pathlib.Path({ran!r}).touch()

class OwnConfig(PretrainedConfig):
    model_type = "own"

class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    main_input_name = "x"

    def __init__(self, config):
        super().__init__(config)
        self.fc = torch.nn.Linear(3, 4)
        self.post_init()

    def forward(self, x):
        return self.fc(x)
"""


def own_code(folder, ran):
    folder.mkdir()
    (folder / "modeling_own.py").write_text(OWN.format(ran=str(ran)))
    config = {
        "architectures": ["OwnModel"],
        "model_type": "own",
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {"fc.weight": torch.ones(4, 3), "fc.bias": torch.ones(4)}, folder / "model.safetensors"
    )
    return folder


def test_code_of_its_own_runs_with_consent_alone(tmp_path):
    ran = tmp_path / "ran"
    folder = own_code(tmp_path / "own", ran)
    with pytest.raises(NotTrusted, match=r"modeling_own\.OwnModel.*--trust"):
        library.open_model(folder)
    assert not ran.exists()
    model = library.open_model(folder, trust=True)
    assert ran.exists()
    x = np.ones((2, 3), np.float32)
    assert library.check(model, "fc", {"x": x}).ok


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "        self.post_init()",
            "        type(self)(config)",
            "OwnModel cannot be built from config.json: it calls itself without end, raised by ",
        ),
        (
            "        self.post_init()",
            "        {}[7]",
            'KeyError: 7, raised by "{}[7]" (modeling_own.py, line 16)',
        ),
        (
            "import pathlib",
            "import no_such_package",
            "modeling_own.OwnModel of the directory cannot",
        ),
        ("class OwnModel", "class Other", "has no attribute 'OwnModel'"),
        ("class OwnModel", "lambda: lambda", "cannot be imported: SyntaxError: "),
    ],
    ids=["recursion", "key", "import", "name", "syntax"],
)
def test_code_of_its_own_that_fails(tmp_path, old, new, told):
    folder = own_code(tmp_path / "own", tmp_path / "ran")
    file = folder / "modeling_own.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert told in the_sentence(folder, trust=True)


def test_code_beside_a_class_of_transformers_does_not_run(copied, tmp_path):
    folder = copied(auto_map={"AutoModelForCausalLM": "modeling_own.LlamaForCausalLM"})
    (folder / "modeling_own.py").write_text(OWN.format(ran=str(tmp_path / "ran")))
    model = library.open_model(folder)
    assert not (tmp_path / "ran").exists()
    assert "config.json also names code of its own, which was not run" in model.notes


def test_pickles_are_not_run(copied, tmp_path):
    folder = copied()
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert checked(folder).ok

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(state | {"bomb": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(NotTrusted, match="can run any code"):
        library.open_model(folder)
    assert not (tmp_path / "ran").exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ProbeError):
        library.open_model(folder)
    assert not (tmp_path / "ran").exists()


def test_no_server_is_asked(copied, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a server was asked")

    folder = copied(attn_implementation="kernels-community/flash-attn")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = library.open_model(folder)
    assert any(
        "'kernels-community/flash-attn', which is not for this" in one for one in model.notes
    )
    assert library.check(model, "model.norm/mul").verdict != "diverge"


def test_what_quantised_it_is_told_and_refused(probe, copied):
    folder = copied(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    told = the_sentence(folder)
    assert "is quantised (gptq, 4 bits), which cannot be opened here" in told
    _, out, _ = probe(folder)
    assert "note: config.json says that it is quantised: gptq, 4 bits" in out


def test_what_torchao_quantised_opens(saved, tmp_path):
    """transformers saves its parameters in a form of their own."""
    from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415 - it warns

    how = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    module = transformers.LlamaForCausalLM.from_pretrained(saved("Llama"), quantization_config=how)
    module.save_pretrained(tmp_path)
    model = library.open_model(tmp_path)
    assert "config.json says that it is quantised: torchao" in model.notes
    report = library.check(model, "model.layers.0.mlp.up_proj")
    assert report.ok, report
    assert len(np.unique(report.weights["weight"].effective[0])) <= 255


def test_an_adapter_is_refused(copied):
    folder = copied()
    (folder / "adapter_config.json").write_text("{}")
    assert "holds an adapter of PEFT" in the_sentence(folder)


def test_a_factory_takes_the_parameters(copied, tmp_path):
    net = tmp_path / "net.py"
    net.write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"net = lambda: LlamaForCausalLM(LlamaConfig(**{CASES['Llama'].config!r}))\n"
    )
    folder = sharded(copied())
    (folder / "config.json").unlink()
    assert "no config.json: give what builds the module" in the_sentence(folder)
    ids = np.arange(6).reshape(1, 6)
    expected = None
    for source in (folder, folder / "model-00002-of-00003.safetensors"):
        model = library.open_model(source, factory=f"{net}:net")
        report = library.check(model, "model.layers.0.mlp.up_proj", ids)
        assert report.ok
        assert expected is None or np.array_equal(expected, report.outputs["framework"])
        expected = report.outputs["framework"]
    (folder / "model-00001-of-00003.safetensors").unlink()
    told = the_sentence(folder / "model-00002-of-00003.safetensors", factory=f"{net}:net")
    assert "model-00001-of-00003.safetensors is missing" in told


def test_a_folder_of_something_else(tmp_path):
    assert "is an empty folder" in the_sentence(tmp_path)
    (tmp_path / "notes.txt").write_text("none")
    assert "nor a Hugging Face directory" in the_sentence(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "has a config.json but no parameters" in the_sentence(tmp_path)


def test_inputs_by_name(probe, saved, tmp_path):
    folder = saved("Llama")
    model = library.open_model(folder)
    assert [spec.name for spec in model.inputs] == ["input_ids"]
    ids, mask = np.arange(12).reshape(2, 6), np.ones((2, 6), np.int64)
    mask[0, :2] = 0
    np.savez(tmp_path / "x.npz", attention_mask=mask, input_ids=ids)
    layer = "model.layers.1.self_attn.o_proj"
    with torch.no_grad():
        module, seen = model.module, []
        hook = module.get_submodule(layer).register_forward_hook(lambda *one: seen.append(one[2]))
        module(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
        hook.remove()
    report = library.check(model, layer, {"attention_mask": mask, "input_ids": ids})
    assert report.ok and np.array_equal(report.outputs["framework"], seen[0].numpy())
    status, out, _ = probe(folder, "--layer", layer, "--input", tmp_path / "x.npz")
    assert status == 0 and "agree" in out
    with pytest.raises(ForwardFailed, match="exactly one of input_ids or inputs_embeds"):
        library.check(model, layer, {"inputs_ids": ids})
    report = library.check(model, "model.embed_tokens", {"use_cache": False})
    assert report.how == "random, seed 0, shape (2, 16), with use_cache=False"


def test_what_a_number_follows_from_goes_by_the_names_of_the_inputs(saved):
    """In the order in which they were given, and with more of them than are drawn."""
    model = library.open_model(saved("Whisper"))
    assert [spec.name for spec in model.inputs] == ["input_features", "decoder_input_ids"]
    ids, mask = np.array([[1, 5, 7]]), np.ones((1, 3), np.int64)
    features = np.random.default_rng(0).normal(size=(1, 12, 40)).astype(np.float32)
    given = {"decoder_attention_mask": mask, "decoder_input_ids": ids, "input_features": features}
    story = library.explain(
        model, "model.decoder.layers.0.self_attn.v_proj", given, at=(0, 1, 3), sees=True
    )
    assert re.search(r"decoder_input_ids\[0, .* of 3 elements", str(story))
    assert "decoder_attention_mask: no element of (1, 3)" in str(story)
    assert "input_features: no element of (1, 12, 40)" in str(story)


def test_a_text_is_an_input(probe, copied):
    folder = copied()
    assert "has no tokenizer.json" in probe(folder, "--all", "--text", "who is right")[2]
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"who": 5, "is": 7, "?": 0}, "?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    report = library.check(folder, "model.embed_tokens", "who is right")
    table = report.weights["weight"].stored
    assert np.array_equal(report.outputs["framework"], table[[[5, 7, 0]]])
    assert report.how == "the text 'who is right', 3 tokens"
    status, out, _ = probe(folder, "--layer", "model.embed_tokens", "--text", "who is right")
    assert status == 0 and "the text 'who is right', 3 tokens" in out
    (folder / "tokenizer.json").write_text("{}")
    assert "is no tokenizer" in probe(folder, "--all", "--text", "who is right")[2]


def test_a_text_for_a_model_that_reads_none():
    with pytest.raises(BadInput, match="a text can only be the input of a Hugging Face directory"):
        library.check(torch.nn.Linear(3, 4), "", "who is right")


@pytest.mark.exhaustive
def test_nothing_but_the_report_is_printed(saved):
    """transformers, and what it imports, log and show progress; neither is the user's to read."""
    command = "from probe.cli import main; main()"
    arguments = [saved("Llama"), "--layer", "model.norm/mul"]
    run = subprocess.run(
        [sys.executable, "-c", command, *arguments], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
