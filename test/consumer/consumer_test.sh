#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A project outside the tree: copies the headers away, builds the README's
# example with nothing but "-I include" and Debian's libabsl-dev, and compares
# what it prints with what the README says.

set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -rL include "$work/include"

# The fenced blocks of the first screen: the program, then its output.
block() {
  awk -v want="$1" '/^```/ { if (inside) exit; inside = ($0 == "```" want); next }
    inside' README.md
}
block cpp > "$work/readme.cc"
block text > "$work/expected"
[ -s "$work/readme.cc" ] && [ -s "$work/expected" ]
diff <(grep -v '^//' examples/quick_start.cc) <(grep -v '^//' "$work/readme.cc") ||
  { echo "README.md and examples/quick_start.cc differ"; exit 1; }

cd "$work"
# shellcheck disable=SC2046 # pkg-config's words are words.
g++ -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Werror -I include \
  readme.cc $(pkg-config --cflags --libs \
    absl_synchronization absl_status absl_str_format) -o consumer
./consumer > actual
diff expected actual
