// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/lock_searches.h"

namespace ptage::relacy {
namespace {

TEST(LockSearch, AHolderSeesWhatTheHolderBeforeWrote) {
  ExpectHolds<Holders<2>>();
}

TEST(LockSearch, ThreeHoldersTakeTurns) { ExpectHolds<Holders<3>>(); }

}  // namespace
}  // namespace ptage::relacy
