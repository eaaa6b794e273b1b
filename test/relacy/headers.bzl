# SPDX-License-Identifier: MIT OR Apache-2.0
"""Copies of the shipped headers with mutants in them."""

_CHOOSE = """\
python3 $(location //test/relacy:choose.py) {header} $< > $@ <<'END'
{rows}
END
"""

def _json(text):
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\""

def _expanded(text):
    # "$" is expanded before the shell reads it.
    return text.replace("$", "$$")

def _shell(text):
    return "'" + _expanded(text.replace("'", "'\\''")) + "'"

def chosen_header(name, header, out, rows, listed = []):
    """A header with mutants in it.

    Args:
      name: of the rule.
      header: what is copied.
      out: the copy.
      rows: (number, old, new) each.
      listed: (number, mutant) each.
    """
    native.genrule(
        name = name,
        srcs = ["//include/ptage:" + header + ".h"],
        outs = [out],
        cmd = _CHOOSE.format(
            header = header,
            rows = _expanded("{\"rows\": [%s],\n\"listed\": [%s]}" % (
                ",\n".join(["[%d, %s, %s]" % (number, _json(old), _json(new)) for number, old, new in rows]),
                ",\n".join(["[%d, %s]" % (number, _json(mutant)) for number, mutant in listed]),
            )),
        ),
        tags = ["mutant"],
        tools = [
            "//test/relacy:choose.py",
            "//test/relacy:list_mutants.py",
        ],
    )

def mutated_header(name, header, out, old, new):
    """A header with one mutant in place of what is shipped."""
    native.genrule(
        name = name,
        srcs = ["//include/ptage:" + header + ".h"],
        outs = [out],
        cmd = "python3 $(location //test/relacy:mutate.py) $< %s %s > $@" % (
            _shell(_json(old)),
            _shell(_json(new)),
        ),
        tags = ["mutant"],
        tools = ["//test/relacy:mutate.py"],
    )
