# SPDX-License-Identifier: MIT OR Apache-2.0
"""make_initramfs.py INIT OUT: an initramfs with /init and the few files that it needs.

The format is "newc", as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
describes it.
"""

import sys

DIRECTORY, CHARACTER, FILE = 0o040000, 0o020000, 0o100000


def entry(number, name, mode, data=b"", device=(0, 0)):
    name = name.encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    padded = head + b"\0" * (-len(head) % 4) + data
    return padded + b"\0" * (-len(padded) % 4)


def main():
    with open(sys.argv[1], "rb") as file:
        init = file.read()
    archive = b"".join([
        entry(1, "dev", DIRECTORY | 0o755),
        entry(2, "dev/console", CHARACTER | 0o600, device=(5, 1)),
        # The second serial port.
        entry(3, "dev/ttyS1", CHARACTER | 0o600, device=(4, 65)),
        entry(4, "proc", DIRECTORY | 0o755),
        entry(5, "init", FILE | 0o755, init),
        entry(0, "TRAILER!!!", 0),
    ])
    with open(sys.argv[2], "wb") as file:
        file.write(archive)


main()
