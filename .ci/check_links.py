# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks that what the documents point at exists.

Relative links and their anchors in *.md resolve, images included. Names in
backticks that look like paths of this repository exist in it.
"""

import pathlib
import re
import subprocess
import sys

# Code is not prose: fenced, or indented after an empty line.
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
INDENTED = re.compile(r"(?<=\n\n)(?: {4,}.*\n)+")
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.M)
# A path of ours begins with one of these folders, or is a header by its name.
ROOTS = ("include/", "test/", "bench/", "docs/", "tools/", "third_party/",
         "examples/", "cmake/", ".ci/")
HEADER = re.compile(r"[a-z_0-9/]+\.h")


def anchors(text):
    """The anchors that a renderer gives to the headings."""
    found = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        number = 0
        while (anchor + f"-{number}" if number else anchor) in found:
            number += 1
        found.add(anchor + f"-{number}" if number else anchor)
    return found


def broken_link(document, text, target):
    """What is wrong with a link of `document`; None if it resolves."""
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    path = document.parent / name if name else document
    if not path.exists():
        return f"link to {target}: no such file"
    if anchor and path.suffix == ".md":
        if anchor not in anchors(path.read_text() if name else text):
            return f"link to {target}: no such heading"
    return None


def exists(document, name):
    """Whether a path is one of the repository, wherever it is usual to start."""
    starts = [pathlib.Path("."), document.parent, pathlib.Path("include/ptage"),
              pathlib.Path("include")]
    if any((start / name).exists() for start in starts):
        return True
    # A header of a folder that the text is about.
    return "/" not in name and any(pathlib.Path("include").rglob(name))


def is_path(word):
    if re.search(r"[\s*…<>{}=:$]", word):
        return False
    return word.startswith(ROOTS) or HEADER.fullmatch(word) is not None


def main():
    problems = []
    count = 0
    listed = subprocess.run(["git", "ls-files", "*.md"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    for document in map(pathlib.Path, listed.split()):
        text = document.read_text()
        prose = INDENTED.sub("", FENCED.sub("", text))
        for word in IN_BACKTICKS.findall(prose):
            if not is_path(word):
                continue
            count += 1
            if not exists(document, word):
                problems.append(f"{document}: `{word}` does not exist")
        for target in LINK.findall(IN_BACKTICKS.sub("", prose)):
            count += 1
            problem = broken_link(document, text, target)
            if problem:
                problems.append(f"{document}: {problem}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{count} links and paths")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
