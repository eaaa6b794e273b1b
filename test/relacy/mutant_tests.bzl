# SPDX-License-Identifier: MIT OR Apache-2.0
"""One test for each row of mutants.bzl, and for each header of listed.bzl."""

load("//tools:ptage.bzl", "ptage_binary", "ptage_relacy_test")
load(":listed.bzl", "LISTED", "SEARCHES")
load(":mutants.bzl", "MUTANTS")

# A mutant is refuted soon: to compile it takes longer than to run it.
_OPTIMIZE = "-O0"

_TEST = """\
cat > $@ <<'END'
#include "test/relacy/expect.h"
#include "test/relacy/{searches}_searches.h"

namespace ptage::relacy {{

TEST(Mutant, {mutant}) {{
  ExpectRefuted<{search}>("{verdict}");
}}

}}  // namespace ptage::relacy
END
"""

_LISTED_TEST = """\
cat > $@ <<'END'
#include "test/relacy/expect.h"
#include "test/relacy/{searches}_searches.h"

namespace ptage::relacy {{
{cases}
}}  // namespace ptage::relacy
END
"""

_CASE = """
TEST(Listed, {unit}_{mutant}) {{
  chosen_mutant = listed::{mutant};
  ExpectRefuted<{search}>("{verdict}");
}}
"""

def _json(text):
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\""

def _shell(text):
    # For the shell, and for the expansion of "$" that comes before it.
    return "'" + text.replace("'", "'\\''").replace("$", "$$") + "'"

def _deps(searches):
    own = ["dirty", "eviction", "page_history", "protected_frames"]
    return [":searches"] + ([":" + searches + "_searches"] if searches in own else [])

def _folder(header):
    return "listed/" + header.replace("/", "_")

def _listed_copts(header):
    # Before the shipped header, which is found by -I.
    return ["-iquote$(GENDIR)/test/relacy/" + _folder(header), "-w"]

def listed_mutants():
    """For each searched header, one with all its listed mutants in it, of which a
    program chooses one: so a header's mutants are one test, and one compilation."""
    for header in SEARCHES:
        native.genrule(
            name = "listed_" + header.replace("/", "_") + "_header",
            srcs = ["//include/ptage:" + header + ".h"],
            outs = [_folder(header) + "/ptage/" + header + ".h"],
            cmd = "python3 $(location list_mutants.py) --header %s $< > $@" % header,
            tags = ["mutant"],
            tools = ["list_mutants.py"],
        )

        # For tools/find_catch.
        for searches in SEARCHES[header]:
            name = "catch_" + header.replace("/", "_") + "_by_" + searches
            native.genrule(
                name = name + "_cc",
                srcs = [searches + "_search_test.cc"],
                outs = [name + ".cc"],
                cmd = "python3 $(location catch_program.py) $< > $@",
                tags = ["manual"],
                tools = ["catch_program.py"],
            )
            ptage_binary(
                name = name,
                testonly = True,
                srcs = [name + ".cc", _folder(header) + "/ptage/" + header + ".h"],
                copts = ["-O2", "-DPTAGE_RELACY=1"] + _listed_copts(header),
                tags = ["manual"],
                deps = _deps(searches) + ["@relacy"],
            )

    for key in LISTED:
        header = key.split("@")[0]
        searches = key.split("@")[1] if "@" in key else SEARCHES[header][0]
        name = "listed_" + header.replace("/", "_") + "_by_" + searches
        native.genrule(
            name = name + "_cc",
            outs = [name + "_test.cc"],
            cmd = _LISTED_TEST.format(
                searches = searches,
                cases = "".join([_CASE.format(
                    unit = header.split("/")[-1],
                    mutant = mutant.replace(":", "_"),
                    search = row[0],
                    verdict = row[1],
                ) for mutant, row in LISTED[key].items()]),
            ),
        )
        ptage_relacy_test(
            name = name + "_test",
            srcs = [
                name + "_test.cc",
                _folder(header) + "/ptage/" + header + ".h",
            ],
            copts = _listed_copts(header),
            layering = False,
            optimize = _OPTIMIZE,
            tags = ["mutant"],
            deps = _deps(searches),
        )

def mutant_tests():
    """Declares one for each row of mutants.bzl, and the listed ones."""
    listed_mutants()
    for key, mutants in MUTANTS.items():
        header = key.split("@")[0]
        searches = key.split("@")[1] if "@" in key else SEARCHES[header][0]
        unit = header.split("/")[-1]
        for name, search, verdict, old, new in mutants:
            mutant = unit + "_" + name
            folder = "mutants/" + mutant
            native.genrule(
                name = mutant + "_header",
                srcs = ["//include/ptage:" + header + ".h"],
                outs = [folder + "/ptage/" + header + ".h"],
                cmd = "python3 $(location mutate.py) $< %s %s > $@" % (
                    _shell(_json(old)),
                    _shell(_json(new)),
                ),
                tags = ["mutant"],
                tools = ["mutate.py"],
            )
            native.genrule(
                name = mutant + "_cc",
                outs = [mutant + "_test.cc"],
                cmd = _TEST.format(
                    mutant = mutant,
                    search = search,
                    searches = searches,
                    verdict = verdict,
                ),
            )
            ptage_relacy_test(
                name = mutant + "_test",
                srcs = [
                    mutant + "_test.cc",
                    folder + "/ptage/" + header + ".h",
                ],
                # Before the shipped header, which is found by -I. A mutant may
                # leave a variable unused.
                copts = [
                    "-iquote$(GENDIR)/test/relacy/" + folder,
                    "-w",
                ],
                layering = False,
                optimize = _OPTIMIZE,
                tags = ["mutant"],
                deps = _deps(searches),
            )
