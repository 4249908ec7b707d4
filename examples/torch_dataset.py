"""Read `.glic` files as a PyTorch dataset, decoded by the workers of a DataLoader.

python examples/torch_dataset.py ENGINE FOLDER
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from glic_deploy import Codec


class GlicFolder(Dataset[torch.Tensor]):
    """The images of a folder's `.glic` files, float32 (3, height, width) in 0 to 1."""

    def __init__(self, engine: str, folder: str) -> None:
        self.engine, self.files = engine, sorted(Path(folder).glob("*.glic"))
        self.codec: Codec | None = None  # a backend does not survive a fork: each worker opens a codec of its own

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.codec is None:
            self.codec = Codec(self.engine, threads=1)
        image = torch.from_numpy(self.codec.decode(self.files[index].read_bytes()))  # uint8 (height, width, 3)
        return image.permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    for batch in DataLoader(GlicFolder(*sys.argv[1:]), batch_size=2, num_workers=1):
        print(tuple(batch.shape), f"mean {batch.mean():.3f}")
