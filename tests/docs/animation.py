"""Put the pictures of adding a battery together to one that moves."""

from pathlib import Path
import sys
from typing import Final

from PIL import Image

MAX_SIZE: Final = 2_000_000
"""Bytes that the page of the repository may load for it."""


def animate(folder: Path, target: Path) -> None:
    """Write the pictures of a folder as one; their names hold the ms of each."""
    files = sorted(folder.glob("*.png"))
    first, *others = [Image.open(file).convert("RGB") for file in files]
    first.save(
        target,
        save_all=True,
        append_images=others,
        duration=[int(file.stem.partition("-")[2]) for file in files],
        loop=0,
        quality=85,
        method=6,
    )
    if target.stat().st_size > MAX_SIZE:
        raise ValueError(f"{target} has more than {MAX_SIZE} bytes")


if __name__ == "__main__":
    animate(Path(sys.argv[1]), Path(sys.argv[2]))
