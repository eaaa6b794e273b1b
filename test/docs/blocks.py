#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds and runs the C++ blocks of a document, and compares what they print.

  blocks.py check DOCUMENT…                     by hand: $CXX, from the top folder
  blocks.py sources DOCUMENT FRAGMENTS.cc [PROGRAM.cc…]
  blocks.py run DOCUMENT FRAGMENTS [PROGRAM…]   what became of the sources

How a block becomes a program:

* A ```cpp block with an `int main(` in it is a program, compiled as it stands.
* Any other ```cpp block is the body of a function, behind ptage/ptage.h,
  <cstdint>, <cstdio>, <vector> and `using namespace ptage;`.
* It is run, and must exit with 0. If the next block of the document is ```text,
  that is what it prints, all of it; else it prints nothing.
* A comment before the block says otherwise:

      <!-- cpp: compile continue
      hidden lines of C++
      -->

  `compile`: it is compiled, not run. `declarations`: it stands in a namespace,
  not in a function. `continue`: it goes on where the cpp block above ended, as
  one program with it that prints one text after the other. The hidden lines
  come before it, in the namespace. Lines with #include go to the top.

The fragments of a document are one source file, a namespace for each. Compilers
and this program name lines of the document. Exit status 1: a document is wrong.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

FENCE = re.compile(r"^```([^`]*)$")
MARKER = re.compile(r"^<!-- cpp:\s*([a-z ]*?)\s*(-->)?$")
MAIN = re.compile(r"^\s*int main\(", re.M)
WORDS = {"compile", "declarations", "continue"}
# Others would be built by nobody: "c++" for "cpp".
KINDS = {"", "cpp", "text", "sh", "cmake", "json", "python"}
PRELUDE = ("#include <cstdint>", "#include <cstdio>", "#include <vector>",
           '#include "ptage/ptage.h"')


class Bad(Exception):
    """What is wrong with a document, and where."""


class Piece:
    """A cpp block: its lines, those hidden before it, and what it prints."""

    def __init__(self, line, words, hidden_line, hidden):
        self.line = line  # of the document, of the first line of code
        self.words = words
        self.hidden_line = hidden_line
        self.hidden = hidden
        self.code = []
        self.prints = ""

    def is_program(self):
        return MAIN.search("\n".join(self.code)) is not None


def read(name):
    """The blocks of a document as programs: a list of lists of pieces."""
    programs = []
    block = None  # The open one: its kind, its line, and its lines.
    marker = None  # (words, line, hidden lines) that wait for their block.
    hiding = None  # The marker that is open.
    printer = None  # The piece that the next block may be the output of.
    lines = pathlib.Path(name).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        here = f"{name}:{number}"
        fence = FENCE.match(line)
        if block is not None:
            kind, started, body = block
            if fence is None:
                body.append(line)
            elif fence[1]:
                raise Bad(f"{here}: a block begins inside the one of line {started}")
            else:
                if kind == "text" and printer is not None:
                    printer.prints = "".join(row + "\n" for row in body)
                printer = piece if kind == "cpp" else None
                block = None
        elif hiding is not None:
            if line.strip() == "-->":
                marker, hiding = hiding, None
            elif "-->" in line:
                raise Bad(f"{here}: --> wants a line of its own")
            else:
                hiding[2].append(line)
        elif fence is not None:
            # Words after the first are for other readers of the document.
            kind = (fence[1].split() or [""])[0]
            if kind not in KINDS:
                raise Bad(f"{here}: a block of {kind}: not one of "
                          f"{', '.join(sorted(KINDS - {''}))}")
            block = (kind, number, [])
            if kind != "cpp":
                if marker is not None:
                    raise Bad(f"{here}: the comment before it wants a cpp block")
                continue
            words, hidden_line, hidden = marker or ((), 0, [])
            marker = None
            piece = Piece(number + 1, words, hidden_line, hidden)
            piece.code = block[2]
            if "continue" in words:
                if not programs:
                    raise Bad(f"{here}: there is no block above to continue")
                programs[-1].append(piece)
            else:
                programs.append([piece])
        elif line.startswith("<!-- cpp"):
            found = MARKER.match(line)
            words = found[1].split() if found else []
            if found is None or set(words) - WORDS:
                raise Bad(f"{here}: wants <!-- cpp: and some of "
                          f"{', '.join(sorted(WORDS))}")
            if marker is not None:
                raise Bad(f"{here}: two comments, and no block between")
            opened = (words, number + 1, [])
            if found[2]:
                marker = opened
            else:
                hiding = opened
        elif marker is not None and line.strip():
            raise Bad(f"{here}: the comment before it wants a cpp block")
        elif line.lstrip().startswith("```"):
            raise Bad(f"{here}: blocks begin at the start of a line")
    if block is not None:
        raise Bad(f"{name}:{block[1]}: the block does not end")
    if hiding is not None or marker is not None:
        raise Bad(f"{name}: a comment <!-- cpp: at the end, without its block")
    for pieces in programs:
        check(name, pieces)
    return programs


def check(name, pieces):
    whole = [piece for piece in pieces if piece.is_program()]
    if whole and len(pieces) > 1:
        raise Bad(f"{name}:{whole[0].line}: a program with a main is not continued")
    if whole and (pieces[0].hidden or pieces[0].words not in ((), ["compile"])):
        raise Bad(f"{name}:{whole[0].line}: a program with a main is compiled as "
                  "it stands, without hidden lines")


def is_run(pieces):
    return all("compile" not in piece.words for piece in pieces)


def split(programs):
    """(fragments, programs with a main)"""
    return ([pieces for pieces in programs if not pieces[0].is_program()],
            [pieces for pieces in programs if pieces[0].is_program()])


def as_program(name, piece):
    return "\n".join([f'#line {piece.line} "{name}"', *piece.code, ""])


def as_fragments(name, fragments):
    """The source file of all fragments: `FRAGMENTS N` runs the N-th of them."""
    includes = list(PRELUDE) if fragments else ["#include <cstdlib>"]
    body = []

    def put(line, code):
        body.append(f'#line {line} "{name}"')
        for row in code:
            if row.startswith("#include"):
                if row not in includes:
                    includes.append(row)
                row = ""
            body.append(row)

    cases = []
    for index, pieces in enumerate(fragments):
        body += [f"namespace block_{pieces[0].line} {{",
                 "using namespace ptage;"]
        for piece in pieces:
            if piece.hidden:
                put(piece.hidden_line, piece.hidden)
            if "declarations" in piece.words:
                put(piece.line, piece.code)
        runs = is_run(pieces)
        body.append("int Run() {" if runs else
                    "[[maybe_unused]] inline auto Compiled() {")
        for piece in pieces:
            if "declarations" not in piece.words:
                put(piece.line, piece.code)
        if runs:
            body.append("return 0;")
            cases.append(f"case {index}: return block_{pieces[0].line}::Run();")
        body += ["}", "}"]
    return "\n".join(
        [*includes, *body, "int main(int count, char** words) {",
         "switch (count == 2 ? std::atoi(words[1]) : -1) {", *cases,
         "default: return 2;", "}", "}", ""]).replace(
             "#include <cstdint>", "#include <cstdint>\n#include <cstdlib>", 1)


def sources(name, outputs):
    fragments, programs = split(read(name))
    if len(programs) != len(outputs) - 1:
        raise Bad(f"{name}: has {len(programs)} programs with a main; "
                  f"{len(outputs) - 1} are expected (test/docs/BUILD)")
    pathlib.Path(outputs[0]).write_text(as_fragments(name, fragments),
                                        encoding="utf-8")
    for output, pieces in zip(outputs[1:], programs):
        pathlib.Path(output).write_text(as_program(name, pieces[0]),
                                        encoding="utf-8")


def run(name, binaries):
    """Runs what there is to run; returns what was wrong."""
    fragments, programs = split(read(name))
    commands = [(pieces, [binaries[0], str(index)])
                for index, pieces in enumerate(fragments)]
    commands += [(pieces, [binary])
                 for pieces, binary in zip(programs, binaries[1:], strict=True)]
    problems = []
    for pieces, command in commands:
        if not is_run(pieces):
            continue
        where = f"{name}:{pieces[0].line}"
        outcome = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                                 stdin=subprocess.DEVNULL, check=False)
        wanted = "".join(piece.prints for piece in pieces)
        if outcome.returncode != 0:
            problems.append(f"{where}: exit status {outcome.returncode}")
        if outcome.stdout != wanted:
            problems.append(f"{where}: the document says that it prints\n"
                            f"{wanted}and it printed\n{outcome.stdout}")
    print(f"{name}: {len(fragments)} fragments, {len(programs)} programs")
    return problems


def check_by_hand(names):
    flags = shlex.split(subprocess.run(
        ["pkg-config", "--cflags", "--libs", "absl_synchronization",
         "absl_status", "absl_str_format"], check=True, text=True,
        stdout=subprocess.PIPE).stdout)
    problems = []
    for name in names:
        _, programs = split(read(name))
        with tempfile.TemporaryDirectory() as folder:
            built = [os.path.join(folder, str(index))
                     for index in range(len(programs) + 1)]
            sources(name, [path + ".cc" for path in built])
            for path in built:
                if subprocess.run(
                        [os.environ.get("CXX", "g++"), "-std=c++20", "-Wall",
                         "-Wextra", "-Werror", "-Wno-unused", "-DPTAGE_HARDENED=1",
                         "-Iinclude", "-I.", path + ".cc", "-o", path, *flags],
                        check=False).returncode:
                    raise Bad(f"{name}: a block does not compile")
            problems += run(name, built)
    return problems


def main(arguments):
    command, *rest = arguments or [""]
    try:
        if command == "check" and rest:
            problems = check_by_hand(rest)
        elif command == "sources" and len(rest) >= 2:
            problems = sources(rest[0], rest[1:]) or []
        elif command == "run" and len(rest) >= 2:
            problems = run(rest[0], rest[1:])
        else:
            print(__doc__.strip().split("\n\n")[1], file=sys.stderr)
            return 2
    except Bad as bad:
        problems = [str(bad)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
