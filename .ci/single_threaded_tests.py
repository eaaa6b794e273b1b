#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the labels of the tests that start no threads: nothing for a thread sanitizer.

A test starts threads if one of its sources does, or a header beside the library
that it includes, at whatever depth.
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
         "--output=xml", "--noxml:default_values",
         "kind(cc_test, //...) except attr(tags, 'relacy|mutant', //...)"],
        cwd=TOP, check=True, stdout=subprocess.PIPE).stdout)
    labels = []
    for rule in rules.iter("rule"):
        sources = [label.get("value").removeprefix("//").replace(":", "/").lstrip("/")
                   for label in rule.findall("list[@name='srcs']/label")]
        if not any(starts_threads(source) for source in sources):
            labels.append(rule.get("name"))
    if not labels:
        sys.exit("every test starts threads")
    print("\n".join(sorted(labels)))


if __name__ == "__main__":
    main()
