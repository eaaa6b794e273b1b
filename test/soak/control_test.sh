#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# control_test.sh BINARY NAME: BINARY is a soak of a header with the error NAME
# planted. Passes if the soak finds it, and says so in its last line.

set -euo pipefail

last=$("$1" --control="$2" --seconds=60 | tail -n 1)
echo "$last"
grep -q '"verdict":"caught"' <<<"$last"
