# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks the numbered atomic sites of the headers, and docs/memory_orders.md.

    python3 .ci/check_sites.py           fails if something below does not hold
    python3 .ci/check_sites.py --write   writes docs/memory_orders.md first

A header lists its sites at the top, under "// Sites":

    //   [unit.N] ORDER OPERATION in FUNCTION  · partners, or "none: why"

The code carries a comment `// [unit.N] ORDER, pairs with [unit.N]: why` above each.
Every site that is listed stands in the code of the same header, every one in the code
is listed once, and every reference, in whatever header, is to a listed one. The order
is the same in the list, in the comment and in the statement below it, which stands in
that function. Each site says why, or one of its partners does.
"""

import dataclasses
import pathlib
import re
import sys

HEADERS = pathlib.Path("include/ptage")
TABLE = pathlib.Path("docs/memory_orders.md")
SITE = re.compile(r"\[([a-z_]+\.\d+)\]")
# As they are written, and as the code names them.
ORDERS = {
    "relaxed": "kRelaxed",
    "acquire": "kAcquire",
    "release": "kRelease",
    "acquire-release": "kAcqRel",
    "sequentially consistent": "kSeqCst",
}
ORDER = "(" + "|".join(sorted(ORDERS, key=len, reverse=True)) + ")"
LISTED = re.compile(
    ORDER + r" (.+?) in ([A-Z]\w+(?:, [A-Z]\w+)*|[a-z]\w+)\b,? ?(.*)")
BARE = r"\1"
SITES = r"\[[a-z_]+\.\d+\](?:(?:,| and|, and) \[[a-z_]+\.\d+\])*"
COMMENT = re.compile(rf"{ORDER}(?:, pairs with {SITES})?"
                     rf"(?:[;,] and (?:as an? [a-z]+ )?with {SITES})?(?:[:.;,] ?|$)")


@dataclasses.dataclass
class Comment:
    """The flat text at a site, the statement below, and the function it is in."""
    text: str
    statement: str
    function: str


@dataclasses.dataclass
class Site:
    """A line of a header's list, and the comments that stand in its code."""
    name: str
    path: pathlib.Path
    text: str = ""
    partner: str = ""
    comments: list = dataclasses.field(default_factory=list)

    @property
    def parts(self):
        """Order, operation, function, and what else is said of it."""
        found = LISTED.fullmatch(self.text)
        return found.groups() if found else None

    @property
    def why(self):
        """The longest reason that a comment gives."""
        reasons = [COMMENT.sub("", comment.text, count=1)
                   for comment in self.comments]
        return max(reasons, key=len, default="")


def add_to_list(site, line, column):
    """A line of the list: left of `column` what it is, from there the partners."""
    left, dot, right = line.partition("·")
    if dot:
        column = len(left)
    elif column is not None and not line[:column].strip():
        left, right = "", line
    elif column is not None:
        left, right = line[:column], line[column:]
    site.text = f"{site.text} {left.strip()}".strip()
    site.partner = f"{site.partner} {right.strip()}".strip()
    return column


def comment_at(lines, start):
    """The comment of a site that begins at a line."""
    words = []
    at = start
    shown = False
    while at < len(lines) and re.match(r"\s*//", lines[at]):
        line = re.sub(r"^\s*// ?", "", lines[at])
        if at > start and re.match(r"\[[a-z_]+\.\d+\] " + ORDER, line):
            break
        # An interleaving, in columns, which is not for a table.
        shown = shown or " | " in line
        if not shown:
            words.append(line.strip())
        at += 1
    text = " ".join(words)
    if shown:
        text = re.sub(r"[,:.]?( Else| Were it relaxed)?[,:]?$", "", text)
        text += " (what would go wrong else: see there)."
    statement = []
    while at < len(lines):
        if not re.match(r"\s*//", lines[at]):
            statement.append(lines[at].strip())
            if lines[at].endswith((";", "}")):
                break
        at += 1
    return Comment(SITE.sub("", text, count=1).strip(), " ".join(statement),
                   function_around(lines, start))


def function_around(lines, start):
    """The name of the function that a line is in."""
    for indent in (0, 2, 4):
        head = start - 1
        while not re.match(" " * indent + r"[A-Za-z~\[]", lines[head]):
            head -= 1
        if re.match(r" *(class|struct|namespace|template)\b", lines[head]):
            continue
        names = re.findall(r"(\w+)\(", "".join(lines[head:start]))
        return names[0] if names else ""
    return ""


def read_headers():
    """The sites by name, all references with their places, and problems."""
    sites = {}
    used = []
    references = []
    problems = []
    for path in sorted(HEADERS.rglob("*.h")):
        lines = path.read_text().splitlines()
        in_list = False
        site = column = None
        for number, line in enumerate(lines):
            place = f"{path}:{number + 1}"
            names = SITE.findall(line)
            if line.startswith("// Sites"):
                in_list, site = True, None
                continue
            if in_list and not line.startswith("//   "):
                in_list = False
            if in_list:
                defined = re.match(r"//   \[([a-z_]+\.\d+)\] ", line)
                if defined:
                    name = defined.group(1)
                    if name in sites:
                        problems.append(f"{place}: [{name}] is listed twice")
                    site = sites[name] = Site(name, path)
                    line = line[:5] + " " * (len(name) + 2) + line[
                        len(name) + 7:]
                    names = names[1:]
                    column = None
                if site:
                    column = add_to_list(site, "  " + line[2:], column)
            elif match := re.match(r"\s*// \[([a-z_]+\.\d+)\] " + ORDER, line):
                used.append((match.group(1), place, path,
                             comment_at(lines, number)))
            references += [(name, place) for name in names]
    for name, place, path, comment in used:
        if name in sites and sites[name].path == path:
            sites[name].comments.append(comment)
        elif name in sites:
            problems.append(f"{place}: [{name}] is listed in {sites[name].path}")
    problems += [f"{place}: [{name}] is not listed anywhere"
                 for name, place in references if name not in sites]
    return sites, references, problems


def partners_of(sites):
    """Those that each site names, and those that name it."""
    partners = {name: [] for name in sites}
    for site in sites.values():
        if re.fullmatch(SITES, site.partner):
            for name in SITE.findall(site.partner):
                for one, other in ((site.name, name), (name, site.name)):
                    if one in partners and other not in partners[one]:
                        partners[one].append(other)
    for names in partners.values():
        names.sort(key=lambda name: (name.partition(".")[0],
                                     int(name.partition(".")[2])))
    return partners


def problems_of(site, sites, partners):
    where = f"{site.path}: [{site.name}]"
    if not site.comments:
        yield f"{where} is listed, but not in the code"
        return
    if not site.parts:
        yield f"{where} is not “ORDER OPERATION in FUNCTION”: {site.text}"
        return
    order, _, functions, _ = site.parts
    for comment in site.comments:
        if re.match(ORDER, comment.text).group(1) != order:
            yield f"{where}: {order} in the list, but the code says: {comment.text}"
        if ORDERS[order] not in comment.statement:
            yield f"{where}: {order}, but the code is: {comment.statement}"
        if comment.function not in functions.split(", "):
            yield f"{where} is in {comment.function}, not in {functions}"
    if not site.partner:
        yield f"{where} names no partner, and does not say why"
    if not site.why and not any(
            sites[name].why for name in partners[site.name] if name in sites):
        yield f"{where}: neither it nor a partner of it says why"


def unlinked(text):
    """As a table has it: without brackets, and not beside the code."""
    text = re.sub(r"\bsee ([\d and]+) above", r"see \1 there", text)
    return SITE.sub(BARE, text[:1].upper() + text[1:])


INTRODUCTION = """\
# Memory orders

Every place where the library orders memory, made from the headers by `python3 .ci/check_sites.py --write`. It is not for editing: the list at
the top of a header and the comment above each site are. The same script, in [CI](../.ci/run), fails when this page is out of date, when a
site's order differs between the list, the comment and the statement, when a partner does not exist, or when neither end says why.

A site is `unit.N`. Its *partner* is the site on the other side: what was written before a release is seen after an acquire that reads what it
wrote. Relaxed sites that publish nothing have none; other relaxed accesses are not numbered. There are no fences, but for one barrier on ARM
([why](decisions.md#entries-and-tables)). What comes of a weaker order is not left to reading: [searches.md](searches.md) lists each mutant, and
what catches it.
"""


def table(sites, partners):
    """docs/memory_orders.md."""
    pieces = [INTRODUCTION]
    counts = {order: sum(site.parts[0] == order for site in sites.values())
              for order in ORDERS}
    pieces.append("| order | sites |\n| --- | ---: |\n" + "".join(
        f"| {order} | {count} |\n" for order, count in counts.items()))
    for path in dict.fromkeys(site.path for site in sites.values()):
        pieces.append(f"## `{path.relative_to(HEADERS)}`\n")
        rows = ["| site | order, operation | in | partner | why |",
                "| --- | --- | --- | --- | --- |"]
        for site in sites.values():
            if site.path != path:
                continue
            order, operation, functions, more = site.parts
            names = partners[site.name]
            partner, why = ", ".join(names), site.why
            if not names:
                partner, _, reason = site.partner.partition(": ")
                if reason and reason.rstrip(".") not in why:
                    why = f"{why} {reason[0].upper()}{reason[1:]}.".strip()
            if not why:
                explained = next(name for name in names if sites[name].why)
                why = f"see {explained}"
            functions = ", ".join(f"`{name}`" for name in functions.split(", "))
            rows.append(f"| {site.name} | {order} {operation} | {functions}"
                        f"{', ' * (more[:1] not in ('', '('))}"
                        f"{' ' * more.startswith('(')}{more} | {SITE.sub(BARE, partner)} | "
                        f"{unlinked(why)} |")
        pieces.append("\n".join(rows) + "\n")
    return "\n".join(pieces)


def main():
    arguments = sys.argv[1:]
    if arguments not in ([], ["--write"]):
        print("usage: check_sites.py [--write]", file=sys.stderr)
        return 2
    sites, references, problems = read_headers()
    partners = partners_of(sites)
    for site in sites.values():
        problems += problems_of(site, sites, partners)
    if not problems:
        text = table(sites, partners)
        if arguments:
            TABLE.write_text(text)
        elif not TABLE.exists() or TABLE.read_text() != text:
            problems.append(f"{TABLE} is out of date: "
                            "run python3 .ci/check_sites.py --write")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(sites)} sites, {len(references)} references")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
