// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Faults, frees, marks, aging and two evictors on the same pages.

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lru.h"
#include "ptage/lru/page_word.h"
#include "ptage/once.h"
#include "ptage/types.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr LruPage kPages = 96;

TEST(LruStressTest, OnePageHasOneEvictorAndNoneIsLost) {
  Lru<> lru(kPages);
  // Whatever a page's evictor does, unsynchronized.
  std::vector<std::uint64_t> held(kPages);
  std::vector<Cell<std::uint32_t>> holders(kPages, Cell<std::uint32_t>(0));
  Cell<std::uint64_t> shared(0);
  const auto evictor = [&](unsigned seed) {
    return [&, random = std::mt19937(seed)]() mutable {
      const std::optional<LruPage> page = lru.Claim();
      if (!page.has_value()) return;
      if (FetchAdd(holders[*page], 1u, kRelaxed) != 0) {
        FetchAdd(shared, std::uint64_t{1}, kRelaxed);
      }
      ++held[*page];
      const bool marked = lru.TakeReferenced(*page);
      FetchAdd(holders[*page], 0u - 1, kRelaxed);
      lru.Release(*page, marked              ? EvictionVerdict::kYoung
                         : random() % 4 == 0 ? EvictionVerdict::kBusy
                                             : EvictionVerdict::kEvicted);
    };
  };
  const auto faulter = [&, random = std::mt19937(3)]() mutable {
    const auto page = static_cast<LruPage>(random() % kPages);
    if (!lru.Add(page)) lru.MarkReferenced(page);
  };
  const auto owner = [&, random = std::mt19937(4)]() mutable {
    (void)lru.Free(static_cast<LruPage>(random() % kPages));
    lru.Add(static_cast<LruPage>(random() % kPages));
  };
  const auto ager = [&, random = std::mt19937(5)]() mutable {
    std::uint64_t young[2] = {random(), random() & 0xFFFF'FFFFu};
    std::uint64_t unknown[2] = {random() & random(), 0};
    lru.Promote(0, Bitmap(young, kPages));
    lru.Keep(0, Bitmap(unknown, kPages));
    lru.EndPass();
  };
  test::Stress({evictor(1), evictor(2), faulter, owner, ager});
  EXPECT_EQ(ReadOnce(shared, kRelaxed), 0u);

  // Every page is in one of two states now, and those that are there can be
  // claimed.
  unsigned there = 0;
  for (LruPage page = 0; page < kPages; ++page) {
    const PageState state = lru.Read(page).state();
    EXPECT_TRUE(state == PageState::kAbsent || state == PageState::kResident);
    (void)lru.TakeReferenced(page);
    there += state == PageState::kResident ? 1u : 0u;
  }
  unsigned claimed = 0;
  while (lru.Claim().has_value()) ++claimed;
  EXPECT_EQ(claimed, there);
}

}  // namespace
}  // namespace ptage
