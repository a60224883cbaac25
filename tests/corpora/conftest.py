"""The corpora lie beside tests/, at the top of the repository."""

import sys

from repository import ROOT

sys.path.append(str(ROOT))
