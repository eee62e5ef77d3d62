"""The peer of bench/data-path.ts: multi-crop augmentation with PIL and torchvision, one process a core.

Reads one JSON line {"folder", "local", "workers", "threads", "images"} on stdin; for each further line "run"
prints {"seconds": ..., "images": ...}. The pictures are decoded anew for each run, as in training.
"""

import json
import os
import random
import sys
import time

import torch
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Blur:
    def __init__(self, p):
        self.p = p

    def __call__(self, image):
        if random.random() > self.p:
            return image
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


class Solarize:
    def __init__(self, p):
        self.p = p

    def __call__(self, image):
        return ImageOps.solarize(image) if random.random() < self.p else image


def policy(size, scale, blur, solarize):
    jitter = transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)
    return transforms.Compose([
        transforms.RandomResizedCrop(size, scale=scale, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([jitter], p=0.8),
        transforms.RandomGrayscale(0.2),
        Blur(blur),
        Solarize(solarize),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])


class Crops(Dataset):
    def __init__(self, paths, local):
        self.paths, self.local = paths, local
        self.first = policy(224, (0.4, 1.0), 1.0, 0.0)
        self.second = policy(224, (0.4, 1.0), 0.1, 0.2)
        self.small = policy(96, (0.05, 0.4), 0.5, 0.0)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        with open(self.paths[i], "rb") as file:
            image = Image.open(file).convert("RGB")
        return [self.first(image), self.second(image)] + [self.small(image) for _ in range(self.local)]


def main():
    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    folder = request["folder"]
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith((".jpg", ".jpeg", ".png")))
    paths = [os.path.join(folder, name) for name in names][: request["images"]]
    loader = DataLoader(
        Crops(paths, request["local"]), batch_size=4, shuffle=True, num_workers=request["workers"], persistent_workers=request["workers"] > 0
    )
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        start = time.perf_counter()
        count = sum(batch[0].shape[0] for batch in loader)
        print(json.dumps({"seconds": time.perf_counter() - start, "images": count}), flush=True)


if __name__ == "__main__":
    main()
