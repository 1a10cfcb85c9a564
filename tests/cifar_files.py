"""Small files and archives in the binary layout of CIFAR-10."""

import gzip
import io
import tarfile

import numpy as np

NAMES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
RECORD = 3073


def part(number):
    """Images and labels of one small file; each file has another number of rows."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (number + 2, 32, 32, 3), dtype=np.uint8)
    return images, rng.integers(0, 10, number + 2, dtype=np.uint8)


def content(number):
    return b"".join(
        bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in zip(*part(number), strict=True)
    )


def contents(**replaced):
    """File name -> bytes of a small set; a keyword replaces (None: drops) one file."""
    files = {name: content(number) for number, name in enumerate(NAMES)}
    files |= {f"{name}.bin": value for name, value in replaced.items()}
    return {name: value for name, value in files.items() if value is not None}


def write_folder(folder, **replaced):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in contents(**replaced).items():
        (folder / name).write_bytes(value)
    return folder


def header(name, size=0, kind=tarfile.REGTYPE, **fields):
    """Header of one member of an archive."""
    info = tarfile.TarInfo(name)
    for field, value in {"size": size, "type": kind, **fields}.items():
        setattr(info, field, value)
    return info


def tar_bytes(form=tarfile.GNU_FORMAT, prefix="", before=(), **replaced):
    """The small set as an archive, after other members given as (header, content)."""
    files = contents(**replaced).items()
    own = [(header(f"{prefix}{FOLDER}/{name}", len(value)), value) for name, value in files]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member, value in [*before, *own]:
            archive.addfile(member, io.BytesIO(value))
    return buffer.getvalue()


def write_archive(folder, *args, zipped=True, **kwargs):
    raw = tar_bytes(*args, **kwargs)
    path = folder / ARCHIVE
    path.write_bytes(gzip.compress(raw, 1) if zipped else raw)
    return path
