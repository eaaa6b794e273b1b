# SPDX-License-Identifier: MIT OR Apache-2.0
"""Negative controls of the soak: errors that are planted in the shipped headers.

A row is (name, header, what the header says, what it says instead). What the
header says must occur in it exactly once.
"""

load("//test/relacy:headers.bzl", "mutated_header")
load("//tools:ptage.bzl", "COPTS")

CONTROLS = [
    # A reader goes up while entries move down.
    (
        "scan_upwards",
        "rmap/lockless_list",
        "ReadOnce(slots[left - 1], kAcquire)",
        "ReadOnce(slots[kSlots - left], kAcquire)",
    ),
    # For a moment an entry that moves is nowhere.
    (
        "clear_before_move",
        "rmap/lockless_list",
        "    WriteOnce(*hole, ReadOnce(top, kRelaxed), kRelease);\n",
        "    Entry* const moved = ReadOnce(top, kRelaxed);\n" +
        "    WriteOnce(top, nullptr, kRelease);\n" +
        "    WriteOnce(*hole, moved, kRelease);\n",
    ),
    # A chunk is used again while readers are inside.
    (
        "retire_without_grace",
        "rmap/grace_pool",
        "    (filling_.*list).Push(chunk);\n",
        "    if constexpr (std::is_same_v<Chunk, First>) {\n" +
        "      free_firsts_.Push(chunk);\n" +
        "    } else {\n" +
        "      free_laters_.Push(chunk);\n" +
        "    }\n" +
        "    --stats_.in_use;\n" +
        "    return;\n",
    ),
    # An entry's bit goes to the page that it was found through.
    (
        "identity_not_asked",
        "rmap",
        "    return F::IsLeaf(seen, question.frame.level) &&\n" +
        "           RecordsFrame<F>(question.memory, entry, question.frame.gfn,\n" +
        "                           question.frame.level);\n",
        "    return true;\n",
    ),
    # A bit is cleared whatever the entry has become.
    (
        "blind_clear",
        "spte",
        "return TryCmpxchg(entry, seen, cleared, kRelaxed) ?",
        "return (WriteOnce(entry, cleared, kRelaxed), true) ?",
    ),
    # What was retired is freed under walks that hold it.
    (
        "table_freed_at_once",
        "reclaim/limbo",
        "    if (oldest_walk <= closed_) return;\n",
        "",
    ),
]

def control_binaries(srcs, deps, rows = CONTROLS, prefix = "control_"):
    """Declares PREFIX + NAME for each row."""
    for name, header, old, new in rows:
        control = prefix + name
        mutant = control + "_headers/ptage/" + header + ".h"
        mutated_header(control + "_header", header, mutant, old, new)
        native.cc_binary(
            name = control,
            testonly = True,
            srcs = srcs + [mutant],
            # Before the shipped header, which is found by -I. What is broken may
            # leave a variable unused.
            copts = COPTS + [
                "-iquote$(GENDIR)/test/soak/" + control + "_headers",
                "-w",
                '-DPTAGE_SOAK_CONTROL=\\"%s\\"' % name,
            ],
            tags = ["mutant"],
            deps = deps,
        )
