"""Programs in C, compiled without a warning and run."""

import re
import shutil
import subprocess

import pytest

__all__ = ["is_exact", "ran"]

FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


def ran(text, folder):
    """The exit status of a program, and what it prints."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.fail("no C compiler: install one, this test compiles a layer")
    source, made = folder / "layer.c", folder / "layer"
    source.write_text(text)
    command = [compiler, *FLAGS, "-o", made, source]
    compiled = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert compiled.returncode == 0, compiled.stderr
    done = subprocess.run([made], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def is_exact(text, folder):
    """Whether it says of every output that no element differs, and exits with 0."""
    status, told = ran(text, folder)
    return status == 0 and re.findall(r"(\d+) of", told) == ["0"] * told.count("\n")
