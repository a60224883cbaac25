"""Work that is done in a child: what comes back, and what ends it."""

import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from probe.errors import BadInput, CannotOpen, ForwardFailed, NotTrusted
from probe.process import limited_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks with threads")

HERE = os.getpid()
ROOM = {"memory": 1 << 26, "seconds": 1}


def limited(work, **options):
    return limited_child.limited(work, "reading a file", **{**ROOM, **options})


def refused(work, error=CannotOpen, **options):
    with pytest.raises(error) as caught:
        limited(work, **options, **({"error": error} if "elsewhere" in options else {}))
    return str(caught.value)


def raises(error):
    def work():
        raise error

    return work


def test_what_the_child_gives_comes_back():
    assert limited(lambda: ["a", 1.5, None, {"b": [True]}]) == ["a", 1.5, None, {"b": [True]}]
    assert limited(lambda: "x" * 500_000) == "x" * 500_000  # more than a pipe holds
    assert limited(os.getppid) == os.getpid()


def test_what_is_done_meanwhile_is_done_here(monkeypatch):
    """And an error in it leaves no child behind."""
    places, children, started = [], [], limited_child._started

    def noted(answer):
        child, end = started(answer)
        children.append(child)
        return child, end

    assert limited(os.getppid, meanwhile=lambda: places.append(os.getpid())) == HERE
    assert places == [HERE]
    monkeypatch.setattr(limited_child, "_started", noted)
    with pytest.raises(ValueError, match="no"):
        limited(lambda: time.sleep(60), meanwhile=raises(ValueError("no")))
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)


def test_threads_have_a_child_each():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: limited(lambda: (at, os.getpid())), range(12)))
    assert [at for at, _ in found] == list(range(12))
    assert len({child for _, child in found} | {HERE}) == 13


@pytest.mark.parametrize("cls", [BadInput, CannotOpen, NotTrusted])
def test_an_error_of_ours_is_raised_here(cls):
    assert refused(raises(cls("it is wrong")), cls) == "it is wrong"


def test_other_errors_are_told():
    assert refused(raises(ValueError("no"))) == "reading a file fails (ValueError: no)"


def test_the_limits():
    def forever():
        while True:
            pass

    for work in (lambda: len(bytearray(1 << 30)), os.abort):
        assert refused(work) == "reading a file takes more than 64 MiB of memory"
    assert refused(forever) == "reading a file takes more than 1 s of processor time"
    crash = refused(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert crash == "reading a file crashes (SIGSEGV)"
    assert refused(lambda: os._exit(0)) == "reading a file ends without an answer"


def test_work_that_may_crash_is_never_done_here(monkeypatch):
    """Its abort may be a crash as well as want of memory, and another way does it elsewhere."""
    other = {"error": ForwardFailed, "elsewhere": lambda: "elsewhere"}
    words = refused(os.abort, **other)
    assert words == "reading a file crashes (SIGABRT), or takes more than 64 MiB of memory"
    words = refused(os.abort, **{**other, "memory": math.inf, "seconds": math.inf})
    assert words == "reading a file crashes (SIGABRT), or takes more than there is of memory"
    assert limited(lambda: "in the child", **other) == "in the child"
    monkeypatch.setattr(limited_child, "_FORKS", False)
    assert limited(os.abort, **other) == "elsewhere"


def test_the_child_reads_and_prints_nothing(capfd):
    def work():
        os.write(1, b"printed")
        os.write(2, b"printed")
        return len(os.read(0, 10))

    assert limited(work) == 0
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_ends_the_child(tmp_path):
    place = tmp_path / "child"

    def work():
        place.write_text(str(os.getpid()))
        os.kill(HERE, signal.SIGINT)
        signal.pause()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            limited(work, seconds=1000)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


def test_a_child_that_gets_nothing_done_is_not_waited_for(monkeypatch):
    """As one does that wants a lock which a thread had that is not in it. The end of a child costs
    time as well, more where this process is large: little of so many seconds."""
    monkeypatch.setattr(limited_child, "_WAITED", 0.0)

    def work():
        return "here" if os.getpid() == HERE else signal.pause()

    assert limited(work, seconds=1000) == "here"


def test_a_child_that_gets_little_of_the_processor_is_waited_for(monkeypatch):
    """Its processor time ends it, and no clock: it is asked for again and again."""
    monkeypatch.setattr(limited_child, "_WAITED", 0.2)
    monkeypatch.setattr(limited_child, "_BUSY", 0.001)

    def forever():
        while True:
            pass

    assert refused(forever) == "reading a file takes more than 1 s of processor time"


def test_without_standard_streams():
    code = "import os, probe.process.limited_child as it; os.closerange(0, 3); end = os._exit\n"
    code += "end(it.limited(lambda: 7, 'reading', memory=1 << 26, seconds=1))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 7


def test_without_forks_the_work_is_done_here(monkeypatch):
    def no_process():
        raise BlockingIOError("Resource temporarily unavailable")

    with monkeypatch.context() as changed:
        changed.setattr(os, "fork", no_process)
        assert limited(os.getpid) == os.getpid()
    monkeypatch.setattr(limited_child, "_FORKS", False)
    assert limited(os.getpid) == os.getpid()
