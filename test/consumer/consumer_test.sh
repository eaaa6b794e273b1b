#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A project outside the tree: copies the headers away, builds the README's
# example with nothing but "-I include", and the guide's first one with Debian's
# libabsl-dev besides, and compares what they print with what the documents say.

set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -rL include "$work/include"

# block KIND DOCUMENT: the first fenced block of that kind.
block() {
  awk -v want="$1" '/^```/ { if (inside) exit; inside = ($0 == "```" want); next }
    inside' "$2"
}

# try DOCUMENT EXAMPLE FLAG…
try() {
  local document=$1 example=$2
  shift 2
  block cpp "$document" > "$work/block.cc"
  block text "$document" > "$work/expected"
  [ -s "$work/block.cc" ] && [ -s "$work/expected" ]
  diff <(grep -v '^//' "$example") <(grep -v '^//' "$work/block.cc") ||
    { echo "$document and $example differ"; exit 1; }
  g++ -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Werror \
    -I "$work/include" "$work/block.cc" "$@" -o "$work/program"
  "$work/program" > "$work/actual"
  diff "$work/expected" "$work/actual"
}

try README.md examples/age_tables.cc
# shellcheck disable=SC2046 # pkg-config's words are words.
try docs/guide/five_minutes.md examples/quick_start.cc \
  $(pkg-config --cflags --libs absl_synchronization absl_status absl_str_format)
