#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Some of the projects of tools/consumers: those that need no other compiler than
# gcc and no Bazel, and are not tried by the tests beside this one. (.ci/run builds
# all of them.)

set -euo pipefail
python3 tools/consumers cmake-fetchcontent deb docs-program docs-single-header \
  macros
