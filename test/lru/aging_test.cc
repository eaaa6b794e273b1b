// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/lru/aging.h"

#include <cstdint>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lru.h"
#include "ptage/lru/page_word.h"
#include "ptage/notifier.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/types.h"

namespace ptage {
namespace {

static_assert(FastAgeable<NotifierChain<EpochDomain<>>>);

// Frames with an accessed bit each, some of which cannot be asked.
class Bits {
 public:
  explicit Bits(GfnRange range) : range_(range), young_(range.Frames()) {}

  void Use(std::uint64_t page) { young_[page] = true; }
  void Hide(std::uint64_t page) { hidden_.insert(page); }
  [[nodiscard]] bool IsYoung(std::uint64_t page) const { return young_[page]; }

  AgeResult TestClearYoungFastOnly(GfnRange range, const AgeOutput& output) {
    asked_.push_back(range);
    AgeResult result;
    for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
      const std::uint64_t page = gfn - range_.begin;
      const GfnRange one{gfn, gfn + 1};
      if (hidden_.count(page) != 0) {
        output.SetUnknown(one);
        result.complete = false;
      } else if (young_[page]) {
        output.SetYoung(one);
        young_[page] = false;
        result.young = true;
      }
    }
    return result;
  }
  // The ranges asked since the last call.
  std::vector<GfnRange> Asked() { return std::exchange(asked_, {}); }

 private:
  const GfnRange range_;
  std::vector<bool> young_;
  std::set<std::uint64_t> hidden_;
  std::vector<GfnRange> asked_;
};

class AgingTest : public testing::Test {
 protected:
  static constexpr Gfn kFirst{2 * 512};
  // Three tables and a part of a fourth.
  static constexpr std::uint32_t kPages = 3 * 512 + 100;

  AgingTest() {
    for (LruPage page = 0; page < kPages; ++page) lru_.Add(page);
    lru_.EndPass();
    lru_.EndPass();
  }
  static GfnRange Table(std::uint64_t table) {
    const GfnRange all{kFirst, kFirst + kPages};
    return all.Clip(GfnRange{kFirst + table * 512, kFirst + (table + 1) * 512});
  }
  [[nodiscard]] std::uint32_t AgeOf(LruPage page) const {
    return lru_.Read(page).AgeAt(lru_.Now());
  }
  // 64 of them, one in each line of entries.
  void UseTable(std::uint64_t table) {
    for (std::uint64_t i = 0; i < 512; i += 8) bits_.Use(table * 512 + i);
  }

  Lru<> lru_{kPages};
  Bits bits_{GfnRange{kFirst, kFirst + kPages}};
  AgingClient<Bits> client_{bits_, lru_, GfnRange{kFirst, kFirst + kPages}};
};

TEST_F(AgingTest, YoungPagesArePromotedAndOthersGrowOld) {
  bits_.Use(3);
  bits_.Use(kPages - 1);
  client_.Pass();
  EXPECT_EQ(AgeOf(3), 1u);
  EXPECT_EQ(AgeOf(kPages - 1), 1u);
  EXPECT_EQ(AgeOf(4), 3u);
  EXPECT_FALSE(bits_.IsYoung(3));
}

TEST_F(AgingTest, UnknownIsNeverCold) {
  bits_.Hide(700);
  client_.Pass();
  EXPECT_EQ(AgeOf(700), 1u);
  EXPECT_EQ(AgeOf(701), 3u);
  // Nor is anything learned of it.
  EXPECT_TRUE(lru_.Read(700).fresh());
}

TEST_F(AgingTest, APassGoesOnWhereItsBudgetStoppedIt) {
  const std::uint32_t before = lru_.Now();
  EXPECT_FALSE(client_.Run(512));
  EXPECT_EQ(bits_.Asked(), std::vector<GfnRange>({Table(0)}));
  EXPECT_FALSE(client_.Run(600));
  EXPECT_EQ(bits_.Asked(), std::vector<GfnRange>({Table(1), Table(2)}));
  EXPECT_EQ(lru_.Now(), before);
  EXPECT_TRUE(client_.Run(512));
  EXPECT_EQ(bits_.Asked(), std::vector<GfnRange>({Table(3)}));
  EXPECT_EQ(lru_.Now(), before + 1);
}

TEST_F(AgingTest, TheFirstPassAsksAllAndTheNextOnlyWhatWasWorthIt) {
  UseTable(1);
  bits_.Use(5);  // one page of table 0: not worth it
  client_.Pass();
  EXPECT_EQ(bits_.Asked().size(), 4u);
  bits_.Use(6);
  client_.Pass();
  EXPECT_EQ(bits_.Asked(), std::vector<GfnRange>({Table(1)}));
  // It waits to be asked.
  EXPECT_TRUE(bits_.IsYoung(6));
  EXPECT_EQ(client_.skipped_tables(), 3u);
  EXPECT_EQ(client_.asked_tables(), 5u);
}

TEST_F(AgingTest, WhatOthersFindWorthItIsAsked) {
  client_.Pass();
  bits_.Asked();
  // In the middle of a pass: for the next one.
  lru_.filters().Insert(2);
  client_.Pass();
  EXPECT_EQ(bits_.Asked().size(), 0u);
  client_.Pass();
  EXPECT_EQ(bits_.Asked(), std::vector<GfnRange>({Table(2)}));
}

TEST_F(AgingTest, OnePassInEightAsksAll) {
  for (int pass = 0; pass < 8; ++pass) client_.Pass();
  bits_.Asked();
  client_.Pass();
  EXPECT_EQ(bits_.Asked().size(), 4u);
}

TEST_F(AgingTest, WithoutAFilterEveryPassAsksAll) {
  AgingClient<Bits> client(bits_, lru_, GfnRange{kFirst, kFirst + kPages},
                           AgingConfig{.filter = false});
  client.Pass();
  client.Pass();
  EXPECT_EQ(bits_.Asked().size(), 8u);
}

TEST_F(AgingTest, AThreadAgesWhenMemoryIsLow) {
  AgingThread thread([&] { return client_.Run(512); }, 10);
  bits_.Use(3);
  thread.FreeFrames(11);
  thread.WaitUntilIdle();
  EXPECT_EQ(thread.passes(), 0u);
  std::thread([&] { thread.FreeFrames(10); }).join();
  thread.WaitUntilIdle();
  EXPECT_EQ(thread.passes(), 1u);
  EXPECT_EQ(AgeOf(3), 1u);
}

}  // namespace
}  // namespace ptage
