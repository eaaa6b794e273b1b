// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/fast_fault_searches.h"

namespace ptage::relacy {
namespace {

TEST(FastFaultSearch, AgingLosesNoAccessNoWriteAndNoPermission) {
  ExpectHolds<AgedAndUsed>();
}

TEST(FastFaultSearch, NorDoesCleaningAndEachWriteAfterItIsSeen) {
  ExpectHolds<CleanedAndUsed>();
}

TEST(FastFaultSearch, AMappingThatWasZappedStaysAway) {
  ExpectHolds<ZappedAndUsed>();
}

TEST(FastFaultSearch, AnEvictedPageWasNotUsedBefore) {
  ExpectHolds<EvictedUnlessUsed>();
}

}  // namespace
}  // namespace ptage::relacy
