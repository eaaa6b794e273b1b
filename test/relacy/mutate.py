# SPDX-License-Identifier: MIT OR Apache-2.0
"""mutate.py HEADER OLD NEW: prints HEADER with OLD replaced by NEW.

OLD stands in HEADER exactly once, or this fails: a mutant does not outlive the
line that it is about. OLD and NEW are JSON strings.
"""

import json
import sys


def main():
    path, old, new = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    with open(path, encoding="utf-8") as header:
        text = header.read()
    if text.count(old) != 1:
        sys.exit(f"{path}: {text.count(old)} times, not once: {old}")
    sys.stdout.write(text.replace(old, new))


if __name__ == "__main__":
    main()
