"""Downloads original files through the download manager of tensorflow-datasets."""

# This is the only module that knows tensorflow-datasets. Its manager downloads, caches and compares
# sizes and SHA-256 with its own table, all without TensorFlow. It is imported only when needed.

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ladder_jax.errors import DataError

PROBE_SECONDS = 10.0


def fetch(
    dataset: str,
    base_url: str,
    names: Sequence[str],
    manual_dir: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Returns local paths of files, from `manual_dir`, the cache or the network, in that order."""
    if manual_dir is not None:
        folder = Path(manual_dir).expanduser()
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"manual_dir={folder}: no {', '.join(missing)} there; put all files into it"
            )
    ways_out = (
        f"put {', '.join(names)} into a folder and pass it as --data_dir (or LADDER_DATA_DIR), or "
        "connect to the network so that they are downloaded; "
        "python experiments/digits.py needs neither"
    )
    try:
        import tensorflow_datasets as tfds

        with _quiet(tfds):
            manager = _manager(tfds, dataset, manual_dir)
            # One by one: for a list it uses threads, which after a failure of one file continue
            # with the others and keep the program from ending.
            paths = [manager.download(base_url + name) for name in names]
    except _Unreachable as error:
        raise DataError(f"{dataset}: {error} and no local files: {ways_out}") from error
    except ImportError as error:
        raise DataError(
            f"{dataset}: tensorflow-datasets cannot be imported ({_line(error)}): "
            f"pip install tensorflow-datasets importlib_resources, or {ways_out}"
        ) from error
    except Exception as error:  # whatever the packages below raise, the way out is the same
        if type(error).__name__ == "NonMatchingChecksumError":
            raise DataError(
                f"{dataset}: wrong checksum, replace it by the original file: {_line(error)}"
            ) from error
        raise DataError(
            f"{dataset}: download into {_download_dir()} failed "
            f"({type(error).__name__}: {_line(error)}): {ways_out}"
        ) from error
    return [Path(path) for path in paths]


class _Unreachable(Exception):
    """The server did not answer."""


def _manager(tfds: Any, dataset: str, manual_dir: str | os.PathLike[str] | None) -> Any:
    """Returns a download manager that gives up early if the server does not answer."""

    class Manager(tfds.download.DownloadManager):  # type: ignore[misc]
        _reached = False

        # Called only for files that are neither in manual_dir nor cached. The base class retries
        # without a timeout: 200 seconds if names do not resolve, far more behind a firewall.
        def _download(self, resource: Any) -> Any:
            if not self._reached:
                _check_reachable(resource.url)
                self._reached = True
            return super()._download(resource)

    return Manager(
        download_dir=_download_dir(),
        manual_dir=manual_dir,
        dataset_name=dataset,
        # Files of manual_dir are checked like downloaded ones.
        force_checksums_validation=True,
    )


def _download_dir() -> Path:
    """Returns the usual cache folder of tensorflow-datasets."""
    root = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(root).expanduser() / "downloads"


def _check_reachable(url: str) -> None:
    """Raises an error if the server does not answer in time."""
    # In a thread, because a timeout limits neither the look-up of a name nor the number of
    # addresses tried; with requests, because it uses the same proxy settings.
    import requests

    host = urlsplit(url).hostname
    answers: list[Exception | None] = []

    def probe() -> None:
        try:
            with requests.head(url, timeout=PROBE_SECONDS, allow_redirects=True) as response:
                response.raise_for_status()
            answers.append(None)
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if not answers:
        raise _Unreachable(f"no answer from {host} within {PROBE_SECONDS:g} seconds")
    if answers[0] is not None:
        raise _Unreachable(f"cannot reach {host} ({type(answers[0]).__name__})") from answers[0]


@contextlib.contextmanager
def _quiet(tfds: Any) -> Iterator[None]:
    """Turns off the progress bars of tensorflow-datasets."""
    # They appear even if every file is cached, and also if the output is not a terminal.
    from tensorflow_datasets.core.utils import tqdm_utils

    shown = getattr(tqdm_utils, "_active", True)
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(shown)


def _line(error: Exception, limit: int = 300) -> str:
    """Returns the text of an error as one line of limited length."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
