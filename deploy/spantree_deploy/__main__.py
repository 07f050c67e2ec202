"""The command `spantree`, and `python -m spantree_deploy`."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and end the process with its status."""
    _stand_in_for_what_is_closed()
    try:
        # Here: Ctrl-C while it is being imported, a good part of a second, is no traceback either.
        from spantree_deploy.cli import run

        status = run()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("spantree"):
            raise
        sys.stderr.write(missing(sys.argv[1:2], package))
        status = 1
    sys.exit(status)


def missing(command: list[str], package: str) -> str:
    """What to do where `command` (its name alone, if it has one) needs a `package` that is not there."""
    extras = "[server,demo]" if command == ["demo"] else "[server]"
    return (
        f"spantree: {' '.join(['spantree', *command])} needs {package}, which is not installed here: install spantree "
        f'with its extra, pip install "spantree{extras}" (a checkout: pip install ".{extras}")\n'
    )


def _stand_in_for_what_is_closed() -> None:
    """Let a command whose input or output was closed (`>&-`) go on as with /dev/null.

    Python has None for such a file; and what is opened next would get its number, so that what is said goes there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # as long as we live


if __name__ == "__main__":
    main()
