"""The paper's way: Pillow, 224 px, ViT-B/16 in batches of 32, PyTorch."""

import sys

import numpy as np
import torch
from PIL import Image
from timing import files_of, report
from transformers import ViTConfig, ViTForImageClassification

BATCH, SIDE = 32, 224


def main() -> None:
    folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    network = ViTForImageClassification(ViTConfig(num_labels=3)).eval()

    def classify(files: list[str]) -> None:
        for start in range(0, len(files), BATCH):
            batch = []
            for path in files[start : start + BATCH]:
                with Image.open(path) as image:
                    pixels = image.convert("RGB").resize((SIDE, SIDE))
                batch.append(np.asarray(pixels, np.float32).transpose(2, 0, 1))
            tensor = torch.from_numpy((np.stack(batch) / 255 - 0.5) / 0.5)
            with torch.no_grad():
                network(tensor).logits.softmax(1)

    report(
        classify, files_of(folder), f"ViT-B/16, {SIDE} px, batch {BATCH}, torch {torch.__version__}"
    )


main()
