"""The process around the command line: how it ends."""

from __future__ import annotations

import subprocess
import sys

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
