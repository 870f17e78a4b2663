"""`python -m console`: run one command; whatever happens, no traceback reaches the person."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from runtime.leaving import leave

INTERRUPTED = 130
ERROR = 1


def main(argv: Sequence[str]) -> int:
    """Run the command line *argv*; return its exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print("rad: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has had enough (`| head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: Sequence[str]) -> int:
    from console.arguments import parse
    from console.commands import perform
    from console.failure import Failure
    from control.steering import exit_code_of
    from trading.errors import RadError

    try:
        code = perform(parse(argv))
        sys.stdout.flush()
        return code
    except Failure as failure:
        return _refuse(argv, str(failure), failure.exit_code)
    except RadError as error:
        return _refuse(argv, str(error), exit_code_of(error))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place before the person
        return _refuse(argv, _unforeseen(error), ERROR)


def _refuse(argv: Sequence[str], message: str, exit_code: int) -> int:
    """Say on stderr why not; with --json, the one document on stdout says it too."""
    print(f"rad: {message}", file=sys.stderr)
    if "--json" in argv:
        print(json.dumps({"error": message, "exit_code": exit_code}, ensure_ascii=False), flush=True)
    return exit_code


def _unforeseen(error: Exception) -> str:
    """Return one line about *error*, having put its traceback where it can be looked up."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="rad-error-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    first = next(iter(str(error).splitlines()), "")
    return f"unexpected {type(error).__name__}: {first} (where it happened: {file.name})"


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
