// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What this discipline promises beyond rmap_test.cc: whom nobody waits for.

#include "ptage/rmap/lockless.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::Truth;
using test::WordOf;

template <class F>
class LocklessTest : public ::testing::Test {
 protected:
  static constexpr RmapFrame kFrame{Gfn{0x77}, Level{1}};
  static constexpr std::uintptr_t kLocked = 2;

  void MustAdd(std::size_t i, typename F::Word word = Truth<F>::kYoung) {
    machine_.MustAdd(head_, machine_.entry(i), kFrame.gfn, word);
  }
  AgeResult Age(AgeMode mode) {
    const LocklessWalk<EpochDomain<>> walk(machine_.domain());
    return machine_.rmaps().Age(head_, kFrame, AgeAction::kTestAndClear, mode,
                                counts_);
  }

  RmapMachine<test::LocklessRmaps<F>> machine_{64};
  RmapHead head_{};
  AgeCounts counts_;
};

TYPED_TEST_SUITE(LocklessTest, test::AllFormats, test::FormatNames);

// As if a writer had lost its CPU inside a call.
TYPED_TEST(LocklessTest, NobodyWhoAsksWaitsForAWriter) {
  for (std::size_t n = 0; n < 10; ++n) {
    WriteOnce(this->head_.word, WordOf(this->head_) | this->kLocked, kRelaxed);
    for (const AgeMode mode : {AgeMode::kFastOnly, AgeMode::kSlow}) {
      for (std::size_t i = 0; i < n; ++i) {
        WriteOnce(this->machine_.entry(i), Truth<TypeParam>::kYoung, kRelaxed);
      }
      this->counts_ = AgeCounts();
      const AgeResult result = this->Age(mode);
      EXPECT_EQ(result, (AgeResult{.young = n != 0}));
      EXPECT_EQ(this->counts_.young, n);
    }
    EXPECT_NE(WordOf(this->head_) & this->kLocked, 0u);
    WriteOnce(this->head_.word, WordOf(this->head_) & ~this->kLocked, kRelease);
    this->MustAdd(n);
  }
}

TYPED_TEST(LocklessTest, WritersWaitForTheWriterOfTheirHeadAlone) {
  RmapHead other{};
  this->MustAdd(0);
  WriteOnce(this->head_.word, WordOf(this->head_) | this->kLocked, kRelaxed);
  EXPECT_EQ(this->machine_.Add(other, this->machine_.entry(9)), RmapAdd::kDone);
  Cell<std::uint32_t> returned(0u);
  std::thread thread([&] {
    EXPECT_TRUE(this->machine_.Remove(this->head_, this->machine_.entry(0)));
    WriteOnce(returned, 1u, kRelaxed);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(ReadOnce(returned, kRelaxed), 0u);
  WriteOnce(this->head_.word, WordOf(this->head_) & ~this->kLocked, kRelease);
  thread.join();
  EXPECT_EQ(WordOf(this->head_), 0u);
}

// Some entries stay in the list while others come and go above and below them,
// so that those that stay are moved about. Each of them is young before each
// question, so each must be cleared by it.
TYPED_TEST(LocklessTest, EveryEntryThatStaysIsExaminedWhileOthersComeAndGo) {
  using F = TypeParam;
  using T = Truth<F>;
  constexpr std::size_t kAll = 40;
  constexpr std::size_t kStay = 5;
  std::mt19937 random(1);
  std::vector<std::size_t> guests;
  // Between guests, so that the first removals move them.
  for (std::size_t i = kStay; i < kStay + 3; ++i) {
    this->MustAdd(i, T::kCold);
    guests.push_back(i);
  }
  for (std::size_t i = 0; i < kStay; ++i) this->MustAdd(i, T::kCold);
  for (std::size_t i = kStay; i < kAll; ++i) {
    this->machine_.Set(this->machine_.entry(i), this->kFrame.gfn, T::kCold);
  }
  std::uint64_t missed = 0;
  std::uint64_t questions = 0;
  std::uint64_t moves = 0;
  test::Stress(
      {[&] {
         const std::size_t i = kStay + random() % (kAll - kStay);
         const auto there = std::find(guests.begin(), guests.end(), i);
         auto& entry = this->machine_.entry(i);
         if (there != guests.end()) {
           if (this->machine_.Remove(this->head_, entry)) ++moves;
           guests.erase(there);
         } else if (this->machine_.Add(this->head_, entry) == RmapAdd::kDone) {
           guests.push_back(i);
         }
       },
       [&] {
         for (std::size_t i = 0; i < kStay; ++i) {
           WriteOnce(this->machine_.entry(i), T::kYoung, kRelaxed);
         }
         (void)this->Age(AgeMode::kFastOnly);
         for (std::size_t i = 0; i < kStay; ++i) {
           if (ReadOnce(this->machine_.entry(i), kRelaxed) != T::kCold) {
             ++missed;
           }
         }
         ++questions;
       }});
  EXPECT_EQ(missed, 0u);
  EXPECT_GT(questions, 100u);
  EXPECT_GT(moves, 100u);
  EXPECT_EQ(this->machine_.Count(this->head_), kStay + guests.size());
}

}  // namespace
}  // namespace ptage
