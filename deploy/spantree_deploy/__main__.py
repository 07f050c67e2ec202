"""The command `spantree`, and `python -m spantree_deploy`."""

from __future__ import annotations

import sys

from spantree_deploy.cli import run


def main() -> None:
    """Run the command line and end the process with its status."""
    try:
        status = run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("spantree"):
            raise
        sys.stderr.write(
            f"spantree: {' '.join(['spantree', *sys.argv[1:2]])} needs {package}, which is not installed here: "
            'install spantree with its extra, pip install "spantree[server]" (a checkout: pip install ".[server]")\n'
        )
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
