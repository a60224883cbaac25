"""Where a module runs: on the device that was asked for, which the report names."""

import re
import threading

import numpy as np
import pytest
import torch
from probe.adapters.torch.capture import devices

import probe
from probe.errors import BadInput

X = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(np.float32)


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 5)
    ).eval()


@pytest.fixture
def file(tmp_path):
    torch.save(net().state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path.parent)!r})\nfrom {__name__} import net\n"
    )
    np.save(tmp_path / "x.npy", X)
    return (tmp_path / "net.pt", "--factory", f"{tmp_path / 'net.py'}:net")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda:7", "finds no device 'cuda:7' here: leave device (--device) out to run on the CPU"),
        ("mps", "finds no device 'mps' here"),
        ("tpu", "a device is cpu, cuda, cuda:1 or mps; you gave 'tpu'"),
        ("meta", "a device is cpu, cuda, cuda:1 or mps; you gave 'meta'"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(probe_command, file, device, words):
    with pytest.raises(BadInput, match=re.escape(words)):
        probe.open_model(net(), device=device)
    status, out, err = probe_command(*file, "--all", "--shape", "2,3,6,5", "--device", device)
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err


@pytest.fixture
def probe_command(request):
    return request.getfixturevalue("probe")


def test_the_cpu_is_asked_for_by_name(probe_command, file):
    live = net()
    assert probe.open_model(live, device="cpu").module is live
    status, out, err = probe_command(*file, "--all", "--shape", "2,3,6,5", "--device", "cpu")
    assert (status, err) == (0, "")
    status, out, err = probe_command(*file, "--device", "cpu")
    assert (status, out) == (2, "") and "--device needs --layer NAME or --all" in err


@pytest.mark.costly
@pytest.mark.tensorflow
def test_other_models_say_where_they_run():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    x = X.reshape(-1, 3)
    assert probe.check(probe.open_model(model, device="cpu"), "d", x).ok
    with pytest.raises(BadInput, match="backend tensorflow finds no device 'cuda:7' here"):
        probe.open_model(model, device="cuda:7")
    with pytest.raises(BadInput, match="a device is cpu, cuda, cuda:1 or mps"):
        probe.open_model(model, device="gpu")


def test_a_gpu_that_was_left_idle_is_named(file, monkeypatch):
    """What PyTorch counts is all that is asked of it, so a count stands for a GPU here."""
    factory = net
    path = str(file[0])
    model = probe.open_model(path, factory=factory)
    assert not any("GPU" in note for note in model.notes) or torch.cuda.device_count()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    note = (
        "a GPU is available, but the model ran on the CPU: device='cuda' (--device cuda) runs it "
        "on the GPU"
    )
    assert note in probe.check(probe.open_model(path, factory=factory), "0", X).notes
    assert note not in probe.open_model(path, factory=factory, device="cpu").notes
    assert note not in probe.open_model(net()).notes


def test_the_report_names_a_float32_that_is_less():
    before = torch.get_float32_matmul_precision()
    assert probe.check(net(), "0", X).framework == f"torch {torch.__version__}"
    torch.set_float32_matmul_precision("medium")
    try:
        told = probe.check(net(), "0", X).framework
        assert told == f"torch {torch.__version__}, float32 matmul precision medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
def test_a_gpu_computes_and_is_named(probe_command, file):
    live = net()
    model = probe.open_model(live, device="cuda")
    assert next(live.parameters()).device.type == "cpu"
    assert "a copy of the module was moved to cuda" in model.notes
    torch.backends.cudnn.allow_tf32 = False
    report = probe.check(model, "0", X)
    assert report.ok
    assert torch.cuda.get_device_name() in report.framework
    assert "TF32 in convolution off" in report.framework
    assert all(one.ok for one in probe.sweep(model, X))
    mine = report.outputs["framework"] + np.float32(0.1)
    assert probe.check(model, "0", X, expected=mine).verdict == "diverge"
    on_gpu = net().cuda()
    assert probe.open_model(on_gpu).module is on_gpu
    assert probe.check(on_gpu, "3", X).ok
    program = torch.export.export(net(), (torch.from_numpy(X),))
    assert all(one.ok for one in probe.sweep(probe.open_model(program, device="cuda"), X))
    status, out, err = probe_command(*file, "--all", "--shape", "2,3,6,5", "--device", "cuda")
    assert (status, err) == (0, ""), out


def test_a_module_moves_to_a_device_that_is_there(monkeypatch):
    """As a copy; one that is there already is itself."""
    module = net()
    assert devices.moved(module, None) == (module, ())
    assert devices.moved(module, "cpu") == (module, ())
    monkeypatch.setattr(devices, "refuse_absent", lambda device: None)
    copy, notes = devices.moved(module, "meta")
    assert copy[0].weight.device.type == "meta" and module[0].weight.device.type == "cpu"
    assert notes == ("a copy of the module was moved to meta",)
    module.lock = threading.Lock()
    with pytest.raises(BadInput, match=r"the module cannot be copied to meta: "):
        devices.moved(module, "meta")


def test_which_devices_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cpu", "cuda", "cuda:1"):
        devices.refuse_absent(device)
    for device, words in {
        "cuda:2": "finds no device 'cuda:2' here",
        "meta": "a device is cpu, cuda, cuda:1 or mps; you gave 'meta'",
        "nonsense": "a device is cpu, cuda, cuda:1 or mps; you gave 'nonsense'",
        "disk": "--device disk reads the parameters of a Hugging Face directory",
    }.items():
        with pytest.raises(BadInput, match=re.escape(words)):
            devices.refuse_absent(device)


def test_the_flags_of_a_gpu(monkeypatch):
    flags = list(devices._cuda_flags())
    assert [flag.rpartition(" ")[0] for flag in flags] == [
        "TF32 in matmul",
        "TF32 in convolution",
        "bf16 reduced-precision sums",
        "fp16 reduced-precision sums",
    ]
    assert {flag.rpartition(" ")[2] for flag in flags} <= {"on", "off"}
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = not before
    try:
        assert list(devices._cuda_flags())[2] != flags[2]
    finally:
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = before
