"""The peer of bench/train-step.ts: one EsViT training step written plainly in PyTorch.

Swin, the DINO head twice (views and regions), the two losses in their textbook form (a log-softmax for every
teacher/student pair), per-parameter clipping, AdamW, EMA teacher. Reads one JSON line {"batch", "local", "outDim",
"threads", "device"} on stdin, for narrower networks and smaller crops "network" and "sizes" too. Then each line "step" takes a step and prints {"seconds", "rss", "peak", "loss"}, "batch N"
and "precision fp32|bf16|fp16" change the next steps, and "forget" gives memory back and counts its peak anew. What does
not fit prints {"error"}. TF32 is off.
"""

import json
import math
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def windows(x, size):
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, c)


def unwindows(x, size, h, w):
    b = x.shape[0] // ((h // size) * (w // size))
    x = x.view(b, h // size, w // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)


class WindowAttention(nn.Module):
    def __init__(self, dim, heads, size):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.table = nn.Parameter(torch.zeros((2 * size - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
        offset = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + size - 1
        self.register_buffer("index", offset[..., 0] * (2 * size - 1) + offset[..., 1])
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, mask):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        scores = scores + self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1)
        if mask is not None:
            count = mask.shape[0]
            scores = scores.view(b // count, count, self.heads, n, n) + mask[None, :, None]
            scores = scores.view(-1, self.heads, n, n)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, dim, heads, size, shift, drop):
        super().__init__()
        self.size, self.shift, self.drop, self.masks = size, shift, drop, {}
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn = WindowAttention(dim, heads, size)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def mask(self, h, w, device):
        if self.shift == 0:
            return None
        if (h, w) not in self.masks:
            self.masks[h, w] = self.new_mask(h, w, device)
        return self.masks[h, w]

    def new_mask(self, h, w, device):
        region = torch.zeros(1, h, w, 1, device=device)
        cuts = (slice(0, -self.size), slice(-self.size, -self.shift), slice(-self.shift, None))
        for i, rows in enumerate(cuts):
            for j, columns in enumerate(cuts):
                region[:, rows, columns] = 3 * i + j
        ids = windows(region, self.size).squeeze(-1)
        return (ids[:, None] != ids[:, :, None]).float() * -100.0

    def path(self, x):
        if self.drop == 0 or not self.training:
            return x
        keep = 1 - self.drop
        return x * torch.bernoulli(torch.full((x.shape[0], 1, 1), keep, device=x.device)) / keep

    def forward(self, x, h, w):
        b, n, c = x.shape
        y = self.norm1(x).view(b, h, w, c)
        bottom, right = (-h) % self.size, (-w) % self.size
        y = F.pad(y, (0, 0, 0, right, 0, bottom))
        hp, wp = h + bottom, w + right
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = unwindows(self.attn(windows(y, self.size), self.mask(hp, wp, x.device)), self.size, hp, wp)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + self.path(y[:, :h, :w].reshape(b, n, c))
        return x + self.path(self.mlp(self.norm2(x)))


class Swin(nn.Module):
    def __init__(self, dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), size=7, drop=0.1):
        super().__init__()
        self.embed, self.embed_norm = nn.Conv2d(3, dim, 4, 4), nn.LayerNorm(dim)
        rates = torch.linspace(0, drop, sum(depths)).tolist()
        self.stages, self.norms, self.reductions = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        side = 56
        for i, depth in enumerate(depths):
            shift = 0 if side <= size else size // 2
            width = dim << i
            blocks = [Block(width, heads[i], min(size, side), shift * (j % 2), rates.pop(0)) for j in range(depth)]
            self.stages.append(nn.ModuleList(blocks))
            if i + 1 < len(depths):
                self.norms.append(nn.LayerNorm(4 * width))
                self.reductions.append(nn.Linear(4 * width, 2 * width, bias=False))
            side //= 2
        self.norm = nn.LayerNorm(dim << (len(depths) - 1), 1e-6)

    def forward(self, x):
        x = self.embed(x)
        b, c, h, w = x.shape
        x = self.embed_norm(x.flatten(2).transpose(1, 2))
        for i, blocks in enumerate(self.stages):
            for block in blocks:
                x = block(x, h, w)
            if i < len(self.norms):
                y = x.view(b, h, w, -1)
                y = torch.cat([y[:, 0::2, 0::2], y[:, 1::2, 0::2], y[:, 0::2, 1::2], y[:, 1::2, 1::2]], -1)
                h, w = h // 2, w // 2
                x = self.reductions[i](self.norms[i](y.view(b, h * w, -1)))
        x = self.norm(x)
        return x.mean(1), x


class Head(nn.Module):
    def __init__(self, dim, out_dim, hidden=2048, bottleneck=256):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last = nn.utils.weight_norm(nn.Linear(bottleneck, out_dim, bias=False))
        self.last.weight_g.data.fill_(1)
        self.last.weight_g.requires_grad = False

    def forward(self, x):
        return self.last(F.normalize(self.mlp(x), dim=-1))


class Network(nn.Module):
    def __init__(self, out_dim, drop, dim=96, heads=(3, 6, 12, 24), hidden=2048):
        super().__init__()
        self.backbone = Swin(dim, heads=heads, drop=drop)
        self.head, self.head_dense = Head(8 * dim, out_dim, hidden), Head(8 * dim, out_dim, hidden)

    def forward(self, groups):
        pooled, regions, counts = [], [], []
        for crops in groups:
            p, r = self.backbone(crops)
            pooled.append(p)
            regions.append(r.reshape(-1, r.shape[-1]))
            counts.append(r.shape[1])
        features = torch.cat(regions)
        return self.head(torch.cat(pooled)), self.head_dense(features), features, counts


def loss_of(student, teacher, centers, crops, temperature=0.04):
    s_view, s_region, s_features, s_counts = student
    t_view, t_region, t_features, t_counts = teacher
    batch = t_view.shape[0] // 2
    q_view = F.softmax((t_view - centers[0]) / temperature, -1).chunk(2)
    q_region = F.softmax((t_region - centers[1]) / temperature, -1).chunk(2)
    t_features = t_features.chunk(2)
    lengths = [batch * s_counts[0]] * 2 + [batch * s_counts[1]] * (crops - 2)
    p_view, p_region = (s_view / 0.1).chunk(crops), (s_region / 0.1).split(lengths)
    s_features = s_features.split(lengths)
    total, terms = 0, 0
    for i in range(2):
        for v in range(crops):
            if v == i:
                continue
            view = torch.sum(-q_view[i] * F.log_softmax(p_view[v], -1), -1)
            n_s, n_t = s_counts[0 if v < 2 else 1], t_counts[0]
            f_s = F.normalize(s_features[v].view(batch, n_s, -1), dim=-1)
            f_t = F.normalize(t_features[i].view(batch, n_t, -1), dim=-1)
            match = (f_s @ f_t.transpose(1, 2)).max(-1)[1]
            q = q_region[i].view(batch, n_t, -1)
            q = torch.gather(q, 1, match[..., None].expand(-1, -1, q.shape[-1]))
            logits = p_region[v].view(batch, n_s, -1)
            region = torch.sum(-q * F.log_softmax(logits, -1), -1).mean(-1)
            total = total + 0.5 * view.mean() + 0.5 * region.mean()
            terms += 1
    with torch.no_grad():
        for center, output in zip(centers, (t_view, t_region)):
            center.mul_(0.9).add_(output.mean(0, keepdim=True), alpha=0.1)
    return total / terms


class Step:
    def __init__(self, request):
        self.device = request.get("device", "cpu")
        self.local, out_dim = request["local"], request["outDim"]
        self.sizes = request.get("sizes", [224, 96])
        shape = request.get("network", {})
        self.student = Network(out_dim, 0.1, **shape).to(self.device)
        self.teacher = Network(out_dim, 0.0, **shape).to(self.device)
        self.teacher.load_state_dict(self.student.state_dict())
        for p in self.teacher.parameters():
            p.requires_grad = False
        named = [(n, p) for n, p in self.student.named_parameters() if p.requires_grad]
        decayed = [p for n, p in named if p.ndim >= 2 and not n.endswith(".bias")]
        others = [p for n, p in named if not (p.ndim >= 2 and not n.endswith(".bias"))]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=1e-4
        )
        self.centers = [torch.zeros(1, out_dim, device=self.device) for _ in range(2)]
        self.scaler = None
        self.dtype = None
        self.batch(request["batch"])

    def batch(self, size):
        self.groups = None
        noise = lambda views, side: torch.randn(views * size, 3, side, side, device=self.device)
        self.groups = [noise(2, self.sizes[0]), noise(self.local, self.sizes[1])]

    def precision(self, name):
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        self.scaler = torch.amp.GradScaler(self.device) if name == "fp16" else None

    def forget(self):
        self.optimizer.zero_grad()
        if self.device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def clip(self):
        for p in self.student.parameters():
            if p.grad is None:
                continue
            scale = 3.0 / (p.grad.norm(2) + 1e-6)
            if self.device != "cpu":  # asking whether it is below 1 would wait for the GPU
                p.grad.mul_(scale.clamp(max=1.0))
            elif scale < 1:
                p.grad.mul_(scale)

    def step(self):
        start = time.perf_counter()
        kind = torch.device(self.device).type
        with torch.autocast(kind, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            with torch.no_grad():
                target = self.teacher(self.groups[:1])
            loss = loss_of(self.student(self.groups), target, self.centers, 2 + self.local)
        value = loss.item()
        if not math.isfinite(value):
            sys.exit("the loss is not finite")
        self.optimizer.zero_grad()
        if self.scaler is None:
            loss.backward()
            self.clip()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            self.clip()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        with torch.no_grad():
            for a, b in zip(self.student.parameters(), self.teacher.parameters()):
                b.mul_(0.996).add_(a.detach(), alpha=0.004)
        if self.device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        peak = torch.cuda.max_memory_allocated() if self.device != "cpu" else rss
        return {"seconds": seconds, "rss": rss, "peak": peak, "loss": value}


def main():
    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    work = Step(request)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        word, *rest = line.split() or ["end"]
        answer = {"ready": True}
        try:
            if word == "step":
                answer = work.step()
            elif word == "batch":
                work.batch(int(rest[0]))
            elif word == "precision":
                work.precision(rest[0])
            elif word == "forget":
                work.forget()
            else:
                break
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            answer = {"error": "out of memory"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
