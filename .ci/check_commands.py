#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks that the commands in documents exist.

In code of *.md, inline, indented or in a fence (but for C++):

* a program of tools/ or .ci/ that is called is there, and is executable or
  called by an interpreter; each --flag of it is in the sources that read it;
* a --flag that is named alone is read somewhere;
* --config of Bazel is in .bazelrc;
* a label is that of a target;
* a name PTAGE_… is in some source.
"""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from check_links import INDENTED, IN_BACKTICKS  # pylint: disable=wrong-import-position

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
PROGRAM = re.compile(r"(?<![\w/.-])((?:tools|\.ci)/[\w./-]*\w)")
LABEL = re.compile(r"(?<![\w:/])//(?:\.\.\.|:[\w./]*\w"
                   r"|[a-z]\w*(?:/\w+)*(?:/\.\.\.|:[\w./]*\w)?)")
FLAG = re.compile(r"(?<![\w-])--([a-z][\w-]*)")
CONFIG = re.compile(r"--config[= ](\w+)")
NAME = re.compile(r"\bPTAGE_[A-Z_]+\b")
BAZEL = re.compile(r"\bbazel (?:build|test|run|query)\b")

# Where the flags of a program are read, where not in its own file.
READ_IN = {
    "tools/bench": ("tools/bench", "bench/"),
    "tools/soak": ("tools/soak", "test/soak/"),
    "tools/trace_info": ("tools/trace_info", "tools/trace/"),
    "tools/record_trace": ("tools/record_trace", "tools/trace/"),
    "//examples/far_memory": ("examples/far_memory/",),
}
# These pass their flags on to Bazel.
FOR_BAZEL = ("tools/test", "tools/run_tests", "tools/mutants")
# Read by programs that are not ours: compilers, Bazel, CMake, Google Benchmark,
# pkg-config, Valgrind.
NOT_OURS = ("benchmark_filter", "config", "copt", "cxxopt", "features", "cflags",
            "libs", "test_output", "build", "install", "platform_suffix", "prefix",
            "runs_per_test", "test_arg", "test_filter", "repo_env",
            "tool", "trace-mem")


def listed(*patterns):
    return subprocess.run(["git", "ls-files", *patterns], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.split()


def pieces_of_code(text):
    """(line, code) for each line of code of a document."""
    prose = list(text)

    def take(start, end):
        for at in range(start, end):
            if prose[at] != "\n":
                prose[at] = " "

    for block in FENCED.finditer(text):
        take(*block.span())
        if block[1] != "cpp":
            first = text.count("\n", 0, block.start(2)) + 1
            # A command may be continued.
            code = block[2].replace("\\\n", " \x00")
            for line in code.splitlines():
                yield first, line.replace("\x00", "")
                first += 1 + line.count("\x00")
    rest = "".join(prose)
    for block in INDENTED.finditer(rest):
        first = rest.count("\n", 0, block.start()) + 1
        for number, line in enumerate(block[0].splitlines()):
            yield first + number, line
        take(*block.span())
    rest = "".join(prose)
    for code in IN_BACKTICKS.finditer(rest):
        yield rest.count("\n", 0, code.start()) + 1, code[1]


class Sources:
    """The project's files that are not documents."""

    def __init__(self):
        self.texts = {}
        for name in listed():
            if not name.endswith((".md", ".svg", ".trace", ".xz")):
                try:
                    self.texts[name] = pathlib.Path(name).read_text(encoding="utf-8")
                except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
                    pass

    def has(self, pattern, places=("",)):
        return any(re.search(pattern, text) for name, text in self.texts.items()
                   if name.startswith(places) and name != ".ci/check_commands.py")

    def reads(self, flag, places=("",)):
        return self.has(rf'(--|")(no-?)?{re.escape(flag)}\b', tuple(places))


def problems_of(code, sources, labels):
    """What is wrong with a line of code; its labels are gathered."""
    labels.update(LABEL.findall(code))
    for name in NAME.findall(code):
        if not sources.has(rf"\b{name}"):
            yield f"{name}: no source has it"
    for config in CONFIG.findall(code):
        if f":{config} " not in sources.texts[".bazelrc"]:
            yield f"--config={config}: not in .bazelrc"
    command = code.split("  #")[0].strip()
    programs = PROGRAM.findall(command)
    for name in programs:
        if not os.path.exists(name):
            yield f"{name}: no such file"
    first = command.split()[0] if command.split() else ""
    if first in programs and os.path.isfile(first) and command != first and \
            not os.access(first, os.X_OK):
        yield f"{first}: cannot be run"
    places = ("",)
    if first in FOR_BAZEL:
        places = None
    elif first in programs:
        places = READ_IN.get(first, (first,))
    elif BAZEL.search(command):
        target, dashes, arguments = command.partition(" -- ")
        command = arguments if dashes else ""
        places = next((where for label, where in READ_IN.items()
                       if label in target), ("",))
    if places is None:
        return
    for flag in FLAG.findall(command):
        if flag not in (*NOT_OURS, "help") and not sources.reads(flag, places):
            yield f"--{flag}: nothing of {' '.join(places).strip() or 'ours'} reads it"


def missing(labels):
    """Those of the labels that are no target's."""
    absent = set()
    single = {label for label in labels if not label.endswith(("...", ":all"))}
    for asked in [single] + [{label} for label in labels - single]:
        if not asked:
            continue
        answer = subprocess.run(
            ["bazel", "query", "--keep_going", "--noshow_progress",
             "--ui_event_filters=-info", f"set({' '.join(sorted(asked))})"],
            check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE).stdout.split()
        found = {label.replace("//:", "//./:") for label in answer}
        for label in asked:
            package, _, target = label[2:].partition(":")
            full = f"//{package or '.'}/:" if not package else f"//{package}:"
            full += target or package.rsplit("/", 1)[-1]
            if (label not in single and not found) or \
                    (label in single and full not in found):
                absent.add(label)
    return absent


def main():
    sources = Sources()
    problems = []
    count = 0
    where = {}
    for document in listed("*.md"):
        text = pathlib.Path(document).read_text(encoding="utf-8")
        for line, code in pieces_of_code(text):
            labels = set()
            for problem in problems_of(code, sources, labels):
                problems.append(f"{document}:{line}: {problem}")
            for label in labels:
                where.setdefault(label, f"{document}:{line}")
            count += 1
    for label in sorted(missing(set(where))):
        problems.append(f"{where[label]}: {label}: no such target")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{count} pieces of code, {len(where)} labels")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
