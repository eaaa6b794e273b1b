# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks the numbered atomic sites of the headers.

A header lists its sites at the top, under "// Sites", one `//   [unit.N] …` each.
The code carries a comment that begins with `// [unit.N]` where the site is.
Every site that is listed stands in the code of the same header, every one in the
code is listed once, and every reference, in whatever header, is to a listed one.
"""

import pathlib
import re
import sys

SITE = re.compile(r"\[([a-z_]+\.\d+)\]")


def main():
    problems = []
    listed = {}
    used = {}
    references = []
    for path in sorted(pathlib.Path("include").rglob("*.h")):
        in_table = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            place = f"{path}:{number}"
            if line.startswith("// Sites"):
                in_table = True
                continue
            if not line.startswith("//"):
                in_table = False
            sites = SITE.findall(line)
            definition = re.match(r"//   \[([a-z_]+\.\d+)\]", line)
            if in_table and definition:
                site = definition.group(1)
                if site in listed:
                    problems.append(f"{place}: [{site}] is listed twice")
                listed[site] = path
                sites = sites[1:]
            elif re.match(r"\s+// \[[a-z_]+\.\d+\]", line) or (
                    not in_table and re.match(r"// \[[a-z_]+\.\d+\]", line)):
                used.setdefault(sites[0], set()).add(path)
            references += [(site, place) for site in sites]
    for site, place in references:
        if site not in listed:
            problems.append(f"{place}: [{site}] is not listed anywhere")
    for site, path in listed.items():
        if path not in used.get(site, set()):
            problems.append(f"{path}: [{site}] is listed, but not in the code")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(listed)} sites, {len(references)} references")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
