"""Modes of torch that only look on: the CPU engine, which gives way to modes, goes on below these."""

from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from sam_hq.model import fast_path


class Watcher(TorchDispatchMode):
    """A mode that changes nothing, and counts what the engine does rather than what the plain model would do."""


def _in_mode_that_may_change_something() -> bool:
    return any(not isinstance(mode, Watcher) for mode in _get_current_dispatch_mode_stack())


fast_path.is_in_torch_dispatch_mode = _in_mode_that_may_change_something  # type: ignore[assignment]
