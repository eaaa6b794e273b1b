# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks that every listed mutant of the lockless headers has an answer.

The list is made from the headers (test/relacy/list_mutants.py). Each mutant needs a row
in test/relacy/listed.bzl or mutants.bzl, which a test then holds to its word, or a proof in
STRUCK that it is equivalent to what is shipped. A row or a proof about a mutant that
is not listed fails here too, and so does a row whose property no search states. What
rows of test/broken.bzl, of test/bare_metal and of the soaks' controls.bzl quote must stand in the header once. A
row that cannot be chosen among others (test/relacy/choose.py) must say so, and no other may.
docs/broken_on_purpose.md has a line for each row of test/broken.bzl.
"""

import collections
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path("test/relacy").absolute()))
import choose  # pylint: disable=wrong-import-position
import list_mutants  # pylint: disable=wrong-import-position


def problems():
    listed = list_mutants.starlark("listed.bzl")
    planted = list_mutants.starlark("mutants.bzl")["MUTANTS"]
    met = list_mutants.meet()
    stated = list_mutants.properties()

    for mutant, by in met.values():
        if by is None:
            yield (f"include/ptage/{mutant.header}.h:{mutant.line}: nothing meets "
                   f"{mutant.id}: {mutant.what}")
    rows = [(f'{key.split("@")[0]}:{name}', row[1])
            for key, rows in listed["LISTED"].items() for name, row in rows.items()]
    struck = [name for _, names in listed["STRUCK"] for name in names]
    names = [name for name, _ in rows] + struck
    for name in sorted(set(names)):
        if name not in met:
            yield f"listed.bzl: {name} is not in the list"
        if names.count(name) != 1:
            yield f"listed.bzl: {name} stands there {names.count(name)} times"
    for proof, _ in listed["STRUCK"]:
        if not proof.strip():
            yield "listed.bzl: struck without a proof"
    for key, mutants in planted.items():
        text = list_mutants.text_of(key.split("@")[0])
        for name, _, verdict, old, _, *_ in mutants:
            rows.append((f"mutants.bzl: {name}", verdict))
            if text.count(old) != 1:
                yield f"mutants.bzl: {name}: {text.count(old)} times, not once: {old}"
    for name, verdict in rows:
        if verdict not in stated:
            yield f"{name}: no search states “{verdict}”"
    yield from ways(planted)
    yield from untold()
    for name, header, old in quoted():
        if (count := list_mutants.text_of(header).count(old)) != 1:
            yield f"{name}: {count} times, not once: {old}"


def rows_of(path, variable):
    # A .bzl file is also Python, but for what it loads.
    scope = {"load": lambda *_: None}
    # pylint: disable-next=exec-used
    exec(pathlib.Path(path).read_text(), scope)
    return scope[variable]


def ways(planted):
    """Rows that are not compiled as they must be: chosen among others, or alone."""
    rows = [(f"mutants.bzl: {name}", key.split("@")[0], old, new, alone)
            for key, mutants in planted.items()
            for name, _, _, old, new, *alone in mutants]
    rows += [(f"broken.bzl: {name}", header, old, new, alone)
             for name, _, _, _, header, old, new, *alone in
             rows_of("test/broken.bzl", "_ROWS")]
    for name, header, old, new, alone in rows:
        text = list_mutants.text_of(header)
        if alone and (len(alone) > 1 or alone[0] not in choose.ALONE):
            yield f"{name}: not a reason to be compiled alone: {alone}"
        if text.count(old) != 1:
            continue  # said elsewhere
        why = choose.why_alone(header, text, old, new)
        if why and alone != ["outside"]:
            yield f"{name} {why}: it must say \"outside\""
        elif not why and alone == ["outside"]:
            yield f"{name} can be chosen: it must not say \"outside\""


def untold():
    """Rows of broken.bzl that the document lacks, and lines of it about none."""
    told = collections.Counter(re.findall(
        r"`([\w/]+)\.h`: [^|]*\| `([\w/]+)`: (\w+) \|$",
        pathlib.Path("docs/broken_on_purpose.md").read_text(), re.M))
    rows = collections.Counter(
        (header, test, case) for _, _, test, case, header, *_ in
        rows_of("test/broken.bzl", "_ROWS"))
    for row in (rows - told) | (told - rows):
        yield (f"docs/broken_on_purpose.md: {' '.join(row)}: {told[row]} lines, "
               f"and {rows[row]} rows of broken.bzl")


def quoted():
    """Rows beside the searches that quote headers: name, header, and what it says."""
    for name, _, _, _, header, old, _, *_ in rows_of("test/broken.bzl", "_ROWS"):
        yield f"broken.bzl: {name}", header, old
    for name, path, old, *_ in rows_of("test/bare_metal/broken.bzl", "BROKEN"):
        if path.startswith("include/ptage/"):
            header = path.removeprefix("include/ptage/").removesuffix(".h")
            yield f"bare_metal/broken.bzl: {name}", header, old
    for path, rows in (("controls.bzl", "CONTROLS"),
                       ("reclaim/controls.bzl", "RECLAIM_CONTROLS")):
        for name, header, old, _ in rows_of(f"test/soak/{path}", rows):
            yield f"{path}: {name}", header, old


def main():
    found = list(problems())
    for problem in found:
        print(problem, file=sys.stderr)
    met = list_mutants.meet().values()
    struck = sum(by == "struck" for _, by in met)
    caught = sum(by is not None for _, by in met) - struck
    print(f"{len(met)} listed mutants: {caught} with a row, {struck} struck, "
          f"{len(met) - caught - struck} with neither")
    return 1 if found or not met else 0


if __name__ == "__main__":
    sys.exit(main())
