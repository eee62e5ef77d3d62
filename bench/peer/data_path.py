"""The peer of bench/data-path.ts: multi-crop augmentation with PIL and torchvision, one process a core.

Reads one JSON line {"folder", "local", "batch", "workers"} on stdin. For each further line "run" it goes through all
pictures once and prints {"seconds", "images", "memory", "peakRss"}; for "stages" it does the same work in this process
and prints the milliseconds a picture of each stage. The pictures are decoded anew for each run, as in training.
"""

import io
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


EXTENSIONS = (".jpg", ".jpeg", ".png")


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


def stages(data, images):
    """Milliseconds a picture, stage by stage."""
    spent = dict.fromkeys(("read", "decode", "crop", "colours", "tensor"), 0.0)

    def timed(stage, work):
        start = time.perf_counter()
        result = work()
        spent[stage] += (time.perf_counter() - start) * 1000 / images
        return result

    for path in data.paths[:images]:
        encoded = timed("read", lambda: open(path, "rb").read())
        image = timed("decode", lambda: Image.open(io.BytesIO(encoded)).convert("RGB"))
        for view in [data.first, data.second] + [data.small] * data.local:
            steps = view.transforms
            crop = timed("crop", lambda: steps[1](steps[0](image)))
            for step in steps[2:6]:
                crop = timed("colours", lambda: step(crop))
            timed("tensor", lambda: steps[7](steps[6](crop)))
    return spent


def memory():
    """Bytes that this process and its workers hold, shared pages counted once, and the sum of their peaks."""
    with open("/proc/self/task/%d/children" % os.getpid()) as file:
        pids = [os.getpid()] + [int(pid) for pid in file.read().split()]
    held = peak = 0
    for pid in pids:
        try:
            with open("/proc/%d/smaps_rollup" % pid) as file:
                held += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            with open("/proc/%d/status" % pid) as file:
                peak += sum(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
        except OSError:
            pass
    return {"memory": held * 1024, "peakRss": peak * 1024}


def main():
    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(request["folder"])
        for name in names
        if name.lower().endswith(EXTENSIONS)
    )
    data = Crops(paths, request["local"])
    workers = request["workers"]
    loader = DataLoader(
        data, batch_size=request["batch"], shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0,
    )
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "run":
            start = time.perf_counter()
            count = sum(batch[0].shape[0] for batch in loader)
            seconds = time.perf_counter() - start
            print(json.dumps({"seconds": seconds, "images": count, **memory()}), flush=True)
        elif word == "stages":
            print(json.dumps(stages(data, min(len(paths), 200))), flush=True)
        else:
            break


if __name__ == "__main__":
    main()
