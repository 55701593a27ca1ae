"""Contexts of the library in this process: what opens them, closes them at the end, and takes their log to
`logging`."""

from __future__ import annotations

import atexit
import os
import threading
import weakref

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_lock = threading.Lock()
_open: weakref.WeakSet[Context] = weakref.WeakSet()
_log_thread: threading.Thread | None = None
_default: Context | None = None
_process: int | None = None  # that opened the first context


def _write_log() -> None:
    import logging

    logger = logging.getLogger("timbre")
    levels = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
    while True:
        level, line, dropped = _core.log_next()
        try:
            if dropped:
                logger.warning("%d lines of the log were lost: they came faster than they were handled", dropped)
            logger.log(levels[level], "%s", line)
        except Exception:  # a handler's fault must not end the log
            fault = logging.LogRecord("timbre", logging.ERROR, __file__, 0, "a handler of the log failed", (), None)
            last: Any = logging.lastResort
            last.handle(fault)


def check_process() -> None:
    """Raises ForkError in a fork of a process that used timbre."""
    if _process is not None and _process != os.getpid():
        from ._errors import ForkError

        raise ForkError(
            "timbre was used in this process's parent, and its threads do not live on after a fork: start "
            'workers with multiprocessing\'s "spawn" or "forkserver", or use timbre in the children only'
        )


def packaged_denoiser() -> str | None:
    """The denoiser's weights inside the package, where a wheel brought them."""
    path = os.path.join(os.path.dirname(__file__), "share", "timbre", "DeepFilterNet3_onnx.tar.gz")
    return path if os.path.exists(path) else None


class Context:
    """An open `tmb_context`. Closed at the latest when the process ends."""

    __slots__ = ("core", "__weakref__")

    def __init__(self, **options: Any) -> None:
        global _log_thread, _process
        check_process()
        import logging  # here: alone it takes longer than all of this package

        level = logging.getLogger("timbre").getEffectiveLevel()
        options["log_level"] = 3 if level <= logging.DEBUG else 2 if level <= logging.INFO else 1
        if options.get("denoiser") is None and not os.environ.get("TIMBRE_DENOISER"):
            options["denoiser"] = packaged_denoiser()
        self.core = _core.open(options)
        with _lock:
            _process = os.getpid()
            _open.add(self)
            if _log_thread is None:
                _log_thread = threading.Thread(target=_write_log, name="timbre-log", daemon=True)
                _log_thread.start()

    def close(self) -> None:
        """Cancels what runs, waits for it, and hands on what was logged."""
        check_process()
        _core.close(self.core)
        if threading.current_thread() is not _log_thread:
            _core.log_flush()


def default() -> Context:
    """The context of the functions that need none of their own."""
    global _default
    check_process()
    if _default is None:
        context = Context(engine="preview")
        with _lock:
            if _default is None:
                _default = context
    return _default


def _close_all() -> None:
    if _process == os.getpid():
        for context in list(_open):
            if context is not _default:  # its streams may be open, and it has nothing that must be ended
                _core.close(context.core)
        _core.log_flush()


atexit.register(_close_all)
