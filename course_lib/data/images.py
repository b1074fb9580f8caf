"""MNIST and Fashion-MNIST: a bundled part of each, and how the whole is found.

The full sets are looked for in the folder ``$COURSE_DATA``, then in the cache of earlier
downloads, then downloaded.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

from course_lib.data.files import DataError, read_bundled_file, read_checked

__all__ = [
    "FASHION_MNIST",
    "MNIST",
    "TEST_FILES",
    "TRAIN_FILES",
    "Archive",
    "ImageSet",
    "cache_folder",
    "download",
    "fashion_mnist",
    "find_full",
    "load_images",
    "mnist",
    "parse_idx",
    "read_bundled",
]


@dataclass(frozen=True)
class ImageSet:
    """Images and labels, and a sentence that says which ones.

    Attributes
    ----------
    images : Tensor, shape (n, 1, 28, 28), float32 in [0, 1]
    labels : Tensor, shape (n,), int64, 0 to 9
    source : str
    """

    images: Tensor
    labels: Tensor
    source: str


@dataclass(frozen=True)
class Archive:
    """Where the four files of an image set come from, and the SHA-256 of each,
    uncompressed.
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]


TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

MNIST = Archive(
    name="mnist",
    title="MNIST",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)

FASHION_MNIST = Archive(
    name="fashion-mnist",
    title="Fashion-MNIST",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)


def mnist(train: bool, *, full: bool = False) -> ImageSet:
    """Handwritten digits: 10,000 training images (`full`: 60,000) or the 10,000 test
    images.

    Raises
    ------
    DataError
        If a file is damaged, or (`full`) cannot be found and downloaded.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner 1998.
    """
    return load_images(MNIST, train, full=full)


def fashion_mnist(train: bool, *, full: bool = False) -> ImageSet:
    """Small pictures of clothes, in the format of `mnist`; same arguments, same errors.

    References
    ----------
    Xiao, Rasul, Vollgraf 2017.
    """
    return load_images(FASHION_MNIST, train, full=full)


def load_images(archive: Archive, train: bool, *, full: bool = False) -> ImageSet:
    """One half of an image set, bundled or full."""
    files = TRAIN_FILES if train else TEST_FILES
    find = find_full if full else read_bundled
    contents, where = find(archive, files[0])
    pixels = parse_idx(contents, files[0])
    labels = parse_idx(find(archive, files[1])[0], files[1])
    half = "training" if train else "test"
    subset = "" if full or not train else "the first "
    return ImageSet(
        images=torch.from_numpy(pixels.astype(np.float32) / 255)[:, None],
        labels=torch.from_numpy(labels.astype(np.int64)),
        source=f"{archive.title}: {subset}{len(labels):,} {half} images, {where}",
    )


def find_full(archive: Archive, name: str) -> tuple[bytes, str]:
    """The checked contents of an original file and where they were found."""
    if os.environ.get("COURSE_DATA"):
        folder = Path(os.environ["COURSE_DATA"]).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"COURSE_DATA names {folder}, which is no folder; set it to the one "
                f"that holds {archive.name}/, or remove it to download"
            )
        for path in (
            folder / archive.name / name,
            folder / archive.name / f"{name}.gz",
        ):
            if path.exists():
                return read_checked(path, archive.sha256[name]), "from $COURSE_DATA"
    cached = cache_folder() / archive.name / f"{name}.gz"
    if cached.exists():
        try:
            return read_checked(cached, archive.sha256[name]), "from the download cache"
        except DataError as error:
            cached.unlink()
            raise DataError(
                f"{error} It has been removed from the cache; run this again to download it."
            ) from None
    return download(archive, name, cached), "downloaded"


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(pooch.os_cache("neural-ode-course"))


def download(archive: Archive, name: str, target: Path) -> bytes:
    """Fetch a file from the first mirror that has it right; a wrong one does not stay
    in the cache.
    """
    complaints = []
    for mirror in archive.mirrors:
        try:
            pooch.retrieve(
                f"{mirror}{name}.gz",
                known_hash=None,  # what counts is the SHA-256 of the contents, checked next
                fname=target.name,
                path=target.parent,
                progressbar=True,
            )
            return read_checked(target, archive.sha256[name])
        except Exception as error:
            target.unlink(missing_ok=True)
            complaints.append(f"  {mirror}: {error}")
    raise DataError(
        f"{archive.title}: {name}.gz could not be downloaded:\n"
        + "\n".join(complaints)
        + "\n"
        f"Put the file into $COURSE_DATA/{archive.name}/, or use full=False for the bundled images."
    )


def read_bundled(archive: Archive, name: str) -> tuple[bytes, str]:
    """The checked contents of an image file that travels with the package."""
    return read_bundled_file(f"{archive.name}-{name}.xz"), "bundled"


def parse_idx(contents: bytes, name: str) -> np.ndarray:
    """The array in an IDX file of unsigned bytes (the format is described on the MNIST
    page).
    """
    if len(contents) < 4 or contents[:3] != b"\x00\x00\x08":
        raise DataError(f"{name} is not an IDX file of unsigned bytes.")
    ndim = contents[3]
    if len(contents) < 4 + 4 * ndim:
        raise DataError(f"{name} is cut short within its header.")
    shape = np.frombuffer(contents, ">u4", ndim, offset=4).tolist()
    body = np.frombuffer(contents, np.uint8, offset=4 + 4 * ndim)
    if body.size != math.prod(shape):
        raise DataError(
            f"{name} announces shape {tuple(shape)} and holds {body.size} values."
        )
    return body.reshape(shape)
