# SPDX-License-Identifier: MIT OR Apache-2.0
"""Kernels that need no toolchain of Bazel's: their compilers are named."""

_BUILD = "bash $(location //examples/bare_metal:build.sh) {compiler} {levels} $@ {folder}"

_MUTATE = """\
mkdir -p $(@D)/{name}/$$(dirname {path}) &&
python3 $(location //test/relacy:mutate.py) {path} {old} {new} > $(@D)/{name}/{path} &&
"""

def _json(text):
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\""

def _shell(text):
    return "'" + text.replace("'", "'\\''").replace("$", "$$") + "'"

def bare_metal_kernel(name, compiler, levels = 4, broken = None, **kwargs):
    """The kernel of this folder, as NAME.elf.

    Args:
      name: of the rule.
      compiler: a program, g++ or clang++-19.
      levels: of page tables, 4 or 5.
      broken: (path, old, new): what stands in the file there once, and what instead.
      **kwargs: as usual.
    """
    cmd = ""
    folder = ""
    tools = ["//examples/bare_metal:build.sh"]
    if broken:
        path, old, new = broken
        cmd = _MUTATE.format(
            name = name,
            path = path,
            old = _shell(_json(old)),
            new = _shell(_json(new)),
        )
        folder = "$(@D)/" + name
        tools.append("//test/relacy:mutate.py")
    native.genrule(
        name = name,
        srcs = [
            "//examples/bare_metal:sources",
            "//include/ptage:headers",
        ],
        outs = [name + ".elf"],
        cmd = cmd + _BUILD.format(compiler = compiler, levels = levels, folder = folder),
        tools = tools,
        **kwargs
    )
