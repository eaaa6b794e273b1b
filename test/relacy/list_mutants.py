#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The mechanical list of mutants of the shipped lockless headers.

    list_mutants.py              the list: where, what, and the row that meets it
    list_mutants.py --missing    those that no row of mutants.bzl or listed.bzl meets
    list_mutants.py --show ID    what the header says, and what the mutant says

A mutant is called HEADER:FUNCTION:KIND:NUMBER, numbered from 1 in each function in
the order of the text. There are three kinds.

order    A named order is weakened by one step: acquire or release to relaxed,
         acquire-release to each of the two, sequentially consistent to
         acquire in a load, to release in a store, else to acquire-release.

swap     Two adjacent shared writes are exchanged. A statement is a shared write
         if it calls one of SHARED_WRITES, wherever in it, a loop or a branch as a
         whole. Two are adjacent if they stand in one block with nothing between
         them but statements that are none, do not jump, and of which the later
         does not use what they set. The later one may not use a local name that
         the earlier sets, or the other way round: then the language fixes the
         order. A `return` stays where it is.

recheck  A condition that looks again at what another thread may have changed is
         forced to what holds if nothing has changed:
         - the result of TryCmpxchg is taken as success; and, as a second mutant,
           the compare-and-swap is replaced by a store;
         - the result of one of TAKES is taken as success;
         - a call to one of PREDICATES answers what is written there;
         - a comparison with a shared read (a call to one of SHARED_READS), or with
           a local that was set from one, is taken for equal: "==" holds; "!=", "<"
           and the others do not. Whether a pointer is null is not compared;
         - an `if` that jumps, on a local that was read again, does not.
         PTAGE_ASSERT and `if constexpr` do not count.

Headers are those that core.h includes, what these include of page_table/ and rmap/,
and those that SEARCHES in listed.bzl names besides. The text is taken as clang-format
leaves it: spaces around a comparison, none around the brackets of a template.
"""

import argparse
import dataclasses
import difflib
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).absolute().parent.parent.parent
# Defines the orders.
NOT_SEARCHED = ["once"]

WEAKER = {
    "kAcquire": ["kRelaxed"],
    "kRelease": ["kRelaxed"],
    "kAcqRel": ["kAcquire", "kRelease"],
    "kSeqCst": ["kAcqRel"],
}
SEQ_CST_WEAKER = {"ReadOnce": ["kAcquire"], "WriteOnce": ["kRelease"]}

# What another thread may see, or take for a sign that it may go on.
SHARED_WRITES = {
    # once.h
    "WriteOnce", "TryCmpxchg", "FetchAdd", "Set",
    # lock.h and rmap/head_lock.h
    "Lock", "Unlock", "LockHead", "UnlockHead",
    # spte.h and memory.h
    "Install", "Freeze", "Restore", "Publish", "Empty", "ZapSeen", "RecordFrame",
    # page_table/*.h
    "Take", "PutBack", "CloseTable", "RetireTable",
    # rmap/*.h
    "Fill", "Push",
    # sim/*.h
    "Mark", "Request", "Acknowledge",
    # handing over: to the reclaimer, to the allocator, to the caller
    "Retire", "Free", "flush", "Flush", "sink",
}
SHARED_READS = {
    "ReadOnce", "ReadEntry", "ReadSettled", "RecordedFrame", "FetchAdd", "Take",
    "LockHead", "Own", "Read",
}
# A compare-and-swap, by what it does to an entry.
TAKES = {"Install", "Freeze", "ZapSeen", "Mark", "Replace"}
# What they answer if nothing has changed.
PREDICATES = {
    "belongs": "true",
    "RecordsFrame": "true",
    "IsFrozen": "false",
    "MustRetry": "false",
    "Changed": "false",
    "IsHere": "true",
    "StillIn": "true",
}

TOKEN = re.compile(
    r"(?P<skip>\s+|//[^\n]*|/\*.*?\*/|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*)"
    r"|(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)+')"
    r"|(?P<number>\d(?:'?[\w.])*)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<mark>->\*?|::|\.\.\.|[=!<]=|>=|&&|\|\||<<|\+\+|--|[-+*/%&|^]=|.)",
    re.S | re.M)
OPEN = {"(": ")", "[": "]", "{": "}"}
COMPARISONS = {"==", "!=", "<", ">", "<=", ">="}
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="}
JUMPS = {"return", "continue", "break", "goto"}
# What ends an operand of a comparison: all that binds less.
ENDS = {"&&", "||", "?", ":", ",", ";", "return", "{", "}"} | ASSIGNMENTS


@dataclasses.dataclass
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclasses.dataclass
class Statement:
    """Tokens first … last - 1. `blocks` are the statement lists inside it."""
    first: int
    last: int
    blocks: list
    declares: bool = False
    # Token ranges of the conditions, and what each branch is.
    conditions: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Mutant:
    header: str
    function: str
    kind: str
    number: int
    line: int
    what: str
    # (start, end, new text) of the header's text, in order.
    edits: list

    @property
    def id(self):
        return f"{self.header}:{self.local_id}"

    @property
    def local_id(self):
        return f"{self.function}:{self.kind}:{self.number}"

    def apply(self, text):
        for start, end, new in sorted(self.edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text


def tokenize(text):
    tokens = []
    for match in TOKEN.finditer(text):
        if match.lastgroup != "skip":
            tokens.append(Token(match.lastgroup, match.group(), match.start(),
                                match.end()))
    return tokens


class Header:
    """A header's text, taken apart."""

    def __init__(self, name, text):
        self.name = name
        self.text = text
        self.tokens = tokenize(text)
        self.partner = {}
        self._match()
        # (name, first, last): the tokens of each body, braces included.
        self.functions = []
        self._scope(0, len(self.tokens))

    def _match(self):
        stack = []
        for i, token in enumerate(self.tokens):
            if token.kind != "mark":
                continue
            if token.text in OPEN:
                stack.append(i)
            elif token.text in OPEN.values():
                opening = stack.pop()
                if OPEN[self.tokens[opening].text] != token.text:
                    raise ValueError(f"{self.name}: unbalanced at {token.start}")
                self.partner[opening] = i
                self.partner[i] = opening
        if stack:
            raise ValueError(f"{self.name}: unbalanced")

    def word(self, i):
        return self.tokens[i].text if 0 <= i < len(self.tokens) else ""

    def _past_template(self, i):
        """Behind the `<…>` whose `<` is at i."""
        depth = 0
        while i < len(self.tokens):
            if self.word(i) in ("(", "[", "{"):
                i = self.partner[i]
            elif self.word(i) == "<":
                depth += 1
            elif self.word(i) == ">":
                depth -= 1
                if depth == 0:
                    return i + 1
            i += 1
        raise ValueError(f"{self.name}: a template that does not end")

    def _scope(self, first, last):
        """Finds the function bodies among the declarations first … last - 1."""
        begin = i = first
        while i < last:
            word = self.word(i)
            if word == ";" or (word == ":" and self.word(i - 1) in
                               ("public", "private", "protected")):
                i += 1
                begin = i
            elif word in ("(", "["):
                i = self.partner[i] + 1
            elif word == "template" and self.word(i + 1) == "<":
                after = self._past_template(i + 1)
                if begin == i:
                    begin = after
                i = after
            elif word == "{":
                end = self.partner[i]
                if self._brace(begin, i, end):
                    begin = end + 1
                i = end + 1
            else:
                i += 1

    def _brace(self, begin, at, end):
        """Handles `{` at `at`; true if what it belongs to ends with its `}`."""
        words = []
        i = begin
        parameters = None
        while i < at:
            if self.word(i) in ("(", "["):
                if self.word(i) == "(" and parameters is None and (
                        self.word(i - 1) not in ("alignas", "requires")):
                    parameters = i
                i = self.partner[i]
            else:
                words.append(self.word(i))
            i += 1
        if {"class", "struct", "namespace", "union"} & set(words):
            self._scope(at + 1, end)
            return False if words[0] != "namespace" else True
        if "=" in words or {"enum", "concept"} & set(words) or parameters is None:
            return False
        name = self.word(parameters - 1)
        if self.word(parameters - 2) == "~":
            name = "Destroy"
        elif name in ("=", "(", "*"):
            name = "Operator"
        self.functions.append((name, at, end))
        return True

    # --- statements

    def block(self, first, last):
        """The statements of tokens first … last - 1."""
        statements = []
        i = first
        while i < last:
            if self.word(i) == "case":
                while self.word(i) != ":":
                    i += 1
                i += 1
                continue
            if self.word(i) == "default" and self.word(i + 1) == ":":
                i += 2
                continue
            statement = self.statement(i)
            statements.append(statement)
            i = statement.last
        return statements

    def statement(self, i):
        word = self.word(i)
        if word == "{":
            end = self.partner[i]
            return Statement(i, end + 1, [self.block(i + 1, end)])
        if word in ("if", "while", "for", "switch"):
            return self._controlled(i)
        if word == "else":
            inner = self.statement(i + 1)
            return Statement(i, inner.last, [[inner]])
        if word == "do":
            inner = self.statement(i + 1)
            condition = inner.last + 1
            end = self.partner[condition]
            return Statement(i, end + 2, [[inner]],
                             conditions=[("do", condition + 1, end)])
        return self._simple(i)

    def _controlled(self, i):
        kind = self.word(i)
        at = i + 1
        constant = self.word(at) == "constexpr"
        if constant:
            at += 1
        end = self.partner[at]
        conditions = []
        if not constant:
            conditions.append((kind, at + 1, end))
        blocks = self._lambdas(at + 1, end)
        inner = self.statement(self._past_attribute(end + 1))
        blocks.append([inner])
        last = inner.last
        if kind == "if" and self.word(last) == "else":
            other = self.statement(last)
            blocks.append([other])
            last = other.last
        return Statement(i, last, blocks, conditions=conditions)

    def _past_attribute(self, i):
        while self.word(i) == "[" and self.word(i + 1) == "[":
            i = self.partner[i] + 1
        return i

    def _simple(self, i):
        end = i
        while self.word(end) != ";":
            if end >= len(self.tokens):
                raise ValueError(f"{self.name}: a statement that does not end")
            end = self.partner[end] if self.word(end) in OPEN else end
            end += 1
        return Statement(i, end + 1, self._lambdas(i, end),
                         declares=self._declares(i, end))

    def _declares(self, i, end):
        """Whether i … end - 1 declare a local: two names in a row, or `T& x`."""
        if self.word(i) in JUMPS | {"using", "static_assert", "delete"}:
            return False
        j = i
        while j < end:
            if self.word(j) in ("const", "auto", "static", "constexpr"):
                return True
            if self.word(j) == "::":
                j += 1
                continue
            if self.tokens[j].kind != "name" or self.word(j) == "typename":
                if self.word(j) != "typename":
                    return False
                j += 1
                continue
            j += 1
            if self.word(j) == "<" and self.tokens[j].start == self.tokens[j - 1].end:
                j = self._past_template(j)
            if self.word(j) == "::":
                continue
            while self.word(j) in ("*", "&", "const"):
                j += 1
            return j < end and self.tokens[j].kind == "name" and (
                self.word(j) not in ("and", "or"))
        return False

    def _lambdas(self, first, last):
        """The bodies of the lambdas among these tokens, each a statement list."""
        bodies = []
        i = first
        while i < last:
            if self.word(i) == "[" and not (
                    self.tokens[i - 1].kind in ("name", "string") or
                    self.word(i - 1) in (")", "]")) or (
                    self.word(i) == "[" and self.word(i - 1) == "return"):
                j = self.partner[i] + 1
                if self.word(j) == "(":
                    j = self.partner[j] + 1
                while j < last and self.word(j) not in ("{", ",", ")", ";"):
                    j += 1
                if self.word(j) == "{":
                    bodies.append(self.block(j + 1, self.partner[j]))
                    i = self.partner[j]
            i += 1
        return bodies

    # --- what a stretch of tokens says

    def names(self, first, last):
        return {t.text for t in self.tokens[first:last] if t.kind == "name"}

    def calls(self, first, last, called):
        """(name, call begin, `(`, `)`) of each call to one of `called`.

        The call begins with its name, or with what qualifies it.
        """
        for i in range(first, last):
            if self.tokens[i].kind != "name" or self.word(i) not in called:
                continue
            opening = i + 1
            if self.word(opening) == "<" and (
                    self.tokens[opening].start == self.tokens[i].end):
                opening = self._past_template(opening)
            if self.word(opening) != "(":
                continue
            if self.word(i) == "Empty" and self.word(i + 1) == "(" and (
                    self.word(opening + 1) == ")"):
                continue  # asks a range or a word whether it is empty
            begin = i
            while self.word(begin - 1) in (".", "->", "::"):
                begin -= 1
                if self.word(begin - 1) in (")", "]"):
                    begin = self.partner[begin - 1]
                if self.tokens[begin - 1].kind == "name":
                    begin -= 1
            yield self.word(i), begin, opening, self.partner[opening]

    def sets(self, statement):
        """Local names that the statement sets, and those that it declares."""
        names = set()
        for i in range(statement.first, statement.last):
            word = self.word(i)
            if self.tokens[i].kind == "name":
                if self.word(i + 1) in ASSIGNMENTS | {"++", "--"}:
                    names.add(word)
                elif self.word(i - 1) in ("++", "--") and (
                        self.word(i + 1) not in (".", "->")):
                    names.add(word)
        if statement.declares:
            for i in range(statement.first, statement.last):
                if self.tokens[i].kind == "name" and self.word(i + 1) in (
                        "=", "(", ";", "{"):
                    names.add(self.word(i))
                    break
        return names

    def writes(self, statement):
        return any(True for _ in self.calls(statement.first, statement.last,
                                            SHARED_WRITES))

    def source(self, first, last):
        """The text of tokens first … last - 1."""
        return self.text[self.tokens[first].start:self.tokens[last - 1].end]


def _walk(statements):
    for statement in statements:
        yield statement
        for block in statement.blocks:
            yield from _walk(block)


def _blocks(statements):
    yield statements
    for statement in statements:
        for block in statement.blocks:
            yield from _blocks(block)


class Lister:
    """Makes the mutants of one header."""

    def __init__(self, header):
        self.header = header
        self.found = []  # (position, function, kind, what, edits)

    def list(self):
        for name, first, last in self.header.functions:
            asserts = self._asserts(first, last)
            statements = self.header.block(first + 1, last)
            self._orders(name, first, last)
            for block in _blocks(statements):
                self._swaps(name, block)
            self._rechecks(name, first, last, statements, asserts)
        return self._numbered()

    def _numbered(self):
        counts = {}
        mutants = []
        self.found.sort(key=lambda f: f[0])
        for position, function, kind, what, edits in self.found:
            number = counts.get((function, kind), 0) + 1
            counts[(function, kind)] = number
            line = self.header.text.count("\n", 0, position) + 1
            mutants.append(Mutant(self.header.name, function, kind, number, line,
                                  what, edits))
        return mutants

    def _add(self, function, kind, what, first, last, new):
        """Tokens first … last - 1 become `new`, an expression."""
        tokens = self.header.tokens
        start, end = tokens[first].start, tokens[last - 1].end
        what = " ".join(what.split())
        self.found.append((start, function, kind, what, [(start, end, new)]))

    def _asserts(self, first, last):
        return [(o, c) for _, _, o, c in self.header.calls(
            first, last, {"PTAGE_ASSERT", "static_assert"})]

    # --- orders

    def _orders(self, function, first, last):
        h = self.header
        for i in range(first, last):
            if h.word(i) not in WEAKER:
                continue
            # The call whose last argument it is.
            opening = i
            while h.word(opening) != "(":
                opening = h.partner[opening] if h.word(opening) in (
                    ")", "]", "}") else opening
                opening -= 1
            begin = opening - 1
            closing = h.partner[opening]
            weaker_orders = WEAKER[h.word(i)]
            if h.word(i) == "kSeqCst":
                weaker_orders = SEQ_CST_WEAKER.get(h.word(begin), weaker_orders)
            for weaker in weaker_orders:
                token = h.tokens[i]
                call_start = h.tokens[begin].start
                call_end = h.tokens[closing].end
                mutated = (h.text[call_start:token.start] + weaker +
                           h.text[token.end:call_end])
                self.found.append((
                    token.start, function, "order",
                    f"{h.word(i)} -> {weaker}: {' '.join(mutated.split())}",
                    [(token.start, token.end, weaker)]))

    # --- swaps

    def _jumps(self, statement):
        return bool(self.header.names(statement.first, statement.last) & JUMPS)

    def _swaps(self, function, block):
        h = self.header
        for i, earlier in enumerate(block):
            if not h.writes(earlier) or h.word(earlier.first) == "return":
                continue
            for j in range(i + 1, len(block)):
                later = block[j]
                if h.writes(later):
                    if self._swappable(block[i:j + 1]):
                        self._swap(function, earlier, later)
                    break
                if self._jumps(later):
                    break

    def _swappable(self, stretch):
        h = self.header
        later = stretch[-1]
        if h.word(later.first) in ("return", "else") or later.declares and (
                stretch[0].declares):
            return False
        uses = h.names(later.first, later.last)
        sets = h.sets(later)
        for other in stretch[:-1]:
            if h.sets(other) & uses or sets & h.names(other.first, other.last):
                return False
        return True

    def _swap(self, function, earlier, later):
        h = self.header
        a = h.tokens[earlier.first].start, h.tokens[earlier.last - 1].end
        b = h.tokens[later.first].start, h.tokens[later.last - 1].end
        first, second = h.text[a[0]:a[1]], h.text[b[0]:b[1]]
        if later.declares:
            # The earlier one moves down.
            edits = [(a[0], a[1], ""), (b[1], b[1], "\n" + first)]
        else:
            edits = [(a[0], a[0], second + "\n"), (b[0], b[1], "")]
        what = f"{_short(second)} before {_short(first)}"
        self.found.append((a[0], function, "swap", what, edits))

    # --- re-checks

    def _rechecks(self, function, first, last, statements, asserts):
        h = self.header

        def counts(i):
            return not any(o < i < c for o, c in asserts)

        for name, begin, opening, closing in h.calls(
                first, last, {"TryCmpxchg"} | TAKES | set(PREDICATES)):
            if not counts(begin):
                continue
            call = h.source(begin, closing + 1)
            if name in PREDICATES:
                answer = PREDICATES[name]
                self._add(function, "recheck", f"{answer} for {call}", begin,
                          closing + 1, answer)
                continue
            self._add(function, "recheck", f"taken as success: {call}", begin,
                      closing + 1, f"({call}, true)")
            if name == "TryCmpxchg":
                self._store(function, begin, opening, closing)
        self._comparisons(function, first, last, counts)
        self._read_again(function, first, statements)

    def _arguments(self, opening, closing):
        arguments = []
        begin = i = opening + 1
        while i < closing:
            if self.header.word(i) in OPEN:
                i = self.header.partner[i]
            elif self.header.word(i) == "," :
                arguments.append((begin, i))
                begin = i + 1
            i += 1
        arguments.append((begin, closing))
        return arguments

    def _store(self, function, begin, opening, closing):
        h = self.header
        cell, _, desired, order = _four(h, self._arguments(opening, closing))
        if order in ("kAcquire", "kRelaxed"):
            order = "kRelaxed"
        else:
            order = "kRelease"
        new = f"(WriteOnce({cell}, {desired}, {order}), true)"
        self._add(function, "recheck", f"by a store: {new}", begin, closing + 1,
                  new)

    def _declared(self, first, at, name):
        """Where the local `name` that is meant at `at` was declared."""
        h = self.header
        for i in range(at - 1, first, -1):
            if h.word(i) == name and h.word(i + 1) in ("=", ";", "{", "(") and (
                    h.tokens[i - 1].kind == "name" or h.word(i - 1) in "&*>") and (
                    h.word(i - 1) not in JUMPS):
                return i
        return first

    def _from_reads(self, first, last):
        """Locals that are set from a shared read: (name, declared): from where."""
        h = self.header
        read = {}
        for i in range(first, last):
            if h.tokens[i].kind != "name" or h.word(i + 1) != "=":
                continue
            end = i + 2
            lambdas = False
            while end < last and h.word(end) not in (";", ",", ")", "]", "}"):
                lambdas |= h.word(end) == "{"
                end = h.partner[end] if h.word(end) in OPEN else end
                end += 1
            if not lambdas and any(True for _ in h.calls(i + 2, end, SHARED_READS)):
                declared = self._declared(first, i + 1, h.word(i))
                read.setdefault((h.word(i), declared), end)
        return read

    def _comparisons(self, function, first, last, counts):
        h = self.header
        read = self._from_reads(first, last)
        for i in range(first + 1, last):
            word = h.word(i)
            if word not in COMPARISONS or h.tokens[i].kind != "mark":
                continue
            if not counts(i) or h.text[h.tokens[i].start - 1] not in " \n":
                continue
            if h.word(i - 1) in ("template", "operator"):
                continue
            begin, end = self._left(i), self._right(i)
            names = h.names(begin, end)
            if "nullptr" in names:
                continue
            shared = any(True for _ in h.calls(begin, end, SHARED_READS)) or any(
                name in names and at <= i and
                self._declared(first, i, name) == declared
                for (name, declared), at in read.items())
            if not shared:
                continue
            answer = "true" if word == "==" else "false"
            self._add(function, "recheck", f"{answer} for {h.source(begin, end)}",
                      begin, end, answer)

    def _left(self, i):
        h = self.header
        while True:
            word = h.word(i - 1)
            if word in (")", "]"):
                i = h.partner[i - 1]
            elif word in ENDS or word in ("(", "["):
                return i
            else:
                i -= 1

    def _right(self, i):
        h = self.header
        i += 1
        while True:
            word = h.word(i)
            if word in OPEN:
                i = h.partner[i] + 1
            elif word in ENDS or word in (")", "]"):
                return i
            else:
                i += 1

    def _read_again(self, function, first, statements):
        """An `if` that jumps on a local that was assigned from a shared read."""
        h = self.header
        again = {}
        for statement in _walk(statements):
            i = statement.first
            if statement.declares or h.word(i + 1) != "=" or (
                    h.tokens[i].kind != "name"):
                continue
            if any(True for _ in h.calls(i + 2, statement.last, SHARED_READS)):
                declared = self._declared(first, i, h.word(i))
                again.setdefault((h.word(i), declared), i)
        for statement in _walk(statements):
            if h.word(statement.first) != "if" or not statement.conditions:
                continue
            _, begin, end = statement.conditions[0]
            names = h.names(begin, end)
            if not any(name in names and at < begin and
                       self._declared(first, begin, name) == declared
                       for (name, declared), at in again.items()):
                continue
            body = statement.blocks[-1][0]
            if h.word(body.first) not in JUMPS:
                continue
            self._add(function, "recheck", f"false for {h.source(begin, end)}",
                      begin, end, "false")


def _four(header, arguments):
    if len(arguments) != 4:
        raise ValueError(f"{header.name}: TryCmpxchg takes four arguments")
    return [header.source(a, b) for a, b in arguments]


def _short(text):
    text = " ".join(text.split())
    return text if len(text) < 60 else text[:57] + "..."


def mutants_of(name, text):
    return Lister(Header(name, text)).list()


def headers():
    """Names, without ".h", of the headers that are to be listed."""
    include = TOP / "include" / "ptage"
    names = set(re.findall(r'#include "ptage/([^"]+)\.h"',
                           (include / "core.h").read_text()))
    for name in sorted(names):
        names |= set(re.findall(r'#include "ptage/((?:page_table|rmap)/[^"]+)\.h"',
                                (include / f"{name}.h").read_text()))
    return sorted((names | set(starlark("listed.bzl")["SEARCHES"])) -
                  set(NOT_SEARCHED))


def text_of(name):
    return (TOP / "include" / "ptage" / f"{name}.h").read_text()


def all_mutants():
    """header: its mutants."""
    return {name: mutants_of(name, text_of(name)) for name in headers()}


def starlark(name):
    """What a .bzl file of this folder defines: it is also Python."""
    scope = {}
    # pylint: disable-next=exec-used
    exec((TOP / "test" / "relacy" / name).read_text(), scope)
    return scope


def _squeeze(text):
    """The tokens alone: rows are not wrapped as clang-format would."""
    return [token.text for token in tokenize(text)]


def planted():
    """header: what the rows of mutants.bzl make of it, and their names."""
    made = {}
    for key, rows in starlark("mutants.bzl")["MUTANTS"].items():
        header = key.split("@")[0]
        text = text_of(header)
        for name, _, _, old, new, *_ in rows:
            made.setdefault(header, []).append((name, text.replace(old, new)))
    return made


def meet():
    """mutant id: (the mutant, what meets it), None for the latter if nothing does."""
    scope = starlark("listed.bzl")
    listed = {f'{key.split("@")[0]}:{name}': row
              for key, rows in scope["LISTED"].items() for name, row in rows.items()}
    struck = {name for _, names in scope["STRUCK"] for name in names}
    rows = planted()
    met = {}
    for header, mutants in all_mutants().items():
        text = text_of(header)
        others = [(name, _squeeze(new)) for name, new in rows.get(header, [])]
        for mutant in mutants:
            by = None
            if mutant.id in listed:
                by = "; ".join(listed[mutant.id])
            elif mutant.id in struck:
                by = "struck"
            else:
                same = _squeeze(mutant.apply(text))
                by = next((name for name, new in others if new == same), None)
            met[mutant.id] = (mutant, by)
    return met


def properties():
    """What searches state by name, what the headers assert, and "DATA RACE"."""
    text = "".join(path.read_text()
                   for path in sorted((TOP / "test" / "relacy").glob("*.h")))
    asserted = set()
    for header in headers():
        of = text_of(header)
        for call in re.finditer(r"\bPTAGE_ASSERT\(", of):
            depth, end = 1, call.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(of[end], 0)
                end += 1
            asserted.add("assertion: " + " ".join(of[call.end():end - 1].split()))
    text = re.sub(r'"\s*\n\s*"', "", text)
    stated = set()
    for call in re.finditer(r"\bRequire\(", text):
        depth, end, strings = 1, call.end(), []
        while depth:
            quoted = re.compile(r'"((?:[^"\\\n]|\\.)*)"').match(text, end)
            if quoted:
                strings.append(quoted.group(1))
                end = quoted.end()
                continue
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        stated |= set(strings[-1:])
    return stated | asserted | {"DATA RACE"}


def missing():
    return [mutant for mutant, by in meet().values() if by is None]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--show", metavar="ID")
    options = parser.parse_args()
    if options.show:
        mutant = meet()[options.show][0]
        before = text_of(mutant.header)
        sys.stdout.writelines(difflib.unified_diff(
            before.splitlines(True), mutant.apply(before).splitlines(True),
            f"{mutant.header}.h", mutant.id))
        return 0
    unmet = 0
    for mutant, by in meet().values():
        unmet += by is None
        if by is None or not options.missing:
            print(f"{mutant.id}  {mutant.header}.h:{mutant.line}  {mutant.what}"
                  f"  [{by or 'nothing meets it'}]")
    return 1 if options.missing and unmet else 0


if __name__ == "__main__":
    sys.exit(main())
