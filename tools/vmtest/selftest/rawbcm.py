"""Raw frames, and the broadcast manager's time-out."""

import select
import socket
import struct
import time

raw = [socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) for _ in range(2)]
for s in raw:
    s.bind(("vcan0",))
raw[0].send(struct.pack("=IB3x8s", 0x321, 3, b"abc"))
assert struct.unpack("=IB3x8s", raw[1].recv(16))[:2] == (0x321, 3)

bcm = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_BCM)
bcm.connect(("vcan0",))
head = struct.Struct("@IIIllllII0q")  # opcode flags count ival1 ival2 can_id nframes
RX_SETUP, RX_TIMEOUT, RX_CHANGED, SETTIMER, STARTTIMER, RX_FILTER_ID = 5, 11, 12, 1, 2, 0x20
bcm.send(head.pack(RX_SETUP, SETTIMER | STARTTIMER | RX_FILTER_ID, 0, 0, 200_000, 0, 0, 0x321, 0))
for n in range(3):
    raw[0].send(struct.pack("=IB3x8s", 0x321, 1, bytes([n])))
    assert head.unpack_from(bcm.recv(256))[0] == RX_CHANGED
    time.sleep(0.05)
begin = time.monotonic()
assert select.select([bcm], [], [], 2)[0], "no notification"
op, *_, can_id, _n = head.unpack_from(bcm.recv(256))
assert (op, can_id) == (RX_TIMEOUT, 0x321), (op, can_id)
print(f"     BCM RX_TIMEOUT {1000 * (time.monotonic() - begin) + 50:.0f} ms after the last frame (200 asked)")
