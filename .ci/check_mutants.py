# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks that every named memory order of the searched headers has a mutant.

For each acquire, release and acquire-release in the code of the core's headers and
of the software vCPU's, some row of test/relacy/mutants.bzl must replace the text
around it by one without that order. A row that no longer
occurs in its header fails when it is built; an order without a row fails here.
"""

import pathlib
import re
import sys

INCLUDE = pathlib.Path("include/ptage")
ORDER = re.compile(r"\bk(?:Acquire|Release|AcqRel)\b")
# Not of the core, but lockless all the same.
SEARCHED = ["sim/vcpu", "sim/vcpu_set"]


def mutants():
    """header: its rows, from the Starlark file, which is also Python."""
    scope = {}
    path = pathlib.Path("test/relacy/mutants.bzl")
    exec(path.read_text(), scope)  # pylint: disable=exec-used
    rows = {}
    for key, listed in scope["MUTANTS"].items():
        rows.setdefault(key.split("@")[0], []).extend(listed)
    return rows


def core_headers():
    text = (INCLUDE / "core.h").read_text()
    names = re.findall(r'#include "ptage/([^"]+)\.h"', text)
    inner = re.findall(r'#include "ptage/(rmap/[^"]+)\.h"', "".join(
        (INCLUDE / f"{name}.h").read_text() for name in names))
    # once.h defines the orders.
    return sorted(set(names + inner) - {"once"})


def weakened(order, position, text, rows):
    """Whether a row takes this occurrence of `order` away."""
    for _, _, _, old, new in rows:
        start = text.find(old)
        inside = start <= position < start + len(old)
        uses = re.compile(rf"\b{order}\b")
        if start >= 0 and inside and (
                len(uses.findall(new)) < len(uses.findall(old))):
            return True
    return False


def main():
    rows = mutants()
    orders = problems = 0
    for header in core_headers() + SEARCHED:
        path = INCLUDE / f"{header}.h"
        text = path.read_text()
        for match in ORDER.finditer(text):
            line = text.rfind("\n", 0, match.start()) + 1
            if text[line:].lstrip().startswith("//"):
                continue
            orders += 1
            if not weakened(match.group(), match.start(), text,
                            rows.get(header, [])):
                problems += 1
                number = text.count("\n", 0, match.start()) + 1
                print(f"{path}:{number}: no mutant weakens {match.group()}",
                      file=sys.stderr)
    print(f"{orders} named orders, {sum(map(len, rows.values()))} mutants")
    return 1 if problems or not orders else 0


if __name__ == "__main__":
    sys.exit(main())
