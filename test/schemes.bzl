# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests of trees and machines, over reclaimers other than the default one."""

load("//tools:ptage.bzl", "COPTS", "FEATURES")

# liburcu orders its sections by means that TSan does not see.
NOT_UNDER_TSAN = select({
    ":tsan": ["@platforms//:incompatible"],
    "//conditions:default": [],
})

# test/scheme.h names the reclaimer of each.
_SCHEMES = {
    "external": [],
    "liburcu": NOT_UNDER_TSAN,
}

def over_schemes(tests):
    """Declares tests over schemes; call it after the tests that it names.

    Args:
      tests: for each test, the schemes.
    """
    for test, schemes in tests.items():
        of = native.existing_rule(test)
        for scheme in schemes:
            native.cc_test(
                name = test.replace("_test", "_%s_test" % scheme),
                size = "small",
                srcs = list(of["srcs"]),
                # What a reclaimer does, it does in any format.
                copts = COPTS + [
                    "-DPTAGE_FEW_FORMATS=1",
                    "-DPTAGE_TEST_" + scheme.upper(),
                ],
                features = FEATURES,
                target_compatible_with = _SCHEMES[scheme],
                deps = list(of["deps"]),
            )
