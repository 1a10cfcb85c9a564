"""Ends a command silently with status 130 on Ctrl-C before training; import it first."""

import os
import signal

# As an exception, Ctrl-C would be lost in a callback of JAX, which then continues, or show a
# traceback of imports. There is nothing to save yet. During training SIGINT and SIGTERM are handled
# by ``console._StopOnSignal``: the run is saved and ends after the current steps.
signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
