"""Telling a person something. Telling is best effort: no closed pipe, dead terminal or narrow encoding ends a run."""

import contextlib
import os
import sys


def say(text: str = "", *, error: bool = False) -> None:
    """Prints a line to standard output, or to standard error. A character that the terminal's encoding lacks is escaped;
    what cannot be printed is dropped, and so is all that follows it on that stream.
    """
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # a process without a terminal
        return
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError):  # ValueError: the stream is closed
        drop(stream)


def drop(stream: object) -> None:
    """Sends what is still written to a stream to nowhere, so that it fails neither later nor at the process's end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]  # a stream that has none is left as it is
        os.close(nowhere)
