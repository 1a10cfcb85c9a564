"""Ends a command silently with status 130 on Ctrl-C before training; import it first."""

import os
import signal

# As an exception, Ctrl-C would be lost in a callback of JAX, which then continues, or show a
# traceback of imports. There is nothing to save yet; training installs handlers of its own.
signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
