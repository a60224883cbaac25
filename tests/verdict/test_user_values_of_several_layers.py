"""The user's own values of several layers: each is compared, or the run says that it was not; a
layer is judged on their inputs."""

import inspect
import sys

import numpy as np
import pytest
import torch

import probe
from probe.cli import main
from probe.errors import BadInput, NotCompared, UnknownLayer
from probe.report.blocks import row


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.act, self.out = torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4)

    def forward(self, x):
        return x + self.out(self.act(self.fc(x)))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.unused, self.head = Block(), torch.nn.Linear(4, 2), torch.nn.Linear(4, 3)
        self.alias, self.own = self.head, Own()

    def forward(self, x):
        return self.own(self.head(self.block(x)))


class Own(torch.nn.Module):
    def forward(self, x):
        return torch.from_numpy(np.tanh(x.detach().numpy()))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def outputs(net, x):
    """What each module gives, by its name."""
    found = {}
    hooks = [
        module.register_forward_hook(
            lambda module, args, output, name=name: found.update({name: output.numpy().copy()})
        )
        for name, module in net.named_modules()
    ]
    with torch.no_grad():
        net(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unused", "the forward pass did not call it"),
        ("alias", "under another name"),
        ("block/nothing", "the forward pass made no call of this name"),
        ("own", "came from no captured call"),
    ],
)
def test_a_sweep_ends_by_naming_the_values_that_it_compared_with_nothing(net, x, name, why):
    found = []
    values = {"block.fc": outputs(net, x)["block.fc"], name: np.zeros((2, 4))}
    with pytest.raises(NotCompared, match=f"1 of 2 names .* '{name}' .*{why}") as error:
        for report in probe.sweep(net, x, expected=values):
            found.append(report)
    assert list(error.value.reasons) == [name]
    assert {
        one.layer: one.verdict for one in found if "expected" in one.outputs and one.layer != name
    } == {"block.fc": "agree"}
    assert {"block.fc", "block/add", "head"} <= {one.layer for one in found}, (
        "the sweep itself went to its end"
    )


def test_values_of_another_number_of_outputs_end_no_sweep(x):
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).eval()
    found = []
    with pytest.raises(NotCompared, match=r"'0' \(the layer has 1 output; you gave 2"):
        for report in probe.sweep(net, x, expected={"0": [np.zeros((2, 3)), None]}):
            found.append(report.verdict)
    assert found == ["agree", "agree"]


def test_values_of_layers_that_were_not_asked_for_are_named(net, x):
    with pytest.raises(
        NotCompared,
        match=(r"'head' \(it is not among the layers selected by layers=\)"),
    ):
        list(probe.sweep(net, x, layers=["block.fc"], expected={"head": np.zeros((2, 3))}))


def test_values_that_were_all_compared_are_no_error(net, x):
    values = {
        name: value
        for name, value in outputs(net, x).items()
        if name in ("block.fc", "block.act", "block.out", "head")
    }
    reports = {report.layer: report for report in probe.sweep(net, x, expected=values)}
    assert all("expected" in reports[name].outputs and reports[name].ok for name in values)


@pytest.mark.tensorflow
def test_each_name_has_its_own_reason():
    keras = pytest.importorskip("keras")
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="last")], name="inner")
    given = keras.Input((4,), name="given")
    model = keras.Model(given, inner(keras.layers.Dense(3, name="first")(given)))
    x = np.ones((2, 4), np.float32)
    values = {"given": x, "inner": np.zeros((2, 2)), "inner/last": np.asarray(model(x))}
    reports = []
    with pytest.raises(NotCompared) as error:
        for report in probe.sweep(model, x, expected=values | {"first": [x, x]}):
            reports.append(report)
    assert error.value.reasons == {
        "given": "'given' is an input of the model and computes nothing",
        "first": "the layer has 1 output; you gave 2 (use None to skip one)",
    }
    found = {one.layer: one.verdict for one in reports if "expected" in one.outputs}
    assert found == {"inner/last": "agree", "inner": "diverge"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "expected is empty"),
        (np.zeros(3), "must map layer names"),
        ([1], "must map layer names"),
    ],
)
def test_a_sweep_with_values_of_nothing_is_refused(net, x, values, words):
    with pytest.raises(BadInput, match=words):
        probe.sweep(net, x, expected=values)


@pytest.mark.costly
def test_a_layer_is_not_blamed_for_what_the_layer_before_did(net, x):
    right = outputs(net, x)
    wrong = right["block"] + np.float32(0.1)
    head = wrong @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy()
    assert probe.check(net, "head", x, expected=head, search=False).verdict == "diverge"
    for before in ("block", "block/add"):
        report = probe.check(net, "head", x, expected={before: wrong, "head": head})
        assert report.ok, report
        assert any("your own values of the layer's input" in note for note in report.notes)
        assert (
            probe.check(
                net, "head", x, expected={before: wrong, "head": right["head"]}, search=False
            ).verdict
            == "diverge"
        )
        assert (
            probe.check(
                net,
                "head",
                x,
                expected={before: wrong, "head": head + np.float32(1e-3)},
                search=False,
            ).verdict
            == "diverge"
        )


def test_values_of_other_layers_need_those_of_the_layer_and_known_names(net, x):
    with pytest.raises(
        BadInput, match="expected has values of block, but none for the layer 'head'"
    ):
        probe.check(net, "head", x, expected={"block": np.zeros((2, 4))})
    with pytest.raises(UnknownLayer, match="no layer 'blok'"):
        probe.check(net, "head", x, expected={"blok": np.zeros((2, 4)), "head": np.zeros((2, 3))})


@pytest.fixture
def files(tmp_path, net, x):
    """The net in files, and what runs the command on it: (status, standard output, standard
    error)."""
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path.parent)!r})\nfrom {__name__} import Net\n"
    )
    np.save(tmp_path / "x.npy", x)
    return tmp_path


@pytest.fixture
def command(files, monkeypatch, capsys):
    def run(*arguments):
        model = (
            files / "net.pt",
            "--factory",
            f"{files / 'net.py'}:Net",
            "--input",
            files / "x.npy",
        )
        monkeypatch.setattr(sys, "argv", ["probe", *map(str, (*model, *arguments))])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def test_the_command_prints_its_reports_and_then_what_was_not_compared(command, files, net, x):
    values = outputs(net, x)
    np.savez(
        files / "mine.npz",
        **{name: values[name] for name in ("block.fc", "head")},
        own=np.zeros((2, 3)),
    )
    for strict in ((), ("--strict",)):
        status, out, err = command("--all", "--expect", files / "mine.npz", *strict)
        assert status == 2
        assert "6 agree, 0 diverge, 2 unchecked" in out
        assert err.startswith(
            "probe: the values given for 1 of 3 names were not compared: 'own' (the "
            "output of 'own', (2, 3), came from no captured call"
        )
        assert err.count("\n") == 1
    status, out, _ = command("--all", "--expect", files / "mine.npz", "--json", "-")
    assert status == 2 and '"not_compared": {\n    "own": "the output of' in out


def test_the_command_refuses_a_file_of_no_arrays(command, files):
    np.savez(files / "none.npz")
    for arguments in (("--all",), ("--layer", "head")):
        status, out, err = command(*arguments, "--expect", files / "none.npz")
        assert (status, out) == (2, "")
        assert err.endswith("none.npz contains no arrays\n")


def test_the_command_judges_a_layer_on_the_values_of_those_before(command, files, net, x):
    wrong = outputs(net, x)["block"] + np.float32(0.1)
    head = wrong @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy()
    np.savez(files / "mine.npz", **{"block/add": wrong, "head": head})
    status, out, err = command("--layer", "head", "--expect", files / "mine.npz")
    assert (status, err) == (0, ""), out
    np.savez(files / "mine.npz", head=head)
    assert command("--layer", "head", "--expect", files / "mine.npz")[0] == 1


@pytest.mark.parametrize(
    "tolerances", [(np.nan, 0.0), (1e-3, np.nan), (-1e-3, 0), (0, -1.0), (np.inf, 0), ("1", 0)]
)
def test_tolerances_that_are_none_are_refused(net, x, tolerances):
    rtol, atol = tolerances
    with pytest.raises(BadInput, match="tol must be a finite number >= 0"):
        probe.check(net, "head", x, rtol=rtol, atol=atol)
    assert probe.check(net, "head", x, rtol=1e-5, atol=0).ok


def test_the_command_refuses_such_tolerances(command):
    for rtol, atol in (("nan", "0"), ("0", "-1"), ("inf", "0")):
        status, out, err = command("--layer", "head", "--rtol", rtol, "--atol", atol)
        assert (status, out) == (2, "")
        assert "tol must be a finite number >= 0" in err


@pytest.mark.parametrize(
    "at", [(0.5, 0), (True, 0), (np.float32(1), 0), ("0", 0), (0, None), (np.True_, 0)]
)
def test_an_index_that_is_no_whole_number_is_refused(net, x, at):
    with pytest.raises(BadInput, match="an index must be an integer"):
        probe.explain(net, "head", x, at=at)
    with pytest.raises(BadInput, match="an index must be an integer"):
        probe.check(net, "head", x, expected=0.0, expected_at=at)


def test_an_index_may_be_numpys_and_count_from_the_end(net, x):
    assert probe.explain(net, "head", x, at=(np.int64(1), -1)).at == (1, 2)
    with pytest.raises(BadInput, match=r"no element \[2, 0\]: index out of range"):
        probe.explain(net, "head", x, at=(2, 0))


def test_options_that_a_sweep_does_not_read_are_refused(command):
    for option in (
        ("--rtol", "0", "--atol", "0"),
        ("--thorough",),
        ("--sees",),
        ("--at", "0,0"),
        ("--call", "0"),
    ):
        status, _, err = command("--all", *option)
        assert status == 2 and f"{option[0]} needs --layer and cannot be used with --all" in err


class Twins(torch.nn.Module):
    """Two layers that give the same numbers; one of them goes on."""

    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        self.right.load_state_dict(self.left.state_dict())
        self.last = torch.nn.Linear(3, 2)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        return self.last(left) + right[:, :2]


def test_of_two_layers_of_the_same_numbers_the_values_of_the_one_that_was_taken_count(x):
    net = Twins().eval()
    values = outputs(net, x)
    values = {"left": values["left"], "right": values["right"] + 1, "last": values["last"]}
    reports = {one.layer: one.verdict for one in probe.sweep(net, x, expected=values)}
    assert (reports["left"], reports["right"], reports["last"]) == ("agree", "diverge", "agree")
    assert probe.check(net, "last", x, expected=values).ok


def test_values_of_layers_that_are_no_inputs_of_this_one_are_named(net, x):
    right = outputs(net, x)
    values = {name: right[name] for name in ("block.fc", "block", "head")}
    report = probe.check(net, "head", x, expected=values)
    assert report.ok
    assert [note for note in report.notes if "not used" in note] == [
        "your values of other layers were not used (they are not all of its inputs): 'block.fc'"
    ]
    alone = probe.check(net, "head", given=right["block"], expected=values)
    assert alone.ok
    assert any(
        "(the layer ran alone, on its own input): 'block', 'block.fc'" in note
        for note in alone.notes
    )


def test_one_element_is_judged_on_the_values_of_the_layers_before(net, x):
    wrong = outputs(net, x)["block"] + np.float32(0.1)
    head = wrong @ net.head.weight.detach().numpy().T + net.head.bias.detach().numpy()
    told = {"block": wrong, "head": head}
    assert probe.explain(net, "head", x, at=(0, 1), expected=told).verdict == "agree"
    told["head"] = head + np.float32(0.01)
    assert probe.explain(net, "head", x, at=(0, 1), expected=told).verdict == "diverge"
    assert probe.explain(net, "head", x, at=(0, 1), expected=head).verdict == "diverge"


class Joined(torch.nn.Module):
    """The same numbers with more or fewer calls before the one that is asked for."""

    def __init__(self, shifted):
        super().__init__()
        self.fc, self.shifted = torch.nn.Linear(4, 4), shifted

    def forward(self, x):
        y = self.fc(x)
        if self.shifted:
            y = y + 1
            y = y + (-1)
        y = y + x  # the one that is asked for
        return y + y


LINE = inspect.getsourcelines(Joined)[1] + next(
    number
    for number, line in enumerate(inspect.getsourcelines(Joined)[0])
    if "asked for" in line and "y + x" in line
)


@pytest.fixture(params=[False, True])
def joined(request):
    torch.manual_seed(0)
    return Joined(request.param).eval()


def test_a_call_goes_by_its_line_whatever_is_called_before_it(joined, x):
    report = probe.check(joined, f"/add@{LINE}", x)
    assert report.ok and report.layer == ("/add:2" if joined.shifted else "/add")
    assert report.alias == f"/add@{LINE}" and f"/add@{LINE}, by the line" in str(report)
    sum_ = (joined.fc(torch.from_numpy(x)) + torch.from_numpy(x)).detach().numpy()
    assert probe.check(joined, f"/add@{LINE}", x, expected=sum_).ok
    assert probe.explain(joined, f"/add@{LINE}", x, at=(1, 2)).verdict == "agree"
    names = [one.alias for one in probe.sweep(joined, x)]
    assert names.count(f"/add@{LINE}") == names.count(f"/add@{LINE + 1}") == 1
    with pytest.raises(UnknownLayer, match="no layer '/add@1'"):
        probe.check(joined, "/add@1", x)


def test_values_of_a_call_by_its_line_are_compared_and_followed(joined, x):
    sum_ = (joined.fc(torch.from_numpy(x)) + torch.from_numpy(x)).detach().numpy()
    name, last = f"/add@{LINE}", f"/add@{LINE + 1}"
    values = {name: sum_ + np.float32(0.5), last: 2 * (sum_ + np.float32(0.5))}
    found = {one.alias: one.verdict for one in probe.sweep(joined, x, expected=values)}
    assert (found[name], found[last]) == ("diverge", "agree")
    assert probe.check(joined, last, x, expected=values).ok
    counted = next(one.layer for one in probe.sweep(joined, x) if one.alias == name)
    with pytest.raises(NotCompared, match=f"'{name}' .it is '{counted}', which has values too"):
        list(probe.sweep(joined, x, expected={name: sum_, counted: sum_}))
    with pytest.raises(NotCompared, match=r"'/add@1' .the forward pass made no call of this name"):
        list(probe.sweep(joined, x, expected={name: sum_, "/add@1": sum_}))


def test_two_calls_of_one_line_are_counted(x):
    class Twice(torch.nn.Module):
        def forward(self, x):
            return (x * 2) + (x * 3)

    names = [one.alias for one in probe.sweep(Twice(), x)]
    assert names[1] == f"{names[0]}:1" and names[2] == names[0].replace("mul", "add")


def test_a_sweep_lists_the_lines_of_counted_calls(joined, x):
    rows = {one.layer: row(one).text for one in probe.sweep(joined, x)}
    last = max(name for name in rows if name.startswith("/add:"))
    assert rows[last].endswith(f"; also add@{LINE + 1}")
    assert "also" not in rows["/add"] and "also" not in rows["fc"]


def test_the_command_gives_the_why_of_each_source(command, files, net, x):
    right = outputs(net, x)
    fc = x @ net.block.fc.weight.detach().numpy().T
    out = right["block.act"] @ net.block.out.weight.detach().numpy().T
    values = {"block.fc": fc, "block.act": right["block.act"], "block.out": out}
    np.savez(files / "mine.npz", **values)
    status, printed, err = command("--all", "--expect", files / "mine.npz")
    assert (status, err) == (1, "")
    told = printed.partition("\n\n")[2]
    for name in ("block.fc", "block.out"):
        assert f"\n{name}\nwhy: missing-bias: " in f"\n{told}", told
    assert told.count("reproduces these values") == 2
    assert "the first diverging layer is 'block.fc'" in told


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_attentions_of_a_transformer_give_a_call_the_same_line(attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    net = transformers.LlamaModel(config).eval()
    source, first = inspect.getsourcelines(type(net.layers[0].self_attn).forward)
    line = first + next(n for n, text in enumerate(source) if "attn_output.reshape" in text)
    name = f"layers.0.self_attn/reshape@{line}"
    ids = {"input_ids": np.arange(5)[None], "use_cache": False}
    report = probe.check(net, name, ids)
    assert report.ok and report.layer == f"layers.0.self_attn/reshape:{7 - (attention == 'sdpa')}"
    before = probe.check(net, "layers.0.self_attn.o_proj", ids).inputs[0]
    assert np.array_equal(report.outputs["framework"], before)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("compiled", [torch.jit.script, None])
def test_calls_of_a_graph_come_from_no_source_line(compiled, x):
    class Sum(torch.nn.Module):
        def forward(self, x):
            return x + 1

    graph = (
        torch.export.export(Sum(), (torch.from_numpy(x),)) if compiled is None else compiled(Sum())
    )
    assert [one.alias for one in probe.sweep(graph, x)] == [None]


class Blocks(torch.nn.Module):
    """Two blocks and a layer behind them."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = Block(), Block(), torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x)))


def test_values_of_blocks_are_compared_each_on_those_of_the_blocks_before(x):
    torch.manual_seed(0)
    net = Blocks().eval()

    def of(module, values):
        return module(torch.from_numpy(values)).detach().numpy()

    first = of(net.first, x)
    second = of(net.second, first) - first  # without the residual
    values = {"first": first, "second": second, "head": of(net.head, second)}
    reports = {one.layer: one for one in probe.sweep(net, x, expected=values)}
    assert {name: reports[name].verdict for name in values} == {
        "first": "agree",
        "second": "diverge",
        "head": "agree",
    }
    assert list(reports)[-2:] == ["first", "second"], "blocks come behind the layers"
    assert [one for one in reports.values() if "expected" not in one.outputs] == [
        one for name, one in reports.items() if name not in values
    ]
    right = {"second": of(net.second, first)}
    assert all(one.ok for one in probe.sweep(net, x, expected=right))
    whole = {"": of(net, x)}
    *_, last = probe.sweep(net, x, expected=whole)
    assert last.layer == "" and last.ok and "expected" in last.outputs
    *_, last = probe.sweep(net, x, expected={"": whole[""] + 1})
    assert last.verdict == "diverge"
    *_, last = probe.sweep(net, x, expected={"first": first[:, :2]})
    assert last.verdict == "diverge" and "Shapes differ" in last.sentence


def test_blocks_may_be_asked_for_in_a_sweep(x):
    net = Blocks().eval()
    reports = list(probe.sweep(net, x, layers=["head", "first"]))
    assert [(one.layer, one.verdict) for one in reports] == [("head", "agree"), ("first", "agree")]
    (report,) = probe.sweep(net, x, layers=["second"], expected={"second": np.zeros((2, 4))})
    assert report.verdict == "diverge"
    with pytest.raises(NotCompared, match=r"'first' .it is not among the layers selected"):
        list(probe.sweep(net, x, layers=["second"], expected={"first": np.zeros((2, 4))}))


@pytest.mark.costly
def test_the_command_compares_values_of_blocks(command, files, net, x):
    values = {name: outputs(net, x)[name] for name in ("block", "head")}
    np.savez(files / "mine.npz", **values)
    status, out, err = command("--all", "--expect", files / "mine.npz")
    assert (status, err) == (0, "") and "agree     block " in out
    np.savez(files / "mine.npz", **values | {"block": values["block"] - x})
    status, out, err = command("--all", "--expect", files / "mine.npz")
    assert (status, err) == (1, "") and "diverge   block " in out


def test_values_of_a_module_with_its_own_forward_are_compared(x):
    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(4) + 0.5)

        def forward(self, x):
            return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    net = torch.nn.Sequential(torch.nn.Linear(4, 4), Norm(), torch.nn.Linear(4, 2)).eval()
    right = {name: value for name, value in outputs(net, x).items() if name}
    reports = {one.layer: one for one in probe.sweep(net, x, expected=right)}
    assert all(reports[name].ok and "expected" in reports[name].outputs for name in right)
    wrong = right | {"1": right["1"] * np.float32(1.01)}
    reports = {one.layer: one.verdict for one in probe.sweep(net, x, expected=wrong)}
    assert (reports["0"], reports["1"], reports["2"]) == ("agree", "diverge", "diverge")
