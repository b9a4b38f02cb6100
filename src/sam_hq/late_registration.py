"""Registration as soon as transformers is there, without importing it.

`import sam_hq` promises that the Auto classes know our models, whichever of the two is imported first, and
`import sam_hq.onnx_runtime` promises to import neither torch nor transformers. Where transformers is imported already,
the package registers at once. Where it is not, it waits: a finder on `sys.meta_path` sees transformers being imported,
lets that happen as usual, registers, and takes itself away.
"""

import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

_TRANSFORMERS = "transformers"


class RegistrationOnImport(MetaPathFinder):
    """Registers once transformers is imported and none of our own modules is half imported.

    Our modules are watched because it may be one of them that imports transformers: registering needs all of them, and
    one that is half imported cannot be used yet.
    """

    def __init__(self) -> None:
        self._running = 0
        self._lock = threading.RLock()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find transformers and our own modules as the other finders do, and watch them being executed.

        Args:
            name: Full name of the module.
            path: Where a package looks for its modules.
            target: The module that is reloaded, if any.
        """
        if name != _TRANSFORMERS and not name.startswith(f"{__package__}."):
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with self._lock:
                self._running += 1
            try:
                execute(module)
            finally:
                with self._lock:
                    self._running -= 1
            if not self._running and _TRANSFORMERS in sys.modules and self in sys.meta_path:
                sys.meta_path.remove(self)
                from .registration import register

                register()

        loader.exec_module = exec_module


def register_when_possible() -> None:
    """Register now if transformers is imported, else as soon as it is; never where it or torch is not installed."""
    if not (_can_be_imported("torch") and _can_be_imported(_TRANSFORMERS)):
        return
    if _TRANSFORMERS in sys.modules:
        from .registration import register

        register()
    elif not any(isinstance(finder, RegistrationOnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, RegistrationOnImport())


def _can_be_imported(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a finder that refuses it, or a stand-in for the module
        return False


__all__ = ["RegistrationOnImport", "register_when_possible"]
