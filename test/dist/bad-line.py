"""A bad line between two network namespaces, for kernels without netem: a tunnel each, and packets that come late or never.

    bad-line.py NAMESPACE ADDRESS NAMESPACE ADDRESS MILLISECONDS LOSS

Runs until it is killed; needs root. Packets take so many milliseconds each way, and the share LOSS of them is dropped.
Says how many were passed on and dropped when it is asked to end.
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET = 65536


def tunnel(namespace: str, own: str, other: str) -> int:
    """A tunnel in `namespace`; what is written there appears in the file that is returned, and the other way round."""
    with open(f"/var/run/netns/{namespace}") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "addr", "add", own, "peer", other, "dev", "line"], check=True)
    subprocess.run(["ip", "link", "set", "line", "up"], check=True)
    return device


def main() -> None:
    first, first_address, second, second_address, delay, loss = sys.argv[1:]
    ends = [tunnel(first, first_address, second_address), tunnel(second, second_address, first_address)]
    opposite = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting = collections.deque()  # (when it is due, where it goes, the packet): in order, since all wait equally long
    counts = {"passed": 0, "dropped": 0}
    chance = random.Random(0)

    def end(*_: object) -> None:
        print(f"{counts['passed']} packets passed, {counts['dropped']} dropped", flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    print("the line is up", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, to, packet = waiting.popleft()
            os.write(to, packet)
        pause = max(0.0, waiting[0][0] - now) if waiting else None
        for device in select.select(ends, [], [], pause)[0]:
            packet = os.read(device, PACKET)
            lost = chance.random() < float(loss)
            counts["dropped" if lost else "passed"] += 1
            if not lost:
                waiting.append((time.monotonic() + float(delay) / 1000, opposite[device], packet))


main()
