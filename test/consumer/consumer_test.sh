#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Projects outside the tree, from scratch: those of tools/consumers that need no
# other compiler than gcc and no Bazel. (.ci/run builds all of them.)

set -euo pipefail
python3 tools/consumers cmake deb include-path-gcc-c++20 macros pkg-config \
  single-header-gcc
