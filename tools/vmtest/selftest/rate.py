"""Frames per second on vcan0: python-can, a plain socket, and sending."""

import socket
import subprocess
import time

import can

a, b = (can.Bus(interface="socketcan", channel="vcan0") for _ in range(2))
a.send(can.Message(arbitration_id=0x123, data=b"\1\2", is_extended_id=False))
got = b.recv(2)
assert got
assert (got.arbitration_id, bytes(got.data)) == (0x123, b"\1\2")


def count(label: str, bus: can.BusABC, sender: list[str], seconds: int = 5) -> int:
    """Return how many frames `bus` received while the program `sender` ran."""
    proc = subprocess.Popen(sender, stderr=subprocess.DEVNULL)
    bus.recv(2)
    n, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        n += bus.recv(0.5) is not None
    proc.kill()
    proc.wait()
    while bus.recv(0.1):
        pass
    print(f"     {label}: {n / seconds:.0f} frames/s")
    return n


a.shutdown()
for gap in ("0", "1", "10"):
    n = count(f"python-can recv, cangen -g {gap}", b, ["cangen", "vcan0", "-g", gap, "-i", "-I", "123", "-L", "8"])
    assert n
b.shutdown()
proc = subprocess.Popen(["cangen", "vcan0", "-g", "0", "-i", "-I", "123", "-L", "8"], stderr=subprocess.DEVNULL)
s = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
s.bind(("vcan0",))
n, end = 0, time.monotonic() + 5
while time.monotonic() < end:
    s.recv(16)
    n += 1
proc.kill()
proc.wait()
print(f"     plain socket.recv, cangen -g 0: {n / 5:.0f} frames/s")
bus = can.Bus(interface="socketcan", channel="vcan0")
message, n, end = can.Message(arbitration_id=0x123, data=bytes(8), is_extended_id=False), 0, time.monotonic() + 3
while time.monotonic() < end:
    bus.send(message)
    n += 1
print(f"     python-can send: {n / 3:.0f} frames/s")
bus.shutdown()
