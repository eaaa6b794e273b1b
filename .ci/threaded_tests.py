#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the labels of the tests that start threads, for the thread sanitizer.

A test starts threads if one of its sources does, or a header beside the library
that it includes, at whatever depth. Searches, mutants and tests that no sanitizer
can build are left out.
"""

import functools
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).absolute().parent.parent
STARTS = re.compile(r"std::(j?thread|async)\b(?!::)|pthread_create")
INCLUDE = re.compile(r'#include "((?:test|bench|examples)/[^"]+)"')
LEFT_OUT = {"relacy", "mutant", "nosanitizer", "manual"}


@functools.lru_cache(maxsize=None)
def starts_threads(path):
    file = TOP / path
    if not file.exists():  # Generated.
        return False
    text = file.read_text(encoding="utf-8")
    return bool(STARTS.search(text)) or any(
        starts_threads(header) for header in INCLUDE.findall(text))


def main():
    rules = xml.etree.ElementTree.fromstring(subprocess.run(
        ["bazel", "query", "--noshow_progress", "--ui_event_filters=-info",
         "--output=xml", "--noxml:default_values", "kind(cc_test, //...)"],
        cwd=TOP, check=True, stdout=subprocess.PIPE).stdout)
    found = []
    for rule in rules.iter("rule"):
        tags = {tag.get("value") for tag in rule.findall("list[@name='tags']/string")}
        sources = [label.get("value")
                   for label in rule.findall("list[@name='srcs']/label")]
        if tags & LEFT_OUT:
            continue
        if any(starts_threads(source.removeprefix("//").replace(":", "/").lstrip("/"))
               for source in sources):
            found.append(rule.get("name"))
    if not found:
        sys.exit("no test starts threads")
    print("\n".join(sorted(found)))


if __name__ == "__main__":
    main()
