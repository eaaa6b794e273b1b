// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/rmap/grace_pool.h"

#include <cstddef>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/spte/ept.h"
#include "test/stress.h"

namespace ptage {
namespace {

using Chunks = RmapChunks<Ept>;
using Pool = GracePool<Chunks, EpochDomain<>>;

static_assert(LocklessRmapPool<Pool, Ept>);

class GracePoolTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kChunks = 3;

  EpochDomain<> domain_;
  std::vector<Chunks::First> firsts_{kChunks};
  std::vector<Chunks::Later> laters_{kChunks};
  Pool pool_{domain_, firsts_.data(), kChunks, laters_.data(), kChunks};
};

TEST_F(GracePoolTest, GivesOutEachChunkOnceAndThenNone) {
  std::set<void*> given;
  for (std::size_t i = 0; i < kChunks; ++i) {
    EXPECT_TRUE(given.insert(pool_.AllocateFirst()).second);
    EXPECT_TRUE(given.insert(pool_.AllocateLater()).second);
  }
  EXPECT_EQ(given.count(nullptr), 0u);
  EXPECT_EQ(pool_.AllocateFirst(), nullptr);
  EXPECT_EQ(pool_.AllocateLater(), nullptr);
  EXPECT_EQ(pool_.stats().in_use, 2 * kChunks);
}

TEST_F(GracePoolTest, ARetiredChunkIsGivenOutAgainWhenNoWalkIsUnderWay) {
  for (int round = 0; round < 5; ++round) {
    Chunks::First* chunks[kChunks];
    for (auto*& chunk : chunks) {
      chunk = pool_.AllocateFirst();
      ASSERT_NE(chunk, nullptr);
    }
    for (auto* chunk : chunks) pool_.Retire(chunk);
    EXPECT_EQ(pool_.stats().in_use, 0u);
  }
}

TEST_F(GracePoolTest, ARetiredChunkIsKeptForTheWalkThatBeganBefore) {
  Chunks::Later* chunks[kChunks];
  for (auto*& chunk : chunks) chunk = pool_.AllocateLater();
  {
    const LocklessWalk walk(domain_);
    pool_.Retire(chunks[0]);
    EXPECT_EQ(pool_.AllocateLater(), nullptr);
    EXPECT_EQ(pool_.stats().waiting, 1u);
  }
  EXPECT_EQ(pool_.AllocateLater(), chunks[0]);
  EXPECT_EQ(pool_.stats().waiting, 0u);
}

// Those that are retired while a grace period is under way wait for one of
// their own: a walk that began between may hold them.
TEST_F(GracePoolTest, ABatchThatFilledMeanwhileHasAGracePeriodOfItsOwn) {
  Chunks::Later* chunks[kChunks];
  for (auto*& chunk : chunks) chunk = pool_.AllocateLater();
  auto first = domain_.Begin();
  pool_.Retire(chunks[0]);
  domain_.Poll();  // the first batch's grace period begins
  auto second = domain_.Begin();
  pool_.Retire(chunks[1]);
  domain_.End(first);
  EXPECT_EQ(pool_.AllocateLater(), chunks[0]);
  EXPECT_EQ(pool_.AllocateLater(), nullptr);
  domain_.End(second);
  EXPECT_EQ(pool_.AllocateLater(), chunks[1]);
  EXPECT_EQ(pool_.AllocateLater(), nullptr);
}

TEST_F(GracePoolTest, RetiringAsksTheReclaimerToGoOn) {
  std::vector<Chunks::Later> many(3 * Pool::kPollEvery);
  Pool pool(domain_, nullptr, 0, many.data(), many.size());
  std::vector<Chunks::Later*> chunks;
  for (std::size_t i = 0; i < many.size(); ++i) {
    chunks.push_back(pool.AllocateLater());
  }
  for (auto* chunk : chunks) pool.Retire(chunk);
  EXPECT_LT(pool.stats().waiting, 2 * Pool::kPollEvery + 2);
}

// A reclaimer with nothing but what the concept asks for.
struct CallerFrees {
  struct Section {
    explicit operator bool() const { return true; }
  };
  Section Begin() { return {}; }
  void End(Section) {}
  void Retire(Retired& node) { retired = &node; }
  void Free() {
    Retired* const node = retired;
    retired = nullptr;
    node->free(*node, node->owner);
  }
  Retired* retired = nullptr;
};

TEST(GracePoolOfAnyReclaimerTest, TellsItOfABatchAtATime) {
  CallerFrees reclaimer;
  std::vector<Chunks::First> firsts(3);
  GracePool<Chunks, CallerFrees> pool(reclaimer, firsts.data(), 3, nullptr, 0);
  Chunks::First* chunks[3];
  for (auto*& chunk : chunks) chunk = pool.AllocateFirst();
  pool.Retire(chunks[0]);
  ASSERT_NE(reclaimer.retired, nullptr);
  Retired* const node = reclaimer.retired;
  reclaimer.retired = nullptr;
  pool.Retire(chunks[1]);
  pool.Retire(chunks[2]);
  EXPECT_EQ(reclaimer.retired, nullptr);
  EXPECT_EQ(pool.AllocateFirst(), nullptr);
  reclaimer.retired = node;
  reclaimer.Free();
  EXPECT_EQ(pool.AllocateFirst(), chunks[0]);
  EXPECT_EQ(pool.AllocateFirst(), nullptr);
  ASSERT_NE(reclaimer.retired, nullptr);
  reclaimer.Free();
  EXPECT_EQ(pool.stats().waiting, 0u);
  EXPECT_NE(pool.AllocateFirst(), nullptr);
  EXPECT_NE(pool.AllocateFirst(), nullptr);
}

TEST(GracePoolStressTest, NoTwoThreadsHaveTheSameChunk) {
  EpochDomain<> domain;
  std::vector<Chunks::First> firsts(4);
  Pool pool(domain, firsts.data(), firsts.size(), nullptr, 0);
  std::uint64_t given[2] = {};
  const auto turn = [&](int thread) {
    Chunks::First* const chunk = pool.AllocateFirst();
    if (chunk == nullptr) return;
    // Plain: the sanitizer sees who else has it.
    chunk->owner.Set(static_cast<std::uint64_t>(thread));
    EXPECT_EQ(chunk->owner.Get(), static_cast<std::uint64_t>(thread));
    ++given[thread];
    pool.Retire(chunk);
  };
  test::Stress({[&] { turn(0); }, [&] { turn(1); },
                [&] { const LocklessWalk walk(domain); }});
  EXPECT_GT(given[0], 0u);
  EXPECT_GT(given[1], 0u);
}

}  // namespace
}  // namespace ptage
