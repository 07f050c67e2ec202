"""The process around the command line: how it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spantree_deploy.__main__ import missing

INTERRUPTED = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "spantree_deploy.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from spantree_deploy.__main__ import main
main()
"""


def test_an_interrupt_while_the_command_line_is_imported_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["up"],
            "spantree: spantree up needs uvicorn, which is not installed here: install spantree with its extra, "
            'pip install "spantree[server]" (a checkout: pip install ".[server]")\n',
        ),
        (
            ["demo"],
            "spantree: spantree demo needs uvicorn, which is not installed here: install spantree with its extra, "
            'pip install "spantree[server,demo]" (a checkout: pip install ".[server,demo]")\n',
        ),
    ],
)
def test_what_is_missing_is_named_with_the_extras_that_have_it(command: list[str], said: str) -> None:
    assert missing(command, "uvicorn") == said
