# SPDX-License-Identifier: MIT OR Apache-2.0
"""How the project's own targets are built: warnings are errors, under both compilers."""

_GCC_AND_CLANG = [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
]

# gcc would report these in Abseil's headers, which it cannot tell from ours.
COPTS = _GCC_AND_CLANG + select({
    "//tools:clang": [
        "-Wpedantic",
        "-Wsign-conversion",
    ],
    "//conditions:default": [],
})

# Acts under clang alone; Abseil's own layers are not our concern.
FEATURES = ["layering_check"]

# Alone, twice; and after a header that is known for its macros.
_ALONE = """\
cat > $@ <<'END'
#include "ptage/{path}"
#include "ptage/{path}"
END
"""

_AFTER = """\
cat > $@ <<'END'
#include <linux/fs.h>
#include "ptage/{path}"
END
"""

def ptage_header(name, deps = [], srcs = [], visibility = None):
    """One header of include/ptage, as a library, and compiled alone.

    Args:
      name: the header's path below include/ptage, without ".h".
      deps: what it includes.
      srcs: headers that only this one may include.
      visibility: as usual; by default the project's own packages.
    """
    native.cc_library(
        name = name,
        hdrs = [name + ".h"] + srcs,
        features = FEATURES,
        strip_include_prefix = "/include",
        visibility = visibility or ["//:__subpackages__"],
        deps = deps,
    )
    flat = name.replace("/", "_")
    native.genrule(
        name = flat + "_alone_cc",
        outs = [flat + "_alone.cc"],
        cmd = _ALONE.format(path = name + ".h"),
    )
    native.genrule(
        name = flat + "_after_cc",
        outs = [flat + "_after.cc"],
        cmd = _AFTER.format(path = name + ".h"),
    )
    native.cc_library(
        name = flat + "_alone",
        testonly = True,
        # The header belongs to the target that is compiled: clang checks the
        # includes of that one alone.
        srcs = [flat + "_alone.cc"] + select({
            # What macros of another header do, they do to any compiler.
            "//tools:clang": [],
            "//conditions:default": [flat + "_after.cc"],
        }),
        hdrs = [name + ".h"] + srcs,
        copts = COPTS,
        features = FEATURES,
        # It is compiled, and not linked to anything.
        linkstatic = True,
        strip_include_prefix = "/include",
        tags = ["alone"],
        deps = deps,
    )

def ptage_library(name, copts = [], **kwargs):
    native.cc_library(
        name = name,
        copts = COPTS + copts,
        features = FEATURES,
        **kwargs
    )

def ptage_binary(name, copts = [], **kwargs):
    native.cc_binary(
        name = name,
        copts = COPTS + copts,
        features = FEATURES,
        **kwargs
    )

def ptage_test(name, deps = [], size = "small", copts = [], hosted = False, layering = True, **kwargs):
    """A GoogleTest.

    Args:
      name: its `srcs` is NAME.cc unless given.
      deps: besides GoogleTest.
      size: as usual.
      copts: besides the project's own.
      hosted: whether its threads contend for Abseil's mutexes.
      layering: whether its includes must be in `deps`.
      **kwargs: as usual.
    """
    native.cc_test(
        name = name,
        srcs = kwargs.pop("srcs", [name + ".cc"]),
        size = size,
        copts = COPTS + copts,
        features = FEATURES if layering else [],
        deps = deps + [
            "@com_google_googletest//:gtest",
            "//test:hosted_main" if hosted else "@com_google_googletest//:gtest_main",
        ],
        **kwargs
    )

def ptage_relacy_test(name, deps = [], size = "medium", tags = [], copts = [], optimize = "-O2", **kwargs):
    """A search of shipped headers under Relacy. Sanitizers have nothing to add."""
    ptage_test(
        name = name,
        size = size,
        copts = [
            optimize,
            "-DPTAGE_RELACY=1",
            # Relacy has a delete of its own, which is not told sizes.
            "-fno-sized-deallocation",
        ] + copts,
        tags = tags + ["relacy"],
        deps = deps + ["@relacy"],
        **kwargs
    )
