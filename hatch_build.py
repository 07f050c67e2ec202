"""Puts the compiled hot path into the wheel where a C compiler is; without one the wheel is of Python only."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "exporter" / "native"))
from build import PACKAGE, NotBuilt, build, module_in


class HotPathHook(BuildHookInterface[Any]):
    """An editable install is served from the checkout, so there the module is built beside its package."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the module and, for a wheel, add it."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            if version == "editable":
                build(PACKAGE, os.environ)
                return
            if os.environ.get("SPANTREE_PURE_WHEEL"):  # `make wheel`: for any Python on any machine
                return
            self._folder = tempfile.TemporaryDirectory(prefix="spantree-native-")
            made = build(Path(self._folder.name), os.environ)
        except NotBuilt as error:
            self.app.display_warning(f"hot path: Python, not compiled ({error})")
            return
        build_data["force_include"][str(made)] = f"{PACKAGE.name}/{module_in(PACKAGE).name}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clean up."""
        if self._folder is not None:
            self._folder.cleanup()
