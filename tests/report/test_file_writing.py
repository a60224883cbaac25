"""A file of the user's is written whole or not at all, and nothing else is touched."""

import os
import stat

import numpy as np
import pytest
import torch

import probe
from probe.errors import BadInput
from probe.files.atomic_write import write

X = np.ones((2, 3), np.float32)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2)).eval()


@pytest.fixture(params=["out.npz", "out.h", "out.txt"])
def save(request, net):
    """Saves a report of a kind of file that --save writes; the name of the file, and how."""
    return request.param, probe.check(net, "0", X).save


def whole(path):
    return path.read_bytes()[:2] in (b"PK", b"/*", b"# ")


def test_permissions_and_neighbours_stay(tmp_path, save):
    name, write_it = save
    target, mine = tmp_path / name, tmp_path / f"{name}.part"
    mine.write_text("mine")
    write_it(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~_umask()
    target.chmod(0o640)
    write_it(target)
    assert whole(target) and stat.S_IMODE(target.stat().st_mode) == 0o640
    assert mine.read_text(encoding="utf-8") == "mine" and names(tmp_path) == sorted(
        [name, mine.name]
    )


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def _umask():
    kept = os.umask(0)
    os.umask(kept)
    return kept


def test_a_link_is_followed_and_stays_a_link(tmp_path, save):
    name, write_it = save
    (tmp_path / "there").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "there" / name)
    for _ in range(2):
        write_it(tmp_path / name)
        assert (tmp_path / name).is_symlink() and whole(tmp_path / "there" / name)
        assert names(tmp_path / "there") == [name]


def test_what_is_no_regular_file_is_refused(tmp_path, save):
    name, write_it = save
    os.mkfifo(tmp_path / name)
    ring, full, folder = (tmp_path / f"{kind}-{name}" for kind in ("ring", "full", "folder"))
    ring.symlink_to(ring)
    full.symlink_to("/dev/full")
    folder.mkdir()
    for path, words in (
        (tmp_path / name, "a pipe"),
        (f"/dev/null/{name}", "Not a directory"),
        (tmp_path / "nowhere" / name, "does not exist: mkdir -p"),
        (tmp_path / f"nul\0{name}", "not a valid file name"),
        (full, "a device"),
        (folder, "a folder"),
        (ring, "symbolic links"),
        (tmp_path / "report.other", "none of these suffixes"),
        (tmp_path / ("x" * 300 + name), "too long"),
    ):
        with pytest.raises(BadInput, match=words):
            write_it(path)
    assert names(tmp_path) == sorted([ring.name, full.name, folder.name, name]) and stat.S_ISFIFO(
        (tmp_path / name).stat().st_mode
    )


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device"), ValueError]
)
def test_whatever_ends_the_writing_nothing_is_left(tmp_path, error):
    (tmp_path / "out.json").write_text("before")

    def half(file):
        file.write(b"half")
        raise error

    with pytest.raises(BadInput if isinstance(error, OSError) else error):
        write(tmp_path / "out.json", half)
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == "before" and names(tmp_path) == [
        "out.json"
    ]


def test_the_model_is_not_written_over(tmp_path, net):
    torch.save(net.state_dict(), tmp_path / "net.npz")
    before = (tmp_path / "net.npz").read_bytes()
    (tmp_path / "link.npz").symlink_to(tmp_path / "net.npz")
    os.link(tmp_path / "net.npz", tmp_path / "hard.npz")
    report = probe.check(probe.open_model(tmp_path / "net.npz", factory=lambda: net), "0", X)
    for name in ("net.npz", "link.npz", "hard.npz"):
        with pytest.raises(BadInput, match="being read"):
            report.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
