"""The peer of bench/knn.ts: weighted k-NN votes in plain PyTorch, as DINO's published evaluation describes them.

Reads one JSON line {"folder", "threads", "classes"} on stdin and loads the four feature files of that folder. For each
further line with a list of k it classifies all test features once for each k and prints {"seconds", "top1", "top5",
"peakRss"}: a hundred chunks of queries, their similarities with the whole bank, the k largest, one-hot votes weighted by
exp(similarity / 0.07), and all classes sorted by their score.
"""

import json
import os
import resource
import sys
import time

import torch

CHUNKS = 100
TEMPERATURE = 0.07


def classify(bank, bank_labels, queries, query_labels, k, classes):
    columns = bank.t()
    count = query_labels.shape[0]
    per_chunk = count // CHUNKS
    votes = torch.zeros(k, classes)
    hits1 = hits5 = 0.0
    for start in range(0, count, per_chunk):
        stop = min(start + per_chunk, count)
        rows = stop - start
        similarity = torch.mm(queries[start:stop], columns)
        nearest, where = similarity.topk(k, largest=True, sorted=True)
        found = torch.gather(bank_labels.view(1, -1).expand(rows, -1), 1, where)
        votes.resize_(rows * k, classes).zero_()
        votes.scatter_(1, found.view(-1, 1), 1)
        weights = nearest.clone().div_(TEMPERATURE).exp_()
        scores = torch.sum(votes.view(rows, -1, classes) * weights.view(rows, -1, 1), 1)
        _, ranked = scores.sort(1, True)
        hits = ranked.eq(query_labels[start:stop].view(-1, 1))
        hits1 += hits[:, :1].sum().item()
        hits5 += hits[:, :5].sum().item()
    return 100 * hits1 / count, 100 * hits5 / count


def main():
    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(request["threads"])
    load = lambda name: torch.load(os.path.join(request["folder"], name))
    bank, bank_labels = load("trainfeat.pth"), load("trainlabels.pth")
    queries, query_labels = load("testfeat.pth"), load("testlabels.pth")
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        with torch.no_grad():
            found = [classify(bank, bank_labels, queries, query_labels, k, request["classes"]) for k in json.loads(line)]
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "top1": [a for a, _ in found], "top5": [b for _, b in found],
                          "peakRss": peak}), flush=True)


main()
