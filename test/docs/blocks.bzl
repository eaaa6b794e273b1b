# SPDX-License-Identifier: MIT OR Apache-2.0
"""The C++ blocks of a document, built and run. How: blocks.py."""

load("//tools:ptage.bzl", "COPTS")

_DEPS = [
    ":host",
    "//:ptage",
    "//include/ptage:sim/vcpu",
    "//include/ptage:sim/vcpu_set",
    "@com_google_absl//absl/synchronization",
]

def document_test(name, document, programs = 0):
    """Runs the blocks of a document, and compares what they print.

    Args:
      name: of the test.
      document: its label.
      programs: how many of its blocks have a main of their own.
    """
    binaries = [name + "_fragments"] + [
        "{}_program_{}".format(name, i)
        for i in range(programs)
    ]
    native.genrule(
        name = name + "_sources",
        srcs = [document],
        outs = [binary + ".cc" for binary in binaries],
        cmd = "python3 $(location blocks.py) sources $(location {}) $(OUTS)".format(document),
        tools = ["blocks.py"],
    )
    for binary in binaries:
        # No layering_check: what a reader includes are the umbrellas.
        native.cc_binary(
            name = binary,
            testonly = True,
            srcs = [binary + ".cc"],
            # A fragment need not use what it has.
            copts = COPTS + ["-Wno-unused"],
            deps = _DEPS,
        )
    native.sh_test(
        name = name,
        size = "small",
        srcs = ["run_blocks.sh"],
        args = ["$(location {})".format(document)] + [
            "$(location {})".format(binary)
            for binary in binaries
        ],
        data = ["blocks.py", document] + binaries,
        tags = ["document"],
    )
