# SPDX-License-Identifier: MIT OR Apache-2.0
"""One test for each row of mutants.bzl: the search must refute the mutant."""

load("//tools:ptage.bzl", "ptage_relacy_test")
load(":mutants.bzl", "MUTANTS")

# header: the searches of it.
_SEARCHES = {
    "lock": "lock",
    "page_table": "page_table",
    "reclaim/anonymous_epoch": "anonymous_epoch",
    "rmap": "rmap",
    "rmap/bit_locked": "rmap",
    "rmap/grace_pool": "lockless_list",
    "rmap/head_lock": "rmap",
    "rmap/lockless": "rmap",
    "rmap/lockless_list": "lockless_list",
    "rmap/single_entry_lockless": "rmap",
    "sim/vcpu": "vcpu",
    "sim/vcpu_set": "vcpu",
    "spte": "spte",
}

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

def _json(text):
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\""

def _shell(text):
    # For the shell, and for the expansion of "$" that comes before it.
    return "'" + text.replace("'", "'\\''").replace("$", "$$") + "'"

def mutant_tests():
    """Declares them."""
    for key, mutants in MUTANTS.items():
        header = key.split("@")[0]
        searches = key.split("@")[1] if "@" in key else _SEARCHES[header]
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
                tags = ["mutant"],
                deps = [":searches"],
            )
