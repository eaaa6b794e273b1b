// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/protected_frames_searches.h"

namespace ptage::relacy {
namespace {

TEST(ProtectedFramesSearch, ANewLeafOfATableIsNotWritable) {
  ExpectHolds<BuilderAgainstNewLeaf<GuardedLockless, false>>();
  ExpectHolds<BuilderAgainstNewLeaf<GuardedBit, false>>();
}

TEST(ProtectedFramesSearch, NorIsOneMore) {
  ExpectHolds<BuilderAgainstNewLeaf<GuardedLockless, true>>();
  ExpectHolds<BuilderAgainstNewLeaf<GuardedBit, true>>();
}

TEST(ProtectedFramesSearch, NorIsOneThatIsGivenMoreRights) {
  ExpectHolds<BuilderAgainstMoreRights<GuardedLockless>>();
  ExpectHolds<BuilderAgainstMoreRights<GuardedBit>>();
}

TEST(ProtectedFramesSearch, NorIsOneOfTwo) {
  ExpectHolds<BuilderAgainstTwoFaults<GuardedLockless>>();
  ExpectHolds<BuilderAgainstTwoFaults<GuardedBit>>();
}

TEST(ProtectedFramesSearch, NoWriteIsLostToProtection) {
  ExpectHolds<BuilderAgainstCpu<GuardedLockless>>();
  ExpectHolds<BuilderAgainstCpu<GuardedBit>>();
}

}  // namespace
}  // namespace ptage::relacy
