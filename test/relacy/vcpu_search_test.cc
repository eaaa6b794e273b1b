// SPDX-License-Identifier: MIT OR Apache-2.0

#include <gtest/gtest.h>

#include "test/relacy/expect.h"
#include "test/relacy/vcpu_searches.h"

namespace ptage::relacy {
namespace {

TEST(VcpuSearch, AVcpuAtWorkAnswersAFlush) {
  ExpectHolds<AtWork<Asked::kNoUse>>();
}

TEST(VcpuSearch, WhatAVcpuAtWorkDidIsVisibleAfterTheFlush) {
  ExpectHolds<AtWork<Asked::kData>>();
}

TEST(VcpuSearch, AnAnswerCarriesThePosition) {
  ExpectHolds<AtWork<Asked::kPosition>>();
}

TEST(VcpuSearch, AVcpuThatComesBackHasFlushed) {
  ExpectHolds<OutAndBack<Asked::kNoUse>>();
}

TEST(VcpuSearch, WhatAVcpuDidBeforeItLeftIsVisibleAfterTheFlush) {
  ExpectHolds<OutAndBack<Asked::kData>>();
}

TEST(VcpuSearch, AVcpuThatLeavesTellsItsPosition) {
  ExpectHolds<OutAndBack<Asked::kPosition>>();
}

TEST(VcpuSearch, EachFlushIsAnswered) { ExpectHolds<TwoFlushes>(); }

TEST(VcpuSearch, EachFlusherIsAnswered) { ExpectHolds<TwoFlushers>(); }

TEST(VcpuSearch, NoTableIsWalkedAfterItWasFreed) { ExpectHolds<TableReused>(); }

TEST(VcpuSearch, NoTableIsWalkedBeforeItIsBuilt) { ExpectHolds<TableBuilt>(); }

TEST(VcpuSearch, OnlyPresentEntriesAreMarked) {
  ExpectHolds<MarkAgainstFreeze>();
}

TEST(VcpuSearch, APollAnswersWhatWasAskedBefore) {
  ExpectHolds<AskedBefore<Looks::kPolls>>();
}

TEST(VcpuSearch, ATranslationAnswersWhatWasAskedBefore) {
  ExpectHolds<AskedBefore<Looks::kTranslates>>();
}

TEST(VcpuSearch, AnInnerEntryThatLedToAPageIsAccessed) {
  ExpectHolds<InnerPutBack>();
}

}  // namespace
}  // namespace ptage::relacy
