"""The command `spantree`, and `python -m spantree_deploy`."""

from __future__ import annotations

import sys

from spantree_deploy.cli import run


def main() -> None:
    """Run the command line and end the process with its status."""
    sys.exit(run())


if __name__ == "__main__":
    main()
