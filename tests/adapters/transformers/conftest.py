"""Directories that save_pretrained wrote, of one tiny model an architecture."""

import json
import shutil

import pytest
from transformers_cases import CASES, build


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The directory of the architecture, written once."""
    made = {}

    def directory(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            build(CASES[name]).save_pretrained(made[name])
        return made[name]

    return directory


@pytest.fixture
def copied(saved, tmp_path):
    """The same in a folder that may be changed, with ``config`` over what config.json says."""

    def directory(name="Llama", **config):
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        shutil.copytree(saved(name), folder)
        if config:
            change(folder, **config)
        return folder

    return directory


def change(folder, **config):
    place = folder / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text(encoding="utf-8")), **config}))
