// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What this discipline promises beyond rmap_test.cc: who waits for the bit.

#include "ptage/rmap/bit_locked.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/rmap_fixture.h"

namespace ptage {
namespace {

using test::RmapMachine;
using test::Truth;
using test::WordOf;

template <class F>
class BitLockedTest : public ::testing::Test {
 protected:
  static constexpr RmapFrame kFrame{Gfn{0x77}, Level{1}};
  static constexpr std::uintptr_t kLocked = 2;

  void MustAdd(std::size_t i) {
    machine_.MustAdd(head_, machine_.entry(i), kFrame.gfn, Truth<F>::kYoung);
  }
  AgeResult Age(AgeMode mode) {
    return machine_.rmaps().Age(head_, kFrame, AgeAction::kTestAndClear, mode,
                                counts_);
  }
  // What another writer does.
  void SetBit() { WriteOnce(head_.word, WordOf(head_) | kLocked, kRelaxed); }
  void ClearBit() { WriteOnce(head_.word, WordOf(head_) & ~kLocked, kRelease); }
  // Sees that `call` waits while the bit is set, and returns afterwards.
  template <class Call>
  void ExpectToWaitForTheBit(Call call) {
    SetBit();
    Cell<std::uint32_t> returned(0u);
    std::thread thread([&] {
      call();
      WriteOnce(returned, 1u, kRelaxed);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(ReadOnce(returned, kRelaxed), 0u);
    ClearBit();
    thread.join();
    EXPECT_EQ(WordOf(head_) & kLocked, 0u);
  }

  RmapMachine<test::BitLockedRmaps<F>> machine_;
  RmapHead head_{};
  AgeCounts counts_;
};

TYPED_TEST_SUITE(BitLockedTest, test::AllFormats, test::FormatNames);

TYPED_TEST(BitLockedTest, TheBitIsClearBetweenCalls) {
  for (std::size_t i = 0; i < 3; ++i) {
    this->MustAdd(i);
    EXPECT_EQ(WordOf(this->head_) & this->kLocked, 0u);
    (void)this->Age(AgeMode::kSlow);
    (void)this->machine_.Count(this->head_);
    (void)this->machine_.Any(this->head_);
    (void)this->machine_.Contains(this->head_, this->machine_.entry(7));
    EXPECT_FALSE(this->machine_.Remove(this->head_, this->machine_.entry(7)));
    EXPECT_EQ(WordOf(this->head_) & this->kLocked, 0u);
  }
}

TYPED_TEST(BitLockedTest, FastOnlyMasksTheBitAndNeverWaits) {
  for (std::size_t n = 0; n < 3; ++n) {
    this->SetBit();
    const std::uintptr_t before = WordOf(this->head_);
    const AgeResult result = this->Age(AgeMode::kFastOnly);
    EXPECT_EQ(result.complete, n < 2);
    EXPECT_EQ(result.young, n == 1);
    EXPECT_EQ(WordOf(this->head_), before);
    this->ClearBit();
    this->MustAdd(n);
  }
}

TYPED_TEST(BitLockedTest, ReadersPassAnEmptyHeadEvenIfItIsLocked) {
  this->SetBit();
  EXPECT_EQ(this->Age(AgeMode::kSlow), AgeResult{});
  EXPECT_EQ(this->Age(AgeMode::kFastOnly), AgeResult{});
  EXPECT_EQ(WordOf(this->head_), this->kLocked);
}

TYPED_TEST(BitLockedTest, SlowWaitsForTheBitOfOneEntryAndOfMany) {
  this->MustAdd(0);
  AgeResult result;
  this->ExpectToWaitForTheBit([&] { result = this->Age(AgeMode::kSlow); });
  EXPECT_TRUE(result.young);
  this->MustAdd(1);
  this->ExpectToWaitForTheBit([&] { result = this->Age(AgeMode::kSlow); });
  EXPECT_TRUE(result.young);
}

TYPED_TEST(BitLockedTest, WritersWaitForTheBit) {
  RmapAdd added{};
  this->ExpectToWaitForTheBit([&] {
    added = this->machine_.rmaps().Add(this->head_, this->machine_.entry(0));
  });
  EXPECT_EQ(added, RmapAdd::kDone);
  bool removed = false;
  this->ExpectToWaitForTheBit([&] {
    removed =
        this->machine_.rmaps().Remove(this->head_, this->machine_.entry(0));
  });
  EXPECT_TRUE(removed);
}

}  // namespace
}  // namespace ptage
