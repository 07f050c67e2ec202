"""How the program of this process ended: its exit code or its exception, which Python tells to nobody at exit.

    python script.py    taken over by way of sys.path_hooks: Python asks them whether a script is a folder or an
                        archive with a __main__, and runs what they find through `runpy`
    python -m module    goes through `runpy` anyway
    python -c text      neither, nor is what comes from stdin: `sys.exit`, `exit` and `sys.excepthook` tell most of it,
                        and so they do of a script or module that never begins: it is not there, or cannot be compiled

The program cannot tell the difference: __main__, __file__, __spec__, sys.argv and sys.path are what they would be, and
the traceback of an exception begins in the program.
"""

from __future__ import annotations

import _sitebuiltins
import errno
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any, Final

_OPTIONS_WITH_VALUE: Final = ("-W", "-X", "--check-hash-based-pycs")


class Outcome:
    """What is known of the program's end; nothing as long as it runs."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    @property
    def cause(self) -> BaseException | None:
        """The exception that ended it; of an exit, the one that was being handled where it was asked for.

        So scripts end that print their error and `sys.exit(1)`, and so do argparse, Django's commands, click and Typer.
        None for an exit that nothing led to.
        """
        error = self.error
        while error is not None and (isinstance(error, SystemExit) or _only_exits(error)):
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return error

    @property
    def exit_code(self) -> int:
        """The status that the interpreter ends with for `error`."""
        match self.error:
            case None:
                return 0
            case SystemExit(code=None):
                return 0
            case SystemExit(code=int() as code):
                return code & 0xFF
            case KeyboardInterrupt():
                return 130
            case _:
                return 1


def _only_exits(error: BaseException) -> bool:
    # What click and Typer make of an exit, and of Ctrl-C: it says nothing, what is behind it does.
    kind = type(error)
    return kind.__name__ in ("Exit", "Abort") and kind.__module__.partition(".")[0] in ("click", "typer")


def program_of(arguments: Sequence[str]) -> tuple[str, str]:
    """(how, what) of a command line, interpreter first: ("script", path), ("-m", module), ("-c", text), ("", "")."""
    words = iter(arguments[1:])
    for word in words:
        if word in ("-m", "-c"):
            return word, next(words, "")
        if word in _OPTIONS_WITH_VALUE:
            next(words, None)
        elif word == "-" or not word:
            return "", ""
        elif not word.startswith("-"):
            return "script", word
        elif not word.startswith("--") and word[-1:] in ("m", "c") and word[1:2] not in ("W", "X"):
            return f"-{word[-1]}", next(words, "")  # -Im, -uc
    return "", ""


def watch(arguments: Sequence[str], outcome: Outcome) -> None:
    """Have `outcome` say how the program of `arguments` ended, before anything that `atexit` calls."""
    how, program = program_of(arguments)
    if how in ("", "-c"):
        _watch_text(outcome, is_prompt=not how and _is_prompt())
        return
    _watch_runpy(outcome, _watch_text(outcome))
    if how == "script" and not os.path.exists(program):
        # Python says so and ends without a call of anything.
        outcome.error = SystemExit(2)
        outcome.error.__context__ = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    elif how == "script" and os.path.isfile(program) and not program.endswith((".pyc", ".pyz", ".zip")):
        sys.path_hooks.insert(0, _Hook(os.path.abspath(program)))


def _is_prompt() -> bool:
    # An exception there is an answer, and no end.
    if sys.flags.interactive:
        return True
    try:
        return os.isatty(0)
    except OSError:
        return False


def _watch_text(outcome: Outcome, *, is_prompt: bool = False) -> Callable[[], None]:
    """What asks for an exit, and what an exception ends in, tell `outcome`, until what is returned is called."""
    exit_, excepthook, quit_ = sys.exit, sys.excepthook, _sitebuiltins.Quitter.__call__

    def remember_exit(status: Any) -> None:
        outcome.error = SystemExit(status)
        outcome.error.__context__ = sys.exc_info()[1]

    def exit_and_remember(status: Any = None, /) -> Any:
        remember_exit(status)
        exit_(status)

    def quit_and_remember(self: Any, code: Any = None) -> Any:
        remember_exit(code)
        quit_(self, code)

    def remember(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        outcome.error = error
        shows = _without_our_frames if excepthook is sys.__excepthook__ else excepthook
        shows(kind, error, traceback)

    def end() -> None:
        outcome.error = None
        _sitebuiltins.Quitter.__call__ = quit_  # type: ignore[method-assign]
        if sys.exit is exit_and_remember:
            sys.exit = exit_
        if sys.excepthook is remember:
            sys.excepthook = excepthook

    sys.exit = exit_and_remember
    _sitebuiltins.Quitter.__call__ = quit_and_remember  # type: ignore[method-assign]
    if not is_prompt:
        sys.excepthook = remember
    return end


def _watch_runpy(outcome: Outcome, begins: Callable[[], None]) -> None:
    run_code = runpy._run_code  # type: ignore[attr-defined]

    def run_main(code: CodeType, run_globals: dict[str, Any], *more: Any, **named: Any) -> Any:
        if run_globals is not sys.modules["__main__"].__dict__:
            return run_code(code, run_globals, *more, **named)
        runpy._run_code = run_code  # type: ignore[attr-defined]
        begins()
        spec = more[2] if len(more) > 2 else named.get("mod_spec")
        try:
            if spec is not None and isinstance(spec.loader, _ScriptLoader):
                path = os.path.abspath(spec.origin)
                loader = SourceFileLoader("__main__", path)
                run_globals.update(__file__=path, __loader__=loader, __spec__=None, __package__=None, __cached__=None)
                exec(code, run_globals)  # noqa: S102  the program itself
                return run_globals
            return run_code(code, run_globals, *more, **named)
        except BaseException as error:
            outcome.error = error
            if sys.excepthook is sys.__excepthook__:
                sys.excepthook = _without_our_frames
            raise

    runpy._run_code = run_main  # type: ignore[attr-defined]


def _without_our_frames(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    after = at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == __file__:
            after = at.tb_next
        at = at.tb_next
    # None is left of a script that cannot be compiled: Python shows no frame of it either.
    sys.__excepthook__(kind, error.with_traceback(after), after)


class _Hook:
    """An entry of sys.path_hooks that answers for the one script."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, path: str) -> _ScriptLoader:
        if os.path.abspath(path) != self._path:
            raise ImportError
        # It asks once, and puts the answer into this cache; nobody else is to find a script there.
        sys.path_hooks.remove(self)
        return _ScriptLoader(self._path)


class _ScriptLoader:
    """Finder and loader of __main__ in the script."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(self, name: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """__main__ alone."""
        if name != "__main__":
            return None
        return ModuleSpec(name, self, origin=self._path)  # type: ignore[arg-type]

    def get_code(self, name: str) -> CodeType:
        """The script, and sys.path as it would be for it."""
        sys.path_importer_cache.pop(sys.path[0], None)
        if getattr(sys.flags, "safe_path", False) or sys.flags.isolated:
            del sys.path[0]
        else:
            sys.path[0] = os.path.dirname(os.path.realpath(self._path))
        with open(self._path, "rb") as file:
            return compile(file.read(), self._path, "exec", dont_inherit=True)
