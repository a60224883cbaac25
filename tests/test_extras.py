"""The command that installs what is missing: from where this installation came from."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from repository import ROOT

from probe.process.extras import install

METADATA = """Metadata-Version: 2.1
Name: layerprobe
Version: 9
Requires-Dist: numpy>=1.26
Requires-Dist: torch>=2.6; extra == "torch"
Requires-Dist: torch>=2.6; extra == "transformers"
Requires-Dist: transformers<6,>=5; extra == 'transformers'
Requires-Dist: tomli>=2; python_version < "3.11" and extra == "dev"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installation from ``source``, as pip notes it down (PEP 610)."""

    def of(source):
        folder = tmp_path / "layerprobe-9.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(METADATA)
        place = folder / "direct_url.json"
        place.unlink(missing_ok=True)
        if source is not None:
            place.write_text(json.dumps(source))

    others = [one for one in sys.path if not any(Path(one).glob("layerprobe*-info"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *others])
    return of


def test_a_checkout(installed, tmp_path, monkeypatch):
    checkout = tmp_path / "it's; a $(checkout)"
    checkout.mkdir()
    installed({"url": checkout.as_uri(), "dir_info": {"editable": True}})
    assert shlex.split(install("torch")) == ["pip", "install", "-e", f"{checkout}[torch]"]
    egg = checkout / "layerprobe.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text(METADATA)
    monkeypatch.setattr(sys, "path", [str(checkout), *sys.path])  # as one that Python runs in
    assert shlex.split(install("torch")) == ["pip", "install", "-e", f"{checkout}[torch]"]
    installed({"url": checkout.as_uri(), "dir_info": {}})
    assert shlex.split(install("torch")) == ["pip", "install", f"{checkout}[torch]"]


def test_a_wheel_that_is_still_there(installed, tmp_path):
    wheel = tmp_path / "layerprobe-9-py3-none-any.whl"
    wheel.touch()
    installed({"url": wheel.as_uri(), "archive_info": {}})
    assert shlex.split(install("torch")) == ["pip", "install", f"{wheel}[torch]"]


def test_an_address(installed):
    installed({"url": "https://example.org/layerprobe-9.zip", "archive_info": {}})
    assert install("torch") == (
        "pip install 'layerprobe[torch] @ https://example.org/layerprobe-9.zip'"
    )
    vcs = {"vcs": "git", "commit_id": "0123abc"}
    installed({"url": "https://example.org/p.git", "vcs_info": vcs, "subdirectory": "python"})
    assert shlex.split(install("torch"))[2] == (
        "layerprobe[torch] @ git+https://example.org/p.git@0123abc#subdirectory=python"
    )


@pytest.mark.parametrize("source", [None, {"url": "file:///gone/checkout", "dir_info": {}}])
def test_packages_where_the_source_is_not_known(installed, source):
    installed(source)
    assert install("torch") == "pip install 'torch>=2.6'"
    assert install("transformers") == "pip install 'torch>=2.6' 'transformers<6,>=5'"
    assert install("dev") == "pip install 'tomli>=2'"


def test_no_sentence_asks_a_registry_for_this_package():
    sources = [*(ROOT / "probe").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]
    assert len(sources) > 300
    for source in (*sources, ROOT / "README.md", ROOT / "docs" / "files.md"):
        text = source.read_text()
        assert "layerprobe[" not in text and " layerprobe)" not in text, source
