"""Who does something, as it is kept with what is done."""

import getpass
import socket

__all__ = ["who_am_i"]


def who_am_i() -> str:
    """Name who does it, as the machine knows them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = "?"
    return f"{user}@{socket.gethostname()}"
