"""What ends a command early. It is imported before all else, and imports nothing that takes long."""

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class XMCError(Exception):
    """A mistake in the user's input, told in one message: what was given, what was expected, the way out."""


def said(error: object) -> str:
    """What a library says went wrong, in one line."""
    return " ".join(str(error).split())
