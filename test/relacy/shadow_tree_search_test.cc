// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/shadow_tree_searches.h"

namespace ptage::relacy {
namespace {

TEST(ShadowTreeSearch, WhoFindsAPageMappedIsToldOfItsAccess) {
  ExpectHolds<MapAgainstAsker<AgeMode::kSlow>>();
  ExpectHolds<MapAgainstAsker<AgeMode::kFastOnly>>();
}

TEST(ShadowTreeSearch, WhoFindsNothingSeesWhatWasTaken) {
  ExpectHolds<TakeAgainstAsker<TakeWay::kLeaves, AgeMode::kFastOnly>>();
  ExpectHolds<TakeAgainstAsker<TakeWay::kEntries, AgeMode::kSlow>>();
  ExpectHolds<TakeAgainstAsker<TakeWay::kTables, AgeMode::kFastOnly>>();
  ExpectHolds<TakeAgainstAsker<TakeWay::kReclaim, AgeMode::kFastOnly>>();
}

TEST(ShadowTreeSearch, AnAccessIsChargedToTheFrameThatWasMapped) {
  ExpectHolds<MoveAgainstAsker<AgeMode::kFastOnly>>();
}

TEST(ShadowTreeSearch, NoCpuUsesWhatWasHandedOn) {
  ExpectHolds<TakeAgainstCpu<TakeWay::kLeaves>>();
  ExpectHolds<TakeAgainstCpu<TakeWay::kTables>>();
}

TEST(ShadowTreeSearch, NoLeafOfATableIsWritable) {
  ExpectHolds<BuilderAgainstFault<Becoming::kMapped>>();
  ExpectHolds<BuilderAgainstFault<Becoming::kMappedOnceMore>>();
  ExpectHolds<BuilderAgainstFault<Becoming::kGrantedMore>>();
  ExpectHolds<BuilderAgainstFault<Becoming::kGrantedAgain>>();
  ExpectHolds<BuilderAgainstTwoFaults>();
}

TEST(ShadowTreeSearch, ItsProtectionCostsNoAccessAndNoWrite) {
  ExpectHolds<BuildMapAndAsk>();
}

TEST(ShadowTreeSearch, NobodyWritesToATableThatIsRead) {
  ExpectHolds<BuilderAgainstCpu>();
}

TEST(ShadowTreeSearch, TwoFaultsBuildOneTable) {
  ExpectHolds<TwoBuilders<0>>();
  ExpectHolds<TwoBuilders<1>>();
  ExpectHolds<TwoFaultsOfParts>();
}

TEST(ShadowTreeSearch, NothingIsMappedThatNoRmapHas) {
  ExpectHolds<FullAgainstCpu>();
}

TEST(ShadowTreeSearch, FaultsAndRemovalsLoseNoAccess) {
  ExpectHolds<FaultTakeAndAsk<TakeWay::kLeaves>>();
  ExpectHolds<FaultTakeAndAsk<TakeWay::kTables>>();
  ExpectHolds<FaultTakeAndAsk<TakeWay::kReclaim>>();
}

TEST(ShadowTreeSearch, WhatIsLinkedIsNotUnused) {
  ExpectHolds<UnusedAgainstFault>();
}

}  // namespace
}  // namespace ptage::relacy
