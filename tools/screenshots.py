"""The pictures of pages in docs/, of the examples: ``python tools/screenshots.py`` writes them.

It runs in the environment of ``nox -s browser``, with the frameworks of the examples beside it, and
with Chromium or Chrome as installed.
"""

import copy
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import probe

ROOT = Path(__file__).parent.parent
QKERAS, DIGITS = "examples/digits_qkeras.h5", "examples/digits.npy"
WIDE, COLOURS = 960, 200
MOST = 120_000
"""Bytes of a picture."""


class Shot(NamedTuple):
    """A picture: its name, the page, how much of it is shown, and what is done before."""

    name: str
    page: str
    high: int
    prepare: Callable[[Page], object] = lambda _: None


class Residual(torch.nn.Module):
    """Two blocks whose inputs go around them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.block1, self.block2 = (
            torch.nn.Sequential(
                torch.nn.Conv2d(8, 8, 3, padding=1),
                torch.nn.BatchNorm2d(8),
                torch.nn.ReLU(),
                torch.nn.Conv2d(8, 8, 3, padding=1),
            )
            for _ in range(2)
        )
        self.relu, self.pool = torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
        self.head = torch.nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.stem(x))
        for block in (self.block1, self.block2):
            x = self.relu(x + block(x))
        return self.head(self.pool(x).flatten(1))


def raw_convolution() -> np.ndarray:
    """The first layer's output from the weights that the file stores."""
    report = probe.check(ROOT / QKERAS, "conv2d", np.load(ROOT / DIGITS))
    kernel, bias = (report.weights[name].stored for name in ("kernel", "bias"))
    x = torch.from_numpy(report.inputs[0]).permute(0, 3, 1, 2)
    weight = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    out = torch.nn.functional.conv2d(x, weight, torch.from_numpy(bias), padding=1)
    return out.permute(0, 2, 3, 1).numpy()


def written(folder: Path, *words: str) -> str:
    """The page that the command writes of an example; files of ``folder`` stand on it by name."""
    command = [sys.executable, "-c", "from probe.cli.main import main; main()", *words]
    target = folder / "page.html"
    subprocess.run([*command, "--html", str(target)], cwd=ROOT, stdout=subprocess.DEVNULL)
    return target.read_text("utf-8").replace(f"{folder}/", "")


def shots(folder: Path) -> Iterator[Shot]:
    """One after the other."""
    mine, several = folder / "mine.npy", folder / "mine.npz"
    raw = raw_convolution()
    np.save(mine, raw)
    np.savez(several, conv2d=raw)
    given = (QKERAS, "--input", DIGITS)
    yield Shot("report", written(folder, *given, "--layer", "conv2d", "--expect", str(mine)), 1180)
    yield Shot("sweep", written(folder, *given, "--all", "--expect", str(several)), 800)
    at = ("--layer", "conv2d", "--at", "0,3,3,1")
    yield Shot("element", written(folder, *given, *at), 640)
    torch.manual_seed(0)
    net = Residual().eval()
    port = copy.deepcopy(net)
    port.block1[1].eps = 1e-2
    x = np.load(ROOT / DIGITS).transpose(0, 3, 1, 2)
    compared = probe.compare(net, port, x).to_html()
    yield Shot("comparison", compared, 900)
    yield Shot("graph", compared, 420, lambda page: at_top(page, "details:has(figure.wide)"))
    yield Shot("maps", compared, 760, lambda page: at_top(page, "details[id][open]"))


def at_top(page: Page, selector: str) -> None:
    page.locator(selector).first.evaluate("one => one.scrollIntoView()")


def taken() -> Iterator[tuple[Path, bytes]]:
    """Each picture's file and bytes."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=("--no-sandbox",))
        for shot in shots(Path(place)):
            page = browser.new_page(viewport={"width": WIDE, "height": shot.high})
            page.set_content(shot.page)
            shot.prepare(page)
            yield ROOT / "docs" / f"{shot.name}-page.png", reduced(page.screenshot())
            page.close()
        browser.close()


def reduced(png: bytes) -> bytes:
    """A picture in few colours."""
    made = io.BytesIO()
    few = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    few.save(made, "png", optimize=True)
    return made.getvalue()


if __name__ == "__main__":
    for file, picture in taken():
        assert len(picture) <= MOST, f"{file.name}: {len(picture)} bytes"
        file.write_bytes(picture)
        print(f"{file.relative_to(ROOT)}: {len(picture)} bytes")
