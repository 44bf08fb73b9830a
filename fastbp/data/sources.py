"""The published datasets: where they are served, what their files weigh, and what their classes are called.

Sizes and SHA-256 sums were taken from the published files and are pinned: a mirror that sends anything else
is not used. Nothing here imports NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["GENERATED", "NAMES", "PUBLISHED", "ROLES", "PinnedFile", "Published"]

ROLES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
GENERATED = "digits"


class PinnedFile(NamedTuple):
    """One published file: its name, its size in bytes and its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """A dataset of four IDX files on the web, in the order of `ROLES`."""

    name: str
    title: str
    licence: str
    mirrors: tuple[str, ...]
    files: tuple[PinnedFile, ...]
    class_names: tuple[str, ...]
    torchvision_folder: str


def _files(*pins: tuple[int, str]) -> tuple[PinnedFile, ...]:
    names = (f"{role}-idx{3 if role.endswith('images') else 1}-ubyte.gz" for role in ROLES)
    return tuple(PinnedFile(name, size, digest) for name, (size, digest) in zip(names, pins, strict=True))


PUBLISHED = {
    item.name: item
    for item in (
        Published(
            name="mnist",
            title="MNIST: handwritten digits (LeCun, Cortes, Burges 1998)",
            licence="no licence stated",
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            files=_files(
                (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
                (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
                (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
                (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
            ),
            class_names=tuple("0123456789"),
            torchvision_folder="MNIST",
        ),
        Published(
            name="fashion",
            title="Fashion-MNIST: pictures of clothes (Xiao, Rasul, Vollgraf 2017)",
            licence="MIT",
            mirrors=("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",),
            files=_files(
                (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
                (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
                (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
                (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
            ),
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            torchvision_folder="FashionMNIST",
        ),
        Published(
            name="kmnist",
            title="Kuzushiji-MNIST: cursive Japanese characters (Clanuwat et al. 2018)",
            licence="CC BY-SA 4.0",
            mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            files=_files(
                (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
                (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
                (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
                (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
            ),
            class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            torchvision_folder="KMNIST",
        ),
    )
}

NAMES = (GENERATED, *PUBLISHED)
