# SPDX-License-Identifier: MIT OR Apache-2.0
"""A C++ toolchain of one of Debian's cross compilers; programs are static."""

load("@bazel_tools//tools/cpp:unix_cc_toolchain_config.bzl", "cc_toolchain_config")

def debian_cross_toolchain(name, triplet):
    """Defines the cc_toolchain `name`.

    Args:
      name: the CPU, as --cpu has it.
      triplet: what the compiler's tools are prefixed with.
    """
    tools = {
        "ar": "ar",
        "cpp": "cpp",
        "gcc": "g++",
        "gcov": "gcov",
        "ld": "ld",
        # Never run, but the rule wants it named.
        "llvm-cov": "gcov",
        "nm": "nm",
        "objcopy": "objcopy",
        "objdump": "objdump",
        "strip": "strip",
    }
    cc_toolchain_config(
        name = name + "_config",
        abi_libc_version = "local",
        abi_version = "local",
        compiler = "gcc",
        compile_flags = [
            "-Wall",
            "-fno-omit-frame-pointer",
        ],
        cpu = name,
        cxx_builtin_include_directories = [
            "/usr/%s/include" % triplet,
            "/usr/lib/gcc-cross/%s" % triplet,
            "/usr/include",
        ],
        host_system_name = "local",
        link_flags = [
            "-static",
            "-pthread",
            # GoogleTest could look a host up, which a static program should not.
            "-Wl,--no-warnings",
        ],
        target_libc = "local",
        target_system_name = "local",
        tool_paths = {
            tool: "/usr/bin/%s-%s" % (triplet, file)
            for tool, file in tools.items()
        },
        toolchain_identifier = name,
        # Else sources that are linked into the workspace look like headers from
        # elsewhere.
        unfiltered_compile_flags = [
            "-fno-canonical-system-headers",
            "-no-canonical-prefixes",
        ],
    )
    native.filegroup(name = name + "_files")
    native.cc_toolchain(
        name = name,
        all_files = name + "_files",
        compiler_files = name + "_files",
        dwp_files = name + "_files",
        linker_files = name + "_files",
        objcopy_files = name + "_files",
        strip_files = name + "_files",
        supports_param_files = 0,
        toolchain_config = name + "_config",
    )
