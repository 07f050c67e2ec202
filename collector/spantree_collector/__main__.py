"""`python -m spantree_collector`: one collector, set up by the environment. `spantree collector` has flags as well."""

from __future__ import annotations

import logging
import os
import sys

from spantree_collector.app import LEFT, Collector
from spantree_collector.config import CollectorConfig
from spantree_exporter.errors import ConfigError, SpantreeError


def main() -> int:
    """Run until SIGTERM or SIGINT.

    0 after an orderly stop, LEFT when the spool then holds something, 2 for wrong settings, 1 when the spool failed.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        collector = Collector(CollectorConfig.from_env(os.environ))
        collector.run()
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"spantree collector: {fault}\n")
        return 2
    except SpantreeError as error:
        sys.stderr.write(f"spantree collector: {error}\n")
        return 1
    return LEFT if collector.left_bodies else 0


if __name__ == "__main__":
    sys.exit(main())
