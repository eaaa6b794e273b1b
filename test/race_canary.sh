#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# race_canary.sh STRESS-TEST: under the thread sanitizer, the stress test passes,
# and with one of its accesses made plain (--plant_race) the race is reported.
# A sanitizer that reports nothing would make every green run worthless.

set -uo pipefail

# Of all its cases the one that walks: the others have nothing planted.
filter='--gtest_filter=*EachAccessAndEachWriteIsTakenExactlyOnce'

if ! "$1" "$filter"; then
  echo "the stress test fails with nothing planted" >&2
  exit 1
fi
if report=$("$1" "$filter" --plant_race 2>&1); then
  echo "the planted race went unnoticed" >&2
  exit 1
fi
if ! grep -q 'WARNING: ThreadSanitizer: data race' <<<"$report"; then
  echo "the stress test failed, but not for a data race:" >&2
  echo "$report" >&2
  exit 1
fi
# The planted access is the only plain read of a shared word. (Names are not
# always to be had: the sanitizer may find no symbolizer.)
if ! grep -Eq '^ +(Read|Previous read) of size' <<<"$report"; then
  echo "a race was reported, but not the planted one:" >&2
  echo "$report" >&2
  exit 1
fi
echo "the planted race was reported"
