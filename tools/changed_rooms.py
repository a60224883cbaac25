"""Where the tests of a change lie: ``python tools/changed_rooms.py`` prints the folders and files.

A change is what differs, committed or not, from the commit where the branch left origin/main; on
main itself, and in a clone without it, from the commit before. tests/ mirrors probe/ and adapters/.
"""

import subprocess
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
MIXED = (".", "adapters")
"""Folders of tests/ whose own files test different things, and whose folders are rooms."""
_PAGES = ("", "docs", "examples", "tools")
"""Folders that the tests of documentation/ read."""
APART = ("browser", "adapters/hgq")
"""Rooms that need an environment of their own."""


def git(*arguments: str) -> str | None:
    """What git says of this checkout; None where it fails, or where there is no git."""
    try:
        run = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    except OSError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def base() -> str | None:
    """The commit that a change starts from; None without a history."""
    if git("rev-parse", "--show-prefix") != "":
        return None
    forked = git("merge-base", "HEAD", "origin/main")
    if forked and forked != git("rev-parse", "HEAD"):
        return forked
    return git("rev-parse", "--verify", "--quiet", "HEAD~1")


def changed() -> list[str] | None:
    """The paths of the files that a change touches; None where nothing tells what it starts
    from."""
    start = base()
    if start is None:
        return None
    differing = git("diff", "--name-only", "-z", start) or ""
    new = git("ls-files", "--others", "--exclude-standard", "-z") or ""
    return sorted({path for path in (*differing.split("\0"), *new.split("\0")) if path})


def room(path: str) -> str | None:
    """The folder in tests/ that mirrors a file's; None for a file that no folder mirrors."""
    top, *inner = PurePosixPath(path).parent.parts or ("",)
    mirrored = {"probe": inner, "tests": inner, "adapters": ["adapters", *inner]}
    mirrored |= {name: ["documentation"] for name in _PAGES} | {"corpora": ["corpora"]}
    if top not in mirrored:
        return None
    folder = PurePosixPath(*mirrored[top])
    while not (ROOT / "tests" / folder).is_dir():
        folder = folder.parent
    return str(folder)


def tests_of(path: str) -> list[str]:
    """What pytest is given for a file: itself where it holds tests, else the folder of its room; of
    a mixed folder the file that mirrors it, or all."""
    found, file = room(path), ROOT / path
    if found is None or found in APART:
        return []
    folder = ROOT / "tests" / found
    mirroring = folder / f"test_{file.name}"
    if file.is_relative_to(folder) and file.match("test_*.py"):
        tests = [file] if file.is_file() else []
    elif found in MIXED:
        tests = [mirroring] if mirroring.is_file() else sorted(folder.glob("test_*.py"))
    else:
        tests = [folder] if any(folder.rglob("test_*.py")) else []
    return [each.relative_to(ROOT).as_posix() for each in tests]


def tests_of_change() -> list[str] | None:
    """The folders and files with the tests of a change, none beneath another; None where nothing
    tells what it is."""
    paths = changed()
    if paths is None:
        return None
    tests = {each for path in paths for each in tests_of(path)}
    return sorted(each for each in tests if tests.isdisjoint(map(str, PurePosixPath(each).parents)))


if __name__ == "__main__":
    print(*tests_of_change() or [], sep="\n")
