"""Ctrl-C before training ends a command at once, silently, with status 130. Import it first.

As an exception it would be lost in a callback of JAX, which goes on then, or show a traceback of
imports. There is nothing to save yet; training has handlers of its own.
"""

import os
import signal

signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
