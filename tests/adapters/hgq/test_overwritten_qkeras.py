"""The command in an environment of HGQ2's: a file of QKeras' ends in one sentence, since its
package has been overwritten."""

import sys

import pytest
from repository import EXAMPLES

from probe.cli import main
from probe.process.extras import install

QKERAS = EXAMPLES / "digits_qkeras.h5"


def test_a_file_of_qkeras_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["probe", str(QKERAS), "--all"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr() == (
        "",
        (
            "probe: this model needs QKeras, but the installed `qkeras` is the package of that "
            "name from hgq2, which overwrites QKeras: in an environment without hgq2, "
            f"{install('qkeras')}\n"
        ),
    )
