// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/type_stable_searches.h"

namespace ptage::relacy {
namespace {

TEST(TypeStableSearch, AnIdentityTellsWhoseAnEntryWas) {
  ExpectHolds<IdentityAgainstReuse<Differs::kTree>>();
  ExpectHolds<IdentityAgainstReuse<Differs::kFrame>>();
  ExpectHolds<
      IdentityAgainstReuse<Differs::kTree, RandomInterleavings(200'000)>>();
  ExpectHolds<
      IdentityAgainstReuse<Differs::kFrame, RandomInterleavings(200'000)>>();
}

TEST(TypeStableSearch, AHarvestTakesNothingOfAnotherGfn) {
  ExpectHolds<HarvestAgainstReuse<Reuse::kAnotherGfn, kTake>>();
  ExpectHolds<HarvestAgainstReuse<Reuse::kAnotherGfn, kLook>>();
}

TEST(TypeStableSearch, AHarvestTakesNothingOfAnotherTree) {
  ExpectHolds<HarvestAgainstReuse<Reuse::kAnotherTree, kTake>>();
  ExpectHolds<HarvestAgainstReuse<Reuse::kAnotherTree, kLook>>();
}

TEST(TypeStableSearch, AHarvestTakesNothingOfAnotherLevel) {
  ExpectHolds<HarvestAgainstAnotherLevel>();
}

TEST(TypeStableSearch, AHarvestTakesNothingOfASplitThatIsNotPublished) {
  ExpectHolds<HarvestAgainstReuse<Reuse::kSplit, kTake>>();
}

TEST(TypeStableSearch, AHarvestOfDirtyBitsTakesNothingOfAnotherGfn) {
  ExpectHolds<DirtyAgainstReuse>();
}

TEST(TypeStableSearch, AWalkTakesNothingOfASplitThatIsNotPublished) {
  ExpectHolds<WalkAgainstSplit<kTake>>();
  ExpectHolds<WalkAgainstSplit<kLook>>();
}

TEST(TypeStableSearch, AHarvestIsNotDeceivedByATableThatComesBack) {
  ExpectHolds<HarvestAgainstReuse<Reuse::kAwayAndBack, kTake>>();
  ExpectHolds<HarvestAgainstReuse<Reuse::kAwayAndBack, kLook>>();
  ExpectHolds<HarvestAgainstReuse<Reuse::kAwayToTree, kTake>>();
  ExpectHolds<HarvestAgainstReuse<Reuse::kAwayToTree, kLook>>();
}

TEST(TypeStableSearch, AHarvestAsksAgainForEachEntryThatItTakes) {
  ExpectHolds<HarvestAskedBefore<kTake>>();
  ExpectHolds<HarvestAskedBefore<kLook>>();
}

TEST(TypeStableSearch, AFaultInstallsNothingInAnothersTable) {
  ExpectHolds<FaultAgainstReuse>();
}

TEST(TypeStableSearch, AFaultBuildsNothingUnderAnothersTable) {
  ExpectHolds<BuilderAgainstReuse>();
}

TEST(TypeStableSearch, AZapTakesNothingOfAnotherTree) {
  ExpectHolds<ZapAgainstReuse>();
}

TEST(TypeStableSearch, NoLeafIsLostInATableThatIsBuiltAnew) {
  ExpectHolds<FaultAgainstRebuilding>();
}

TEST(TypeStableSearch, NoLeafIsLostInATableThatASplitDidNotNeed) {
  ExpectHolds<FaultAgainstVainSplit>();
}

TEST(TypeStableSearch, AZapHandsOnWhatNoCpuUses) {
  ExpectHolds<StableCachedLeaf>();
}

TEST(TypeStableSearch, NobodyReadsEmptyBeforeTheAccessIsOnRecord) {
  ExpectHolds<StableEmptyAfterRecord>();
}

TEST(TypeStableSearch, EverythingAtOnce) { ExpectHolds<StableEverything>(); }

}  // namespace
}  // namespace ptage::relacy
