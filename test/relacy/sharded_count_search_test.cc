// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/sharded_count_searches.h"

namespace ptage::relacy {
namespace {

TEST(ShardedCountSearch, WhatIsThereIsCountedWhileOthersComeAndGo) {
  ExpectHolds<ComeAndGo>();
}

TEST(ShardedCountSearch, TheFirstIsCountedByWhoKnowsOfIt) {
  ExpectHolds<FirstOfAll>();
}

}  // namespace
}  // namespace ptage::relacy
