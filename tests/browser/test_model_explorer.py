"""What --model-explorer writes, given to Model Explorer itself: its classes take all of it, and its
page shows the graphs with their node data."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from dacite import Config, from_dict
from model_explorer.graph_builder import GraphCollection
from model_explorer.node_data_builder import GraphNodeData

import probe
from probe.model_comparison.reports import model_explorer as of_comparison
from probe.report import model_explorer
from probe.report.html import entry


@pytest.fixture(scope="module")
def files(models):
    model, other, x = models
    swept = [entry(one, 0, False) for one in probe.sweep(model, x, flow=True)]
    return {
        "sweep": model_explorer.of_sweep("net.onnx", swept),
        "comparison": of_comparison.files(probe.compare(model, other, x)),
    }


@pytest.mark.parametrize("name", ["sweep", "comparison"])
def test_its_classes_take_all_of_it(files, name):
    strict = Config(strict=True)
    collection = from_dict(GraphCollection, files[name]["graph.json"], strict)
    ids = {graph.id: {node.id for node in graph.nodes} for graph in collection.graphs}
    for data in ("error.json", "verdict.json"):
        for graph, held in files[name][data].items():
            # The page takes words as values too, where the class says numbers.
            loose = Config(strict=True, check_types=data == "error.json")
            read = from_dict(GraphNodeData, held, loose)
            assert read.results and set(read.results) <= ids[graph]


@contextmanager
def server(folder):
    """Its address, with what the command line says is loaded."""
    program, *arguments = model_explorer.command(str(folder))
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    with subprocess.Popen(
        [*command, "--no_open_in_browser", "--skip_health_check"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as started:
        try:
            address = None
            for line in started.stdout:
                if address := re.search(r"http://localhost\S+", line):
                    break
            assert address
            yield address[0]
        finally:
            started.terminate()


@pytest.mark.parametrize(
    ("name", "words"), [("sweep", "5 nodes"), ("comparison", "net.onnx")], ids=str
)
def test_its_page_shows_graph_and_errors(files, name, words, browser, tmp_path):
    model_explorer.write(str(tmp_path), files[name])
    with server(tmp_path) as address:
        page = browser.new_page()
        page.goto(address)
        page.get_by_text("error / allowance for rounding").first.wait_for(timeout=60_000)
        page.get_by_text(words).first.wait_for(state="attached", timeout=60_000)
        page.close()
