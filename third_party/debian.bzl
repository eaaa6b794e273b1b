# SPDX-License-Identifier: MIT OR Apache-2.0
"""Libraries built from Debian's packages, under their upstream labels."""

def _run(repository_ctx, arguments, what):
    result = repository_ctx.execute(arguments, timeout = 600)
    if result.return_code != 0:
        fail("%s failed: %s%s" % (what, result.stdout, result.stderr))
    return result.stdout

def _debian_source_impl(repository_ctx):
    fetch = repository_ctx.path(repository_ctx.attr._fetch)
    _run(
        repository_ctx,
        ["bash", str(fetch), repository_ctx.attr.package, "."],
        "fetching Debian's source package " + repository_ctx.attr.package,
    )
    if repository_ctx.attr.build_file:
        for stale in ["BUILD", "BUILD.bazel"]:
            repository_ctx.delete(stale)
        repository_ctx.symlink(repository_ctx.attr.build_file, "BUILD.bazel")

debian_source = repository_rule(
    implementation = _debian_source_impl,
    doc = "A library from Debian's source package, with its own BUILD files " +
          "or ours. Fetched once; later runs need no network.",
    attrs = {
        "package": attr.string(mandatory = True),
        "build_file": attr.label(allow_single_file = True),
        "_fetch": attr.label(
            default = "//third_party:fetch_debian_source",
            allow_single_file = True,
        ),
    },
)

def _googletest_source_impl(repository_ctx):
    repository_ctx.symlink("/usr/src/googletest/googletest", "googletest")
    repository_ctx.symlink("/usr/src/googletest/googlemock", "googlemock")
    repository_ctx.symlink(Label("//third_party:googletest.BUILD"), "BUILD.bazel")

googletest_source = repository_rule(
    implementation = _googletest_source_impl,
    doc = "GoogleTest and GoogleMock from Debian's package googletest.",
)

def _relacy_headers_impl(repository_ctx):
    repository_ctx.symlink("/usr/include/relacy", "relacy")
    repository_ctx.symlink(Label("//third_party:relacy.BUILD"), "BUILD.bazel")

relacy_headers = repository_rule(
    implementation = _relacy_headers_impl,
    doc = "The Relacy race detector from Debian's package relacy-dev.",
)

def _liburcu_impl(repository_ctx):
    # The folders are named after the architecture.
    files = _run(
        repository_ctx,
        ["dpkg-query", "--listfiles", "liburcu-dev"],
        "listing the files of liburcu-dev",
    ).splitlines()
    for file in files:
        name = file.rpartition("/")[2]
        if file.endswith("/urcu/urcu-memb.h"):
            repository_ctx.symlink(file.rpartition("/")[0], "urcu")
        elif name.startswith("liburcu-") and name.endswith(".a"):
            repository_ctx.symlink(file, name)
    repository_ctx.symlink(Label("//third_party:liburcu.BUILD"), "BUILD.bazel")

liburcu = repository_rule(
    implementation = _liburcu_impl,
    doc = "Userspace RCU from Debian's package liburcu-dev.",
)

def _xenium_headers_impl(repository_ctx):
    repository_ctx.symlink("/usr/include/xenium", "xenium")
    repository_ctx.symlink(Label("//third_party:xenium.BUILD"), "BUILD.bazel")

xenium_headers = repository_rule(
    implementation = _xenium_headers_impl,
    doc = "The xenium reclamation schemes from Debian's package libxenium-dev.",
)

def _linux_kernel_impl(repository_ctx):
    repository_ctx.symlink(Label("//third_party:linux.BUILD"), "BUILD.bazel")
    result = repository_ctx.execute(
        ["bash", str(repository_ctx.path(repository_ctx.attr._fetch)), "."],
        timeout = 600,
    )
    if result.return_code != 0:
        # buildifier: disable=print
        print("no kernel for guests: " + result.stderr)

linux_kernel = repository_rule(
    implementation = _linux_kernel_impl,
    doc = "Debian's Linux for virtual machines; empty where there is none.",
    attrs = {
        "_fetch": attr.label(
            default = "//third_party:fetch_debian_kernel",
            allow_single_file = True,
        ),
    },
)
