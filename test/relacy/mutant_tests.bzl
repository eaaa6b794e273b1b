# SPDX-License-Identifier: MIT OR Apache-2.0
"""For each unit of searches, one test of all mutants that it refutes.

All its rows of mutants.bzl and listed.bzl stand in one copy of each header, where a test
chooses one (choose.py): so they are one program, and one compilation. A row with a field
more cannot be chosen, and is a test of its own.
"""

load("//tools:ptage.bzl", "ptage_binary", "ptage_relacy_test")
load(":headers.bzl", "chosen_header", "mutated_header")
load(":listed.bzl", "LISTED", "SEARCHES")
load(":mutants.bzl", "MUTANTS")

# A mutant is refuted soon: to compile it takes longer than to run it.
_OPTIMIZE = "-O0"

_TEST = """\
cat > $@ <<'END'
#include "test/relacy/chosen.h"
#include "test/relacy/expect.h"
#include "test/relacy/{searches}_searches.h"

namespace ptage::relacy {{
{cases}
}}  // namespace ptage::relacy
END
"""

_CASE = """
TEST({suite}, {name}) {{
  chosen_mutant = {number};
  ExpectRefuted<{search}>("{verdict}");
}}
"""

def _deps(searches):
    own = ["dirty", "eviction", "legacy_removal", "legacy_shadow", "look_around", "lru", "notifier", "page_history", "protected_frames", "shadow_mmu", "shadow_tree"]
    return [":searches"] + ([":" + searches + "_searches"] if searches in own else [])

def _copts(folder):
    # Before the shipped header, which is found by -I. A mutant may leave a variable
    # unused.
    return ["-iquote$(GENDIR)/test/relacy/" + folder, "-w"]

def _last(header):
    return header.split("/")[-1]

def _unit(key):
    """The header of a key, and the searches."""
    header = key.split("@")[0]
    return header, key.split("@")[1] if "@" in key else SEARCHES[header][0]

def _mutant_test(name, searches, cases, folder, headers):
    native.genrule(
        name = name + "_cc",
        outs = [name + ".cc"],
        cmd = _TEST.format(searches = searches, cases = "".join(cases)),
    )
    ptage_relacy_test(
        name = name,
        srcs = [
            name + ".cc",
            "chosen.h",
        ] + headers,
        copts = _copts(folder),
        layering = False,
        optimize = _OPTIMIZE,
        tags = ["mutant"],
        deps = _deps(searches),
    )

def _chosen_tests():
    # searches: {header: ([row], [listed])}, and the cases.
    rows = {}
    listed = {}
    cases = {}
    for key in MUTANTS:
        header, searches = _unit(key)
        for name, search, verdict, old, new in [row for row in MUTANTS[key] if len(row) == 5]:
            of = cases.setdefault(searches, [])
            number = len(of) + 1
            of.append(_CASE.format(
                suite = "Mutant",
                name = _last(header) + "_" + name,
                number = number,
                search = search,
                verdict = verdict,
            ))
            rows.setdefault(searches, {}).setdefault(header, []).append((number, old, new))
    for key in LISTED:
        header, searches = _unit(key)
        for name, row in LISTED[key].items():
            of = cases.setdefault(searches, [])
            number = len(of) + 1
            of.append(_CASE.format(
                suite = "Listed",
                name = _last(header) + "_" + name.replace(":", "_"),
                number = number,
                search = row[0],
                verdict = row[1],
            ))
            listed.setdefault(searches, {}).setdefault(header, []).append((number, name))
    for searches in cases:
        name = "mutants_by_" + searches
        headers = []
        folder = "chosen/" + searches
        of_rows = rows.get(searches, {})
        of_listed = listed.get(searches, {})
        for header in of_rows.keys() + [header for header in of_listed if header not in of_rows]:
            out = folder + "/ptage/" + header + ".h"
            chosen_header(
                name = name + "_in_" + header.replace("/", "_"),
                header = header,
                out = out,
                rows = of_rows.get(header, []),
                listed = of_listed.get(header, []),
            )
            headers.append(out)
        _mutant_test(name + "_test", searches, cases[searches], folder, headers)

def _tests_alone():
    for key in MUTANTS:
        header, searches = _unit(key)
        for name, search, verdict, old, new in [row[:5] for row in MUTANTS[key] if len(row) > 5]:
            mutant = _last(header) + "_" + name
            folder = "mutants/" + mutant
            out = folder + "/ptage/" + header + ".h"
            mutated_header(mutant + "_header", header, out, old, new)
            case = _CASE.format(
                suite = "Mutant",
                name = mutant,
                number = 0,
                search = search,
                verdict = verdict,
            )
            _mutant_test(mutant + "_test", searches, [case], folder, [out])

def _catch_programs():
    """For tools/find_catch: each listed mutant of a header, chosen by its number."""
    for header in SEARCHES:
        flat = header.replace("/", "_")
        folder = "listed/" + flat
        out = folder + "/ptage/" + header + ".h"
        native.genrule(
            name = "listed_" + flat + "_header",
            srcs = ["//include/ptage:" + header + ".h"],
            outs = [out],
            cmd = "python3 $(location choose.py) --listed %s $< > $@" % header,
            tags = ["manual"],
            tools = [
                "choose.py",
                "list_mutants.py",
            ],
        )
        for searches in SEARCHES[header]:
            name = "catch_" + flat + "_by_" + searches
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
                srcs = [
                    name + ".cc",
                    "chosen.h",
                    out,
                ],
                copts = ["-O2", "-DPTAGE_RELACY=1"] + _copts(folder),
                tags = ["manual"],
                deps = _deps(searches) + ["@relacy"],
            )

def mutant_tests():
    """Declares them; call it after the libraries of searches."""
    _chosen_tests()
    _tests_alone()
    _catch_programs()
