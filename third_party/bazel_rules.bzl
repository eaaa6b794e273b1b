# SPDX-License-Identifier: MIT OR Apache-2.0
"""Repositories that Bazel 4 looks for by itself, from Debian's packages."""

_CC_DEFS = """\
# Debian's bazel-rules-cc needs a newer Bazel than Debian's: the native rules do.
def cc_library(**kwargs):
    native.cc_library(**kwargs)

def cc_binary(**kwargs):
    native.cc_binary(**kwargs)

def cc_test(**kwargs):
    native.cc_test(**kwargs)

def cc_import(**kwargs):
    native.cc_import(**kwargs)

def cc_toolchain(**kwargs):
    native.cc_toolchain(**kwargs)

def cc_toolchain_suite(**kwargs):
    native.cc_toolchain_suite(**kwargs)

def cc_proto_library(**kwargs):
    native.cc_proto_library(**kwargs)

def objc_library(**kwargs):
    native.objc_library(**kwargs)

def cc_flags_supplier(**kwargs):
    pass

def compiler_flag(**kwargs):
    pass
"""

def _rules_cc_impl(repository_ctx):
    repository_ctx.file("WORKSPACE", "")
    repository_ctx.file("BUILD", "")
    repository_ctx.file("cc/BUILD", "")
    repository_ctx.file("cc/defs.bzl", _CC_DEFS)

_rules_cc = repository_rule(implementation = _rules_cc_impl)

def _no_coverage_impl(repository_ctx):
    repository_ctx.file("WORKSPACE", "")
    repository_ctx.file(
        "BUILD",
        "filegroup(name = \"coverage_report_generator\", " +
        "visibility = [\"//visibility:public\"])\n",
    )

_no_coverage = repository_rule(implementation = _no_coverage_impl)

def bazel_rules():
    """Declares them."""
    _rules_cc(name = "rules_cc")
    _no_coverage(name = "remote_coverage_tools")
    native.local_repository(
        name = "rules_java",
        path = "/usr/share/bazel/rules/java",
    )
    native.local_repository(
        name = "rules_proto",
        path = "/usr/share/bazel/rules/proto",
    )
    native.local_repository(
        name = "bazel_skylib",
        path = "/usr/share/bazel/tools/skylib",
    )
    native.local_repository(
        name = "platforms",
        path = "/usr/share/bazel/tools/platforms",
    )
