"""What the commands share: flags, console, progress, signals."""
