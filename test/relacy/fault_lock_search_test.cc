// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/fault_lock_searches.h"

namespace ptage::relacy {
namespace {

TEST(FaultLockSearch, WhoHasItAloneIsAlone) {
  ExpectHolds<LockHolders<Watched::kHolders, Holds::kAlone, Holds::kShared>>();
  ExpectHolds<LockHolders<Watched::kHolders, Holds::kAlone, Holds::kShared,
                          Holds::kShared>>();
}

TEST(FaultLockSearch, AndSeesWhatTheOthersWrote) {
  ExpectHolds<LockHolders<Watched::kData, Holds::kAlone, Holds::kShared>>();
  ExpectHolds<LockHolders<Watched::kData, Holds::kAlone, Holds::kShared,
                          Holds::kShared>>();
}

TEST(FaultLockSearch, TwoHaveItAloneOneAfterTheOther) {
  ExpectHolds<LockHolders<Watched::kHolders, Holds::kAlone, Holds::kAlone>>();
  ExpectHolds<LockHolders<Watched::kHolders, Holds::kAlone, Holds::kAlone,
                          Holds::kShared>>();
  ExpectHolds<LockHolders<Watched::kData, Holds::kAlone, Holds::kAlone,
                          Holds::kShared>>();
}

TEST(FaultLockSearch, WhoHasTheMutexKeepsOutWhoWantsItAlone) {
  ExpectHolds<LockHolders<Watched::kHolders, Holds::kAlone, Holds::kMutex>>();
  ExpectHolds<LockHolders<Watched::kData, Holds::kAlone, Holds::kMutex,
                          Holds::kShared>>();
}

}  // namespace
}  // namespace ptage::relacy
