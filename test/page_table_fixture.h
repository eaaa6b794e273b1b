// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the tests of page_table.h share.

#ifndef PTAGE_TEST_PAGE_TABLE_FIXTURE_H_
#define PTAGE_TEST_PAGE_TABLE_FIXTURE_H_

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/tree.h"

namespace ptage::test {

inline constexpr Level kSmall{1};
inline constexpr Level kLarge{2};

// What a sink received.
template <class F>
struct Taken {
  Gfn gfn;
  Level level;
  typename F::Word word;
  bool operator==(const Taken&) const = default;
};

template <class F>
class PageTableFixture : public ::testing::Test {
 protected:
  using Word = typename F::Word;
  using Tree = typename TestTree<F>::Tree;
  using Walk = typename TestTree<F>::Walk;

  // Frames of an entry of level 2: 512, or 4.
  static constexpr std::uint64_t kFrames = FramesAt<F>(kLarge);
  static constexpr Gfn kA{0};
  static constexpr Gfn kB{kFrames};
  static constexpr GfnRange kFirst{kA, kB};

  static Word Leaf(Gfn gfn, Level level = kSmall,
                   Rights rights = Rights::kAll) {
    return TestTree<F>::Leaf(gfn, level, rights);
  }
  static Word Young(Word word) { return TestTree<F>::Young(word); }
  static Word Dirty(Word word) { return TestTree<F>::Dirty(word); }

  // Writes down what a sink receives; every entry is frozen then.
  auto Into(std::vector<Taken<F>>& log) {
    return [&log](const TakenLeaf<F>& leaf) {
      EXPECT_EQ(ReadOnce(leaf.entry, kRelaxed), F::kFrozen);
      EXPECT_EQ(leaf.Frames(),
                (GfnRange{leaf.gfn, leaf.gfn + FramesAt<F>(leaf.level)}));
      log.push_back(Taken<F>{leaf.gfn, leaf.level, leaf.word});
    };
  }
  std::uint64_t Zap(GfnRange range, std::vector<Taken<F>>& log,
                    ZapFlush flush = ZapFlush::kEach) {
    return owner_.tree().Zap(Walk(owner_.domain()), range, flush, Into(log));
  }
  std::uint64_t Remove(GfnRange range, std::vector<Taken<F>>& log) {
    return owner_.tree().RemoveTables(Walk(owner_.domain()), range, Into(log));
  }
  StructureOutcome Split(Gfn gfn) {
    return owner_.tree().Split(Walk(owner_.domain()), gfn, kLarge);
  }
  StructureOutcome Promote(Gfn gfn) {
    return owner_.tree().Promote(Walk(owner_.domain()), gfn, kLarge);
  }

  TestTree<F> owner_;
};

// Runs `waiter` in a thread, sees that it waits, calls `release`, and sees that
// it returns.
template <class Waiter, class Release>
void ExpectToWait(Waiter waiter, Release release) {
  Cell<std::uint32_t> returned(0u);
  std::thread thread([&] {
    waiter();
    WriteOnce(returned, 1u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 0u);
  release();
  thread.join();
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_PAGE_TABLE_FIXTURE_H_
