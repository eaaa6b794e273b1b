// SPDX-License-Identifier: MIT OR Apache-2.0

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "examples/far_memory/clock.h"
#include "examples/far_memory/fifo.h"
#include "examples/far_memory/generations.h"
#include "examples/far_memory/policy.h"
#include "examples/far_memory/resident_set.h"
#include "gtest/gtest.h"
#include "ptage/types.h"

namespace ptage::far_memory {
namespace {

// Memory of `limit` pages under a policy, with an accessed bit for each. Where
// an access is not seen by the policy, as its page is mapped, it is not told.
template <ReplacementPolicy P>
class Memory {
 public:
  Memory(std::uint64_t pages, std::uint64_t limit)
      : limit_(limit), policy_(pages, limit) {}

  // The page that had to go; none if none had to.
  std::optional<std::uint64_t> Use(std::uint64_t page) {
    std::optional<std::uint64_t> victim;
    if (const auto found = accessed_.find(page); found != accessed_.end()) {
      if (!found->second) policy_.Touched(Gfn{page}, Touch::kAgain);
      found->second = true;
      return victim;
    }
    if (accessed_.size() == limit_) {
      victim = Evict();
      EXPECT_EQ(accessed_.erase(*victim), 1u);
    }
    policy_.Touched(Gfn{page}, Touch::kLoaded);
    accessed_[page] = true;
    ++faults_;
    return victim;
  }
  void Forget(std::uint64_t page) {
    accessed_.erase(page);
    policy_.Forget(Gfn{page});
  }
  [[nodiscard]] int faults() const { return faults_; }
  [[nodiscard]] std::uint64_t passes() const { return passes_; }

 private:
  std::uint64_t Evict() {
    for (int turn = 0; turn < 1000; ++turn) {
      const GfnRange wanted = policy_.ToAge();
      if (!wanted.Empty()) Age(wanted);
      if (const std::optional<Gfn> victim = policy_.PickVictim()) {
        return victim->value;
      }
    }
    ADD_FAILURE() << "no victim";
    return accessed_.begin()->first;
  }
  void Age(GfnRange range) {
    ++passes_;
    std::vector<std::uint64_t> words((range.Frames() + 63) / 64);
    const Bitmap young(words.data(), range.Frames());
    for (auto& [page, accessed] : accessed_) {
      if (accessed && range.Contains(Gfn{page})) {
        young.Set(page - range.begin.value);
        accessed = false;
      }
    }
    policy_.Age(range, young);
  }

  const std::uint64_t limit_;
  P policy_;
  std::map<std::uint64_t, bool> accessed_;
  int faults_ = 0;
  std::uint64_t passes_ = 0;
};

// Bélády's anomaly: more memory, more faults (1969).
TEST(FifoTest, FaultsMoreOftenWithMoreMemoryOnBeladysString) {
  const std::uint64_t string[] = {1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5};
  Memory<Fifo> three(8, 3), four(8, 4);
  for (const std::uint64_t page : string) {
    (void)three.Use(page);
    (void)four.Use(page);
  }
  EXPECT_EQ(three.faults(), 9);
  EXPECT_EQ(four.faults(), 10);
  EXPECT_EQ(three.passes(), 0u);
}

TEST(FifoTest, AForgottenPageIsNoVictimAndComesBackAsTheLast) {
  Memory<Fifo> memory(8, 3);
  for (const std::uint64_t page : {1u, 2u, 3u}) (void)memory.Use(page);
  memory.Forget(1);
  EXPECT_EQ(memory.Use(1), std::nullopt);
  EXPECT_EQ(memory.Use(4), 2u);
  EXPECT_EQ(memory.Use(5), 3u);
  EXPECT_EQ(memory.Use(6), 1u);
}

// By hand: the hand stands in front of a page; * is an accessed page.
TEST(ClockTest, SparesWhatWasUsedSinceTheHandCameBy) {
  Memory<Clock> memory(8, 3);
  for (const std::uint64_t page : {1u, 2u, 3u}) (void)memory.Use(page);
  // |1* 2* 3*: all are spared in the first turn, so the first goes.
  EXPECT_EQ(memory.Use(4), 1u);
  // |2 3 4*: nothing was used since.
  EXPECT_EQ(memory.Use(5), 2u);
  // |3 4* 5*: but this one is now.
  EXPECT_EQ(memory.Use(3), std::nullopt);
  // |3* 4* 5*
  EXPECT_EQ(memory.Use(6), 3u);
  // |4 5 6*
  EXPECT_EQ(memory.Use(4), std::nullopt);
  // |4* 5 6*
  EXPECT_EQ(memory.Use(7), 5u);
  // 4 |6* 7*: both are spared, and the hand begins anew.
  EXPECT_EQ(memory.Use(1), 4u);
}

TEST(ClockTest, OnePageOfMemoryIsEnough) {
  Memory<Clock> memory(1000, 1);
  (void)memory.Use(0);
  for (std::uint64_t page = 1; page < 1000; ++page) {
    ASSERT_EQ(memory.Use(page), page - 1);
  }
  ASSERT_EQ(memory.Use(0), 999u);
}

// The textbook's clock over pages in the order of their numbers.
class Textbook {
 public:
  explicit Textbook(std::uint64_t limit) : limit_(limit) {}
  std::optional<std::uint64_t> Use(std::uint64_t page) {
    if (const auto found = accessed_.find(page); found != accessed_.end()) {
      found->second = true;
      return std::nullopt;
    }
    std::optional<std::uint64_t> victim;
    while (accessed_.size() == limit_) {
      auto at = accessed_.lower_bound(hand_);
      if (at == accessed_.end()) at = accessed_.begin();
      hand_ = at->first + 1;
      if (!at->second) {
        victim = at->first;
        accessed_.erase(at);
      } else {
        at->second = false;
      }
    }
    accessed_[page] = true;
    return victim;
  }

 private:
  const std::uint64_t limit_;
  std::map<std::uint64_t, bool> accessed_;
  std::uint64_t hand_ = 0;
};

TEST(ClockTest, PicksWhatTheTextbookPicks) {
  for (const std::uint64_t limit : {1u, 2u, 5u, 10u, 16u, 31u}) {
    Memory<Clock> memory(100, limit);
    Textbook textbook(limit);
    std::mt19937_64 random(limit);
    for (int i = 0; i < 5000; ++i) {
      // Low pages more often.
      const std::uint64_t page = std::min(random() % 100, random() % 100);
      ASSERT_EQ(memory.Use(page), textbook.Use(page))
          << "limit " << limit << ", use " << i;
    }
  }
}

TEST(ClockTest, PagesAgedTogetherAreSparedWhenUsedBeforeTheHandCame) {
  // Four at a time.
  Memory<Clock> memory(200, 64);
  for (std::uint64_t page = 0; page < 64; ++page) (void)memory.Use(page);
  EXPECT_EQ(memory.Use(100), 0u);  // ages 0 … 3 for the second time
  EXPECT_EQ(memory.Use(2), std::nullopt);
  EXPECT_EQ(memory.Use(101), 1u);
  EXPECT_EQ(memory.Use(102), 3u);
  EXPECT_EQ(memory.Use(103), 4u);
}

TEST(ClockTest, AForgottenPageIsNoVictim) {
  Memory<Clock> memory(8, 3);
  for (const std::uint64_t page : {1u, 2u, 3u}) (void)memory.Use(page);
  memory.Forget(1);
  EXPECT_EQ(memory.Use(4), std::nullopt);
  EXPECT_EQ(memory.Use(5), 2u);
}

// A loop over twice what there is room for, and a few pages that are used all
// the time: first in, first out throws these out too.
TEST(GenerationsTest, WhatIsUsedAllTheTimeStays) {
  constexpr std::uint64_t kLimit = 64;
  const auto faults_of_hot = [](auto memory) {
    int faults = 0;
    for (int i = 0; i < 20'000; ++i) {
      (void)memory.Use(32 + static_cast<unsigned>(i) % (2 * kLimit));
      const int before = memory.faults();
      (void)memory.Use(static_cast<unsigned>(i) % 16);
      if (i >= 10'000) faults += memory.faults() - before;
    }
    return faults;
  };
  const int fifo = faults_of_hot(Memory<Fifo>(256, kLimit));
  const int generations = faults_of_hot(Memory<Generations>(256, kLimit));
  EXPECT_GT(fifo, 1000);
  EXPECT_LT(generations, fifo / 10);
}

TEST(GenerationsTest, OnePageOfMemoryIsEnough) {
  Memory<Generations> memory(1000, 1);
  (void)memory.Use(0);
  for (std::uint64_t page = 1; page < 1000; ++page) {
    ASSERT_EQ(memory.Use(page), page - 1);
  }
  // And where the page in question is in use.
  memory.Forget(999);
  (void)memory.Use(5);
  (void)memory.Use(5);
  ASSERT_EQ(memory.Use(6), 5u);
}

TEST(GenerationsTest, AForgottenPageIsNoVictim) {
  Memory<Generations> memory(8, 3);
  for (const std::uint64_t page : {1u, 2u, 3u}) (void)memory.Use(page);
  memory.Forget(1);
  EXPECT_EQ(memory.Use(4), std::nullopt);
  EXPECT_NE(memory.Use(5), std::nullopt);
}

TEST(ResidentSetTest, AWindowHasSoManyPagesAndBeginsAnewAtTheEnd) {
  ResidentSet set(300);
  EXPECT_TRUE(set.Window(Gfn{0}, 5).Empty());
  for (const std::uint64_t page : {3u, 64u, 65u, 299u}) set.Add(Gfn{page});
  EXPECT_EQ(set.Next(Gfn{0}), Gfn{3});
  EXPECT_EQ(set.Next(Gfn{66}), Gfn{299});
  EXPECT_EQ(set.Window(Gfn{4}, 2), (GfnRange{Gfn{64}, Gfn{66}}));
  EXPECT_EQ(set.Window(Gfn{65}, 9), (GfnRange{Gfn{65}, Gfn{300}}));
  EXPECT_EQ(set.Window(Gfn{300}, 1), (GfnRange{Gfn{3}, Gfn{4}}));
  set.Remove(Gfn{299});
  EXPECT_EQ(set.Next(Gfn{66}), Gfn{300});
}

}  // namespace
}  // namespace ptage::far_memory
