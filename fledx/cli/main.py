"""The door: run the command, and turn what went wrong into a line and an exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from fledx.cli.terminal import Terminal
from fledx.cli.words import ROLES
from fledx.errors import Denied, FledxError, InvalidSpec

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None, terminal: Terminal | None = None) -> int:
    """Run one command; the exit code. A link called fledx-cp or fledx-agent is that role."""
    code = _ended(argv, terminal or _own_terminal())
    return code if argv is not None or terminal is not None else _left(code)


def _ended(argv: Sequence[str] | None, terminal: Terminal) -> int:
    words = list(argv) if argv is not None else _own_words(sys.argv)
    try:
        return _run(words, terminal)
    except KeyboardInterrupt:
        terminal.say("")
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output(terminal)
        return DONE
    except ImportError:  # the archive's own entry says which part of Python is missing
        raise
    except Exception as problem:
        return _failed(problem, terminal)


def _left(code: int) -> int:
    """
    The exit code of a process of ours, unless a thread still waits for a control plane: then the process ends here.

    The interpreter aborts when such a thread writes just as it takes the streams down.
    """
    threading = sys.modules.get("threading")
    if threading is None or all(thread is threading.current_thread() for thread in threading.enumerate()):
        return code
    import atexit
    import os

    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _failed(problem: BaseException, terminal: Terminal) -> int:
    """Say what went wrong; a group of failures of a role's tasks is told by its first."""
    while inner := getattr(problem, "exceptions", None):
        problem = inner[0]
    if isinstance(problem, FledxError):
        terminal.complain(told(problem))
        return USAGE if isinstance(problem, InvalidSpec) else FAILED
    if terminal.environ.get("FLEDX_DEBUG"):
        raise problem
    terminal.complain(f"this should not happen: {type(problem).__name__}: {problem} (FLEDX_DEBUG=1 shows where)")
    return FAILED


def _run(words: Sequence[str], terminal: Terminal) -> int:
    """Help and version need no parser: argparse alone takes longer than either."""
    if "_ARGCOMPLETE" in terminal.environ:
        from fledx.cli.command import complete

        complete(terminal)
    if all(word.startswith("-") for word in words):
        from fledx.cli.help import without_command

        return without_command(words, terminal)
    from fledx.cli.command import run

    return run(words, terminal)


def _own_words(argv: Sequence[str]) -> list[str]:
    role = ROLES.get(argv[0].rpartition("/")[2])
    return [role, *argv[1:]] if role else list(argv[1:])


def _own_terminal() -> Terminal:
    """The process's own streams; a letter that they cannot carry is written out, never an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return Terminal()


def told(fault: FledxError) -> str:
    """An error in one line; several faults of one request in one line each."""
    from fledx.cli.views.text import harmless

    request = f" [request {harmless(fault.request_id)}]" if fault.request_id else ""
    hint = f" ({harmless(fault.hint)})" if fault.hint else ""
    problems = getattr(fault, "problems", ())
    if len(problems) > 1:
        lines = [harmless(f"{path}: {text}" if path else text) for path, text in problems]
        return "\n  ".join([f"{len(lines)} faults{hint}{request}:", *lines])
    text = harmless(fault.text) or fault.code
    if isinstance(fault, Denied) and not text.startswith("denied"):
        text = f"denied: {text}"
    return f"{text}{hint}{request}"


def _give_up_output(terminal: Terminal) -> None:
    """The reader has gone: what Python still holds for it must not fail once more at the end."""
    import os

    with contextlib.suppress(OSError, ValueError):  # not a stream of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), terminal.out.fileno())
