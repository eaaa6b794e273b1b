#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Puts many mutants of a header into one copy of it; the program chooses one.

    choose.py HEADER PATH < ROWS    prints the header at PATH with ROWS in it
    choose.py --listed HEADER PATH  the same, with all that list_mutants.py lists

ROWS is JSON: {"rows": [[number, old, new], …], "listed": [[number, mutant], …]}, where
old stands in the header exactly once, and a listed mutant is named without its header.
Of --listed, the n-th of the list is number n. IsChosen of test/relacy/chosen.h says which
number is chosen.

What a mutant changes is widened until both versions can stand side by side:

- the condition of an `if` or a loop: both are converted to bool, and one is evaluated;
- what initialises a local whose type is written there: both are converted to that;
- else whole statements of one block: one list of them or the other. Where they declare
  anything, the rest of the block, in which it lives, is part of both. Statements that are
  inserted, or taken away, stand beside nothing.

What two mutants change may be the same stretch, or lie one in the other: then one choice
is inside what is left of the other. Stretches of a block that overlap otherwise are both
taken for what they cover together.

A row that cannot be put so has one field more, ALONE, and is compiled by itself:

- "outside": it changes more than the body of a function (.ci/check_mutants.py checks that
  just these say so);
- "constant": the compiler evaluates what it changes, and there nothing is chosen;
- "types": the two versions do not compile side by side.
"""

import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).absolute().parent))
import list_mutants  # pylint: disable=wrong-import-position

CHOSEN = "::ptage::IsChosen({})"
ALONE = ["outside", "constant", "types"]
# What a statement may begin with that declares, though it names no local.
DECLARES = {"using", "struct", "class", "enum", "union", "typedef", "namespace"}


class NoPlace(Exception):
    """A mutant that cannot be chosen."""


def replaced(text, old, new):
    if text.count(old) != 1:
        raise ValueError(f"{text.count(old)} times, not once: {old}")
    return text.replace(old, new)


class Change:
    """One mutant: tokens first … last - 1 of the header become as many and `more`."""

    def __init__(self, number, shipped, mutant):
        self.number = number
        self.shipped = shipped
        self.mutant = mutant
        old = [token.text for token in shipped.tokens]
        new = [token.text for token in mutant.tokens]
        self.more = len(new) - len(old)
        shorter = min(len(old), len(new))
        first = 0
        while first < shorter and old[first] == new[first]:
            first += 1
        behind = 0
        while behind < shorter - first and old[-1 - behind] == new[-1 - behind]:
            behind += 1
        if old == new:
            raise NoPlace("changes no token")
        # Where the same stretch was inserted, or taken away, if that is not certain.
        self.stretches = [(first, len(old) - behind)]
        if first in (len(old) - behind, len(new) - behind):
            longer = max(old, new, key=len)
            size = abs(self.more)
            while first > 0 and longer[first - 1] == longer[first + size - 1]:
                first -= 1
                self.stretches.append((first, first + max(0, -self.more)))

    def text(self, first, last):
        """What the mutant has for tokens first … last - 1 of the header."""
        last += self.more
        return self.mutant.source(first, last) if first < last else ""

    def place(self):
        """The least (first, last, kind) where both versions can stand."""
        places = [self._place(*stretch) for stretch in self.stretches]
        places = [place for place in places if place]
        if not places:
            raise NoPlace("changes more than the body of a function")
        return min(places, key=lambda place: place[1] - place[0])

    def cover(self, first, last):
        """The same, if it must be statements, and cover these tokens."""
        place = self._place(first, last)
        if not place or place[2] != "statements":
            raise NoPlace("overlaps with another")
        return place

    def _place(self, first, last):
        for _, opening, closing in self.shipped.functions:
            if opening < first and last <= closing:
                try:
                    block = self.shipped.block(opening + 1, closing)
                except (ValueError, KeyError, IndexError):
                    return None  # not what clang-format leaves
                return self._in_block(block, opening + 1, closing, True, first, last)
        return None

    def _in_block(self, block, begin, end, braces, first, last):
        for statement in block:
            whole = (first, last) == (statement.first, statement.last)
            beside = first == last and first in (statement.first, statement.last)
            if statement.first <= first and last <= statement.last and (
                    not whole and not beside):
                place = self._in_statement(statement, first, last)
                if place:
                    return place
        return self._statements(block, begin, end, braces, first, last)

    def _in_statement(self, statement, first, last):
        h = self.shipped
        if h.word(statement.first) == "{":
            return self._in_block(statement.blocks[0], statement.first + 1,
                                  statement.last - 1, True, first, last)
        for block in statement.blocks:
            if not block:
                continue
            begin, end, braces = block[0].first, block[-1].last, False
            if h.word(begin - 1) == "{":  # of a lambda
                end, braces = h.partner[begin - 1], True
            if begin <= first and last <= end:
                place = self._in_block(block, begin, end, braces, first, last)
                if place:
                    return place
        for condition in statement.conditions:
            place = self._condition(*condition, first, last)
            if place:
                return place
        return self._initializer(statement, first, last)

    def _semicolons(self, h, first, last):
        """Those that stand in no brackets."""
        i = first
        while i < last:
            if h.word(i) == ";":
                yield i
            i = h.partner[i] + 1 if h.word(i) in list_mutants.OPEN else i + 1

    def _is_expression(self, first, last):
        """Whether both versions of this stretch are."""
        for h, end in ((self.shipped, last), (self.mutant, last + self.more)):
            if first >= end or not _balanced(h, first, end) or h.word(first) == "{":
                return False
            if any(True for _ in self._semicolons(h, first, end)):
                return False
            # One more declarator.
            for i in range(first, end):
                if h.word(i) == "," and h.word(i + 2) == "=":
                    return False
        return True

    def _condition(self, kind, begin, end, first, last):
        h = self.shipped
        parts = list(self._semicolons(h, begin, end))
        if kind == "for" and len(parts) != 2:
            return None
        if parts:
            begin = parts[0] + 1
        if len(parts) == 2:
            end = parts[1]
        if not (begin <= first and last <= end) or not self._is_expression(begin, end):
            return None
        if _declares(h, begin, end) or _declares(self.mutant, begin, end + self.more):
            return None
        return begin, end, "bool"

    def _initializer(self, statement, first, last):
        h = self.shipped
        if not statement.declares:
            return None
        i = statement.first
        while i < statement.last and h.word(i) != "=":
            if h.word(i) in list_mutants.OPEN or h.word(i) in (
                    "auto", "&", "static", "constexpr", "thread_local"):
                return None
            i += 1
        begin, end = i + 1, statement.last - 1
        if not (begin <= first and last <= end) or not self._is_expression(begin, end):
            return None
        kind = h.source(statement.first, i - 1)
        if kind.startswith("const ") and "*" not in kind:
            kind = kind.removeprefix("const ")
        return begin, end, kind

    def _statements(self, block, begin, end, braces, first, last):
        h = self.shipped
        touched = [i for i, s in enumerate(block)
                   if s.first < last and first < s.last]
        if not touched:
            # Inserted between two.
            if not braces or first not in {begin, end} | {
                    at for s in block for at in (s.first, s.last)}:
                return None
            low, high = first, last
        else:
            low, high = block[touched[0]].first, block[touched[-1]].last
            if not low <= first <= last <= high:
                return None
        if not braces:
            made = self._made(low, high)
            # The labels of a switch cannot be there twice.
            if {"case", "default"} & h.names(low, high):
                return None
            # A branch that is no block is one statement.
            if not made or len(made) != 1 or h.word(high) == "else" and (
                    self.mutant.word(made[0].first) == "if"):
                return None
            return low, high, "statements"
        while True:
            made = self._made(low, high)
            run = [s for s in block if low <= s.first and s.last <= high]
            if not _together(run, low, high):
                return None
            further = [s for s in block if s.first == high]
            if made is None:
                # As if a branch were taken away, but not what chooses it.
                if not further:
                    return None
                high = further[0].last
                continue
            if not any(_binds(self.shipped, s) for s in run) and not any(
                    _binds(self.mutant, s) for s in made):
                return low, high, "statements"
            # Used further on, or of a destructor that does something.
            if not further:
                return (low, high, "statements") if high == end else None
            high = block[-1].last

    def _made(self, low, high):
        """The mutant's statements for these tokens; None if they are none."""
        h = self.mutant
        high += self.more
        if not _balanced(h, low, high):
            return None
        try:
            made = h.block(low, high)
        except (ValueError, KeyError, IndexError):
            return None
        if not _together(made, low, high) or any(
                h.word(s.first) == "else" for s in made):
            return None
        return made


def _balanced(h, first, last):
    return all(first <= h.partner.get(i, i) < last for i in range(first, last))


def _declares(h, first, last):
    # pylint: disable-next=protected-access
    return h._declares(first, last)


def _together(statements, first, last):
    """Whether they are all that stands there: no label is."""
    for statement in statements:
        if statement.first != first:
            return False
        first = statement.last
    return first == last


def _binds(h, statement):
    """Whether what follows may depend on what the statement declares."""
    return statement.declares or h.word(statement.first) in DECLARES


def places(changes):
    """(first, last, kind): [the changes there]. Each lies in another, or beside it."""
    at = {change.number: change.place() for change in changes}
    again = True
    while again:
        again = False
        for one in changes:
            for other in changes:
                a, b = at[one.number], at[other.number]
                if a[0] < b[0] < a[1] < b[1]:
                    for change in (one, other):
                        at[change.number] = change.cover(a[0], b[1])
                    again = True
    found = {}
    for change in changes:
        found.setdefault(at[change.number], []).append(change)
    return found


def _written(h, found, first, last, within):
    """The text of tokens first … last - 1, with the choices of `within` in it."""
    if first == last:
        return ""
    outermost = []
    # What is inserted somewhere stands before what begins there.
    for place in sorted(within, key=lambda p: (p[0], p[0] < p[1], -p[1])):
        if not outermost or place[0] >= outermost[-1][1]:
            outermost.append(place)
    text, at = "", h.tokens[first].start
    for place in outermost:
        begin, end, kind = place
        inside = [p for p in within if p != place and begin <= p[0] and p[1] <= end and
                  (p[0] < p[1] or begin < p[0] < end)]
        start = h.tokens[begin].start if begin < end else h.tokens[begin - 1].end
        text += h.text[at:start]
        text += _choice(kind, _written(h, found, begin, end, inside),
                        [(change.number, change.text(begin, end))
                         for change in found[place]])
        at = h.tokens[end - 1].end
    return text + h.text[at:h.tokens[last - 1].end]


def _choice(kind, shipped, mutants):
    if kind == "statements":
        made = "".join(f"if ({CHOSEN.format(number)}) {{\n{new}\n}} else "
                       for number, new in mutants)
        return f"{{ {made}{{\n{shipped}\n}} }}" if shipped else (
            f"\n{made.removesuffix(' else ')}\n")
    made = "".join(f"{CHOSEN.format(number)} ? static_cast<{kind}>({new})\n: "
                   for number, new in mutants)
    return f"({made}static_cast<{kind}>({shipped}))"


def choosable(name, text, mutants):
    """`text` with every mutant in it: (number, the text that it makes)."""
    if not mutants:
        return text
    shipped = list_mutants.Header(name, text)
    changes = [Change(number, shipped, list_mutants.Header(name, new))
               for number, new in mutants]
    found = places(changes)
    made = _written(shipped, found, 0, len(shipped.tokens), list(found))
    # What stands before the first token, and behind the last.
    made = (text[:shipped.tokens[0].start] + made + text[shipped.tokens[-1].end:])
    for number, _ in mutants:
        assert made.count(CHOSEN.format(number)) == 1, number
    guard = re.search(r"^#define \w+\n", made, re.M)
    return made[:guard.end()] + '#include "test/relacy/chosen.h"\n' + made[guard.end():]


def why_alone(name, text, old, new):
    """Why a row cannot be chosen; None if nothing says so."""
    try:
        Change(0, list_mutants.Header(name, text),
               list_mutants.Header(name, replaced(text, old, new))).place()
    except NoPlace as why:
        return str(why)
    except ValueError as why:
        return f"cannot be read: {why}"
    return None


def main():
    *options, name, path = sys.argv[1:]
    text = pathlib.Path(path).read_text(encoding="utf-8")
    listed = list_mutants.mutants_of(name, text)
    if options == ["--listed"]:
        mutants = [(i, mutant.apply(text)) for i, mutant in enumerate(listed, 1)]
    else:
        rows = json.load(sys.stdin)
        by_name = {mutant.local_id: mutant for mutant in listed} if rows["listed"] else {}
        mutants = [(number, replaced(text, old, new)) for number, old, new in rows["rows"]]
        mutants += [(number, by_name[mutant].apply(text))
                    for number, mutant in rows["listed"]]
    sys.stdout.write(choosable(name, text, mutants))


if __name__ == "__main__":
    main()
