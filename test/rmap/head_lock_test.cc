// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/rmap/head_lock.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "test/stress.h"

namespace ptage::internal {
namespace {

TEST(HeadLockTest, SetsBitOneAndReturnsTheWordWithoutIt) {
  RmapHead head{};
  WriteOnce(head.word, 0x1000, kRelaxed);
  EXPECT_EQ(LockHead(head), 0x1000u);
  EXPECT_EQ(ReadOnce(head.word, kRelaxed), 0x1002u);
  UnlockHead(head, 0x2001);
  EXPECT_EQ(ReadOnce(head.word, kRelaxed), 0x2001u);
}

// The count is plain: the sanitizer sees whether the lock orders its writers.
TEST(HeadLockStressTest, ExcludesAndMakesVisible) {
  RmapHead head{};
  std::uint64_t count = 0;
  std::uint64_t mine[2] = {};
  const auto add = [&](int thread) {
    const std::uintptr_t word = LockHead(head);
    ++count;
    UnlockHead(head, word + 8);
    ++mine[thread];
  };
  test::Stress({[&] { add(0); }, [&] { add(1); }});
  EXPECT_EQ(count, mine[0] + mine[1]);
  EXPECT_EQ(ReadOnce(head.word, kRelaxed), 8 * count);
}

}  // namespace
}  // namespace ptage::internal
