# SPDX-License-Identifier: MIT OR Apache-2.0
"""catch_program.py UNIT: a program that runs one search of UNIT against one mutant.

Reads UNIT_search_test.cc, which names the searches. The program takes the number
of a mutant, 0 for none, and a search; it prints "refuted in execution N: PROPERTY" or
"N executions". tools/find_catch runs it.
"""

import pathlib
import re
import sys

PROGRAM = """\
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "test/relacy/chosen.h"
#include "test/relacy/{unit}_searches.h"
#include "test/relacy/search.h"

namespace ptage::relacy {{
namespace {{

template <class Search>
void Run() {{
  const Outcome outcome = Explore<Search>();
  const unsigned long long executions = outcome.executions;
  if (outcome.refuted_by.empty()) {{
    std::printf("%llu executions\\n", executions);
  }} else {{
    std::printf("refuted in execution %llu: %s\\n", executions,
                outcome.refuted_by.c_str());
  }}
}}

int Main(const char* mutant, const char* search) {{
  chosen_mutant = static_cast<unsigned>(std::atoi(mutant));
{cases}  return 2;
}}

}}  // namespace
}}  // namespace ptage::relacy

int main(int count, char** words) {{
  return count == 3 ? ptage::relacy::Main(words[1], words[2]) : 2;
}}
"""


def _arguments(text, called):
    """What stands between the angle brackets of each `called<…>`."""
    for match in re.finditer(rf"\b{called}<", text):
        depth, end = 1, match.end()
        while depth:
            depth += {"<": 1, ">": -1}.get(text[end], 0)
            end += 1
        yield " ".join(text[match.end():end - 1].split())


def searches(text):
    """The arguments of ExpectHolds, in order, as the header of the searches says them.

    Also of a template that calls it for its parameter, `Search`; constants of the file
    stand for their values.
    """
    several = re.compile(r"^template <template <.*> class Search>\n"
                         r"void (\w+)\(\) \{\n(.*?)^\}\n", re.M | re.S)
    callers = {name: list(_arguments(body, "ExpectHolds"))
               for name, body in several.findall(text)}
    text = several.sub("", text)
    constants = dict(re.findall(r"^constexpr .* (\w+) = ([^;]+);$", text, re.M))
    found = []
    for match in re.finditer(r"\b(ExpectHolds\w*)<", text):
        name = next(_arguments(text[match.start():], match.group(1)))
        name = re.sub(r"\w+", lambda m: constants.get(m.group(), m.group()), name)
        found += [re.sub(r"\bSearch\b", name, one)
                  for one in callers.get(match.group(1), ["Search"])]
    return list(dict.fromkeys(found))


def main():
    path = pathlib.Path(sys.argv[1])
    cases = "".join(
        f'  if (std::strcmp(search, "{name}") == 0) return Run<{name}>(), 0;\n'
        for name in searches(path.read_text()))
    sys.stdout.write(PROGRAM.format(
        unit=path.name.removesuffix("_search_test.cc"), cases=cases))


if __name__ == "__main__":
    main()
