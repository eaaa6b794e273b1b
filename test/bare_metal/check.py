# SPDX-License-Identifier: MIT OR Apache-2.0
"""check.py KERNEL…: runs each, and compares what it prints with what it must.

A kernel of examples/bare_metal ends with 33 after every line that is expected; one
of broken.bzl, which is told by its name, with 35 after "WRONG", the count that the row
names, and only lines that are expected before. To crash, or to wait for ever, is no catch.
Lines that begin with "#" depend on time.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from xml.sax import saxutils

RUN = "examples/bare_metal/run.sh"
SUCCESS, WRONG = 33, 35
TIMEOUT = 50
EXPECTED = """\
ptage: {levels} levels of tables
one CPU
  born young: 512
  read 171 of 512 pages, young: 171
  which are those read: 1
  at once again, young: 0
  read 8 pages, young: 8
  read them again without a flush, young: 0
  and with one, young: 8
  wrote 103 pages, dirty: 103
a large page
  before it is read, young pages: 0
  read one page of 512, young pages: 512
  split: 1
  young entries: 512
  read 7 pages, young entries: 7
  tables removed: 1
  leaves in them: 512
  page faults: 0
two CPUs
  20 looks at 64 pages being written, dirty: 1280
  20 looks at 64 pages being read, young: 1280
  rounds with another set of pages than was read: 0
  pages read: 4057
  young: 4057
  pages zapped: 512
  dirty: 154
  zapped under their writer: 16
  additions lost: 0
  pages written: 1013
  dirty: 1013
  rounds with another set of pages than was written: 0
  additions lost: 0
the end
  frames free: 512
  tables in use: {tables}
done
"""


def broken():
    # A .bzl file is also Python.
    scope = {}
    path = pathlib.Path("test/bare_metal/broken.bzl")
    if path.exists():
        # pylint: disable-next=exec-used
        exec(path.read_text(encoding="utf-8"), scope)
    return {row[0]: row[4] for row in scope.get("BROKEN", [])}


def run(kernel):
    """(exit status, the lines that do not depend on time, all of them)."""
    try:
        ran = subprocess.run([RUN, kernel], check=False, timeout=TIMEOUT,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        status, output = ran.returncode, ran.stdout
    except subprocess.TimeoutExpired as late:
        status, output = "none: it did not end", late.stdout or b""
    text = output.decode("utf-8", "replace").replace("\r", "")
    return status, [l for l in text.splitlines() if not l.startswith("#")], text


def problem(name, wrong):
    """What is wrong with a kernel; None if nothing is. `wrong`: what it must find."""
    status, lines, text = run(name)
    levels = 5 if "la57" in name else 4
    expected = EXPECTED.format(levels=levels, tables=levels + 2).splitlines()
    if wrong is None:
        good = status == SUCCESS and lines == expected
    else:
        good = (status == WRONG and lines and lines[:-1] == expected[:len(lines) - 1]
                and re.match(f"WRONG ({wrong})", lines[-1]))
    if good:
        if wrong is not None:
            print(lines[-1])
        return None
    return f"exit status {status}, after\n{text}"


def main():
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("qemu-system-x86_64 is missing: tools/setup test installs it")
    rows = broken()
    cases = ""
    failed = 0
    for kernel in sys.argv[1:]:
        name = pathlib.Path(kernel).stem
        start = time.monotonic()
        print(f"--- {name}")
        what = problem(kernel, rows.get(name))
        print(f"--- {name}: {time.monotonic() - start:.2f} s")
        cases += f'<testcase classname="BareMetal" name="{name}" status="run">'
        if what:
            failed += 1
            print(f"{name}: {what}", file=sys.stderr)
            cases += f"<failure>{saxutils.escape(what)}</failure>"
        cases += "</testcase>\n"
    if "XML_OUTPUT_FILE" in os.environ:
        pathlib.Path(os.environ["XML_OUTPUT_FILE"]).write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>'
            f'<testsuite name="BareMetal">\n{cases}</testsuite></testsuites>\n',
            encoding="utf-8")
    return 1 if failed or not sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
