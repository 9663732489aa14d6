"""Telling a person something. Telling is best effort: no closed pipe, dead terminal or narrow encoding ends a run."""

import contextlib
import errno
import os
import sys

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # a closed pipe, a dead terminal, a closed file


def say(text: str = "", *, error: bool = False) -> None:
    """Prints a line to standard output, or to standard error. A character that the terminal's encoding lacks is escaped;
    what cannot be printed is dropped, and where nobody can read any more, so is all that follows it on that stream.
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
    except (OSError, ValueError) as error:  # ValueError: the stream is closed
        if not isinstance(error, OSError) or error.errno in GONE:  # not where the disk of a log is full for a while
            drop(stream)


def drop(stream: object) -> None:
    """Sends what is still written to a stream to nowhere, so that it fails neither later nor at the process's end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]  # a stream that has none is left as it is
        os.close(nowhere)
