// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/guest_walk_searches.h"

namespace ptage::relacy {
namespace {

TEST(GuestWalkSearch, WhatL1WroteBeforeItLinkedATableIsThere) {
  ExpectHolds<WalkAgainstLinking>();
}

TEST(GuestWalkSearch, L1FindsSetWhatMayBeUsed) {
  ExpectHolds<WalkAgainstChange<AccessKind::kRead>>();
  ExpectHolds<WalkAgainstChange<AccessKind::kWrite>>();
}

}  // namespace
}  // namespace ptage::relacy
