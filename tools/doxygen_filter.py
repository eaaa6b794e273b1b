# SPDX-License-Identifier: MIT OR Apache-2.0
"""A header as Doxygen wants it, line for line, for tools/reference.

The project's comments are plain ones; which of them document something follows from
where they stand:

  * the block at the top of a file documents the file;
  * a block right above a declaration documents it, and those that follow without an
    empty line or a comment of their own; of a type, not its members;
  * a comment behind an enumerator, a member or a macro documents that one;
  * a class that has the header's name is what the header is about, and has its summary;
  * a member that a concept asks for is as the concept says, where the header has all
    that the concept asks for;
  * a constructor, a comparison of all members, a conversion to bool and an alias need
    say nothing.

Comments in bodies stay as they are. From the line "Contract" on, and in lines that
are indented or in columns, spaces and line ends are kept.
"""

import re

COMMENT = re.compile(r"( *)//(?: (.*))?$")
BEHIND = re.compile(r"(.*\S) {2,}// (.*)$")
DELETED = re.compile(r".*= delete;$|.*operator=\(.*$|.*\(const \w+&\)")
# What opens a scope whose contents are declared, not run.
SCOPE = re.compile(r"(inline |extern )?(namespace|class|struct|enum|union)\b")
TEMPLATE = re.compile(r"^\s*template\s*<(?:[^<>]|<(?:[^<>]|<[^<>]*>)*>)*>\s*")


def escaped(text):
    """Without anything that Doxygen would take for a command."""
    text = re.sub(r'([\\@&$#<>%"~])', r"\\\1", text)
    return re.sub(r"::", r"\\::", text)


def documented(texts):
    """The lines of a block, with what is in columns kept so."""
    kept = [text.startswith("  ") or " | " in text for text in texts]
    lines = []
    for at, text in enumerate(texts):
        if not kept[at]:
            lines.append(escaped(text))
            continue
        first = at == 0 or not kept[at - 1]
        last = at + 1 == len(texts) or not kept[at + 1]
        lines.append(("@verbatim " if first else "") + text +
                     (" @endverbatim" if last else ""))
    return lines


def names_of_concepts(texts):
    """The concepts in some headers: of each the names that it asks for."""
    found = {}
    for text in texts:
        for name, body in re.findall(r"^concept (\w+) =(.*?);\n\n", text,
                                     re.M | re.S):
            body = re.sub(r"//.*|\b(std|internal)::(template )?\w+", "", body)
            found[name] = set(re.findall(r"(?:::|\.)(?:template )?(\w+)", body))
    return found


def modelled(concepts, lines):
    """The names that a header's types have for a concept's sake, each with the concept:
    of those that it has everything for, the one that asks for the most."""
    words = set(re.findall(r"\w+", re.sub(r"//.*", "", "\n".join(lines))))
    found = {}
    for concept in sorted(concepts, key=lambda name: len(concepts[name])):
        if concepts[concept] <= words:
            found.update(dict.fromkeys(concepts[concept], concept))
    return found


def declared_name(line):
    """What a line declares: a function, a type, a constant; None if it is not seen."""
    line = TEMPLATE.sub("", line.strip())
    line = re.sub(r"\[\[[^\]]*\]\] ?", "", line)
    match = (re.match(r"using (\w+) =", line) or re.match(
        r"(?:class|struct|enum class|enum) (\w+)", line) or re.match(
            r"[^=(;]*?(\w+)(?:\(|\s*=|\s*\{|;)", line))
    return match.group(1) if match else None


def declaration(lines, at):
    """What is declared from a line on, in one line."""
    text = ""
    for line in lines[at:at + 12]:
        text = f"{text} {line.strip()}".strip()
        if line.endswith(("{", ";", "}")):
            break
    return text


def understood(head, classes):
    """What is said of a member that need not say anything."""
    if re.match(r"using \w+ =", head):
        return "Its name here."
    if re.search(r"operator bool\(\) const", head):
        return "Whether it stands for something: see the class."
    if re.search(r"operator(==|<=>)\(.*= default;", head):
        return "Of all members."
    if re.match(rf"(explicit |constexpr )*{classes[-1]}\(", head):
        return "Of what it is given: see the class."
    return None


class Scopes:
    """Whether a line stands among declarations, or in a body."""

    def __init__(self):
        self.open = []
        self.ends = []
        self.classes = []  # the names of what is open
        self.round = 0
        self.text = ""

    def declares(self):
        return all(self.open) and self.round == 0

    def between(self):
        """Whether a declaration may begin."""
        return self.declares() and not self.text.strip()

    def nested(self):
        """Whether it stands in a class."""
        return len(self.open) > 1

    def read(self, line):
        line = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
        line = re.sub(r"'(?:[^'\\]|\\.)'", "0", line)
        line = re.sub(r"//.*", "", line)
        if line.startswith("#") or self.text.endswith("\\"):
            # A directive, perhaps with more lines.
            self.text = "\\" if line.endswith("\\") else ""
            return
        if re.fullmatch(r"\s*(public|private|protected):\s*", line):
            return
        for sign in line + " ":
            self.text += sign
            if sign == "(":
                self.round += 1
            elif sign == ")":
                self.round -= 1
            elif sign == "{":
                head = self.text
                while TEMPLATE.match(head):
                    head = TEMPLATE.sub("", head)
                head = head.strip()
                scope = self.round == 0 and bool(SCOPE.match(head))
                # What ends with its brace: a function, not a value or a concept.
                self.open.append(scope)
                names = re.findall(r"(?:class|struct)(?: \[\[.*?\]\])? (\w+)", head)
                self.classes.append(names[-1] if names and scope else "-")
                self.ends.append(scope or "(" in head and
                                 not head.startswith("concept"))
                if scope:
                    self.text = ""
            elif sign == "}":
                self.open.pop()
                self.classes.pop()
                if self.ends.pop() and self.declares():
                    self.text = ""
            elif sign == ";" and self.declares():
                self.text = ""
            elif sign == "," and self.declares() and self.open and (
                    re.fullmatch(r"\s*k\w+(\s*=[^,]*)?,", self.text)):
                self.text = ""  # an enumerator
        if re.fullmatch(r"\s*}?\s*", self.text):
            self.text = ""


def filtered(lines, subject, concepts):
    """The lines of a header, for Doxygen.

    Args:
      lines: as they are.
      subject: the header's name, without the folder and ".h".
      concepts: of names_of_concepts.
    """
    subject = subject.replace("_", "")
    concepts = modelled(concepts, lines)
    summary = "See the top of the file."
    scopes = Scopes()
    result = []
    speaks = None  # the block that speaks for the declarations that follow
    behind = None  # the column of a comment behind the line before
    at = 0
    if lines and lines[0].startswith("// SPDX"):
        at = 1
        while at < len(lines) and lines[at].startswith("//"):
            at += 1
        texts = [line[3:] for line in lines[1:at]]
        contract = next((number for number, text in enumerate(texts)
                         if re.match(r"Contract|Sites", text)), None)
        if contract is None:
            block = documented(texts)
        else:
            block = documented(texts[:contract]) + texts[contract:]
            block[contract] = "@verbatim " + block[contract]
            block[-1] += " @endverbatim"
            texts = texts[:contract]
        summary = " ".join(escaped(text) for text in texts).strip()
        result += ["/// @file"] + [f"/// {text}" for text in block]
    while at < len(lines):
        line = lines[at]
        comment = COMMENT.match(line)
        if comment and behind is not None and line.index("//") == behind:
            result.append(line[:behind] + "///< " + escaped(
                comment.group(2) or ""))
            at += 1
            continue
        behind = None
        if comment and scopes.between():
            end = at
            while end < len(lines) and COMMENT.match(lines[end]):
                end += 1
            follows = lines[end] if end < len(lines) else ""
            if follows.strip() and not re.match(r"\s*(}|#(?!define))", follows):
                texts = [COMMENT.match(text).group(2) or ""
                         for text in lines[at:end]]
                speaks = documented(texts)
                result += [f"{comment.group(1)}/// {text}" for text in speaks]
            else:
                speaks = None
                result += lines[at:end]
            fresh = True
            at = end
            if speaks is None:
                continue
            line = lines[at]
        else:
            fresh = False
        if not line.strip() or re.match(r"\s*(public|private|protected):", line):
            speaks = None
        said = BEHIND.match(line)
        begins = scopes.between()
        outside = len(scopes.open)
        scopes.read(line)
        if said and scopes.declares() and not re.match(r"#(?!define)", line):
            behind = line.index("// ")
            line = f"{said.group(1)}  ///< {escaped(said.group(2))}"
        elif begins and not fresh and line.strip() and not re.match(
                r"\s*(}|#|public|private|protected|static_assert|using namespace)",
                line):
            indent = re.match(" *", line).group()
            if DELETED.match(line) and "= delete" in line:
                line = f"{indent}/** Not copied. */ {line.strip()}"
            else:
                head = declaration(lines, at)
                name = declared_name(head) or ""
                kind = re.match(r"(template\b.*)?(class|struct) ", head)
                said = None
                if speaks and "@verbatim" not in " ".join(speaks):
                    said = " ".join(speaks)
                elif name.lower() == subject and kind:
                    said = summary
                elif name in concepts and scopes.nested():
                    said = f"As {concepts[name]} says."
                elif scopes.nested():
                    said = understood(head, scopes.classes)
                if said:
                    line = f"{indent}/** {said} */ {line.strip()}"
        if len(scopes.open) > outside and scopes.declares():
            speaks = None  # of the type, not of what is in it
        result.append(line)
        at += 1
    return result
