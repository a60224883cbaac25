"""``python -m probe`` and the console script: an interrupt is one line from the first import on."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command."""
    try:
        from probe.cli import main as command  # noqa: PLC0415 - a second may pass until it is there

        command()
    except KeyboardInterrupt:
        os.write(2, b"probe: interrupted\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
