#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The port asks for what kernel.h declares, for all of it, and for nothing else.

set -euo pipefail
g++ -std=c++20 -O2 -ffreestanding -fno-exceptions -fno-rtti -nostdlib \
  -mgeneral-regs-only -fno-stack-protector -fno-threadsafe-statics \
  -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude -I. \
  -c examples/port/port.cc -o "$TEST_TMPDIR/port.o"
wanted=$(nm -C -u "$TEST_TMPDIR/port.o" |
  sed -n 's/^ *U \(kernel::\)\?\([A-Za-z_]*\).*/\2/p' | grep -v '^mem' | sort)
given=$(sed -n 's/^[a-z][a-z0-9_:]*\*\? \([A-Z][A-Za-z]*\)(.*/\1/p' \
  examples/port/kernel.h | sort)
diff <(echo "$given") <(echo "$wanted")
[ "$(wc -l <<<"$given")" -eq 11 ]
