// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/once/block.h"

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/once/vector.h"

namespace ptage {
namespace {

// Whether this machine can run what the test was compiled for.
bool Runs() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") != 0;
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") != 0;
#else
  return true;
#endif
}

template <class T>
class BlockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Runs()) GTEST_SKIP() << "not on this machine";
  }

  // What one word after the other says.
  BlockSeen Judge(const Cell<T>* block, T all, T has) const {
    BlockSeen seen{.all = true};
    for (unsigned i = 0; i < kBlock; ++i) {
      const T word = ReadOnce(block[i], kRelaxed);
      if ((word & all) == 0) seen.all = false;
      if ((word & has) != 0) seen.has |= std::uint64_t{1} << i;
    }
    return seen;
  }

  template <unsigned kSide, Loads kLoads>
  void Compare(T all, T has) {
    const Cell<T>* blocks[kSide];
    for (const Cell<T>*& block : blocks) {
      block = cells_.data() + random_() % (cells_.size() - kBlock);
    }
    BlockSeen seen[kSide];
    SeeBlocks<kSide, kLoads>(blocks, all, has, seen);
    for (unsigned s = 0; s < kSide; ++s) {
      const BlockSeen truth = Judge(blocks[s], all, has);
      ASSERT_EQ(seen[s].all, truth.all) << s;
      ASSERT_EQ(seen[s].has, truth.has) << s;
    }
  }

  std::mt19937_64 random_{1};
  std::vector<Cell<T>> cells_ = std::vector<Cell<T>>(2048);
};

using Words = ::testing::Types<std::uint64_t, std::uint32_t>;
TYPED_TEST_SUITE(BlockTest, Words);

TYPED_TEST(BlockTest, BlocksAreJudgedAsTheirWordsAre) {
  using T = TypeParam;
  constexpr unsigned kBits = 8 * sizeof(T);
  for (int turn = 0; turn < 400; ++turn) {
    const T all = static_cast<T>(T{1} << this->random_() % kBits);
    const T has = static_cast<T>(T{1} << this->random_() % kBits);
    for (Cell<T>& cell : this->cells_) {
      auto word = static_cast<T>(this->random_());
      // Most have the bit that all should have; often all do.
      if (turn % 2 == 0 || this->random_() % 64 != 0) word |= all;
      WriteOnce(cell, word, kRelaxed);
    }
    this->template Compare<1, Loads::kWidest>(all, has);
    this->template Compare<3, Loads::kWidest>(all, has);
    this->template Compare<8, Loads::kWidest>(all, has);
    this->template Compare<1, Loads::kWordByWord>(all, has);
    this->template Compare<8, Loads::kWordByWord>(all, has);
  }
}

// Each word by itself, so that no lane stands for its neighbour.
TYPED_TEST(BlockTest, EveryWordIsLookedAt) {
  using T = TypeParam;
  constexpr T kAll = 1, kHas = 0x100;
  for (unsigned i = 0; i < kBlock; ++i) {
    WriteOnce(this->cells_[i], kAll, kRelaxed);
  }
  const Cell<T>* const blocks[1] = {this->cells_.data()};
  for (unsigned i = 0; i < kBlock; ++i) {
    BlockSeen seen[1];
    WriteOnce(this->cells_[i], T{kAll | kHas}, kRelaxed);
    SeeBlocks<1>(blocks, kAll, kHas, seen);
    EXPECT_TRUE(seen[0].all);
    EXPECT_EQ(seen[0].has, std::uint64_t{1} << i);
    SeeBlocks<1, Loads::kWordByWord>(blocks, kAll, kHas, seen);
    EXPECT_TRUE(seen[0].all);
    EXPECT_EQ(seen[0].has, std::uint64_t{1} << i);

    WriteOnce(this->cells_[i], kHas, kRelaxed);
    SeeBlocks<1>(blocks, kAll, kHas, seen);
    EXPECT_FALSE(seen[0].all);
    SeeBlocks<1, Loads::kWordByWord>(blocks, kAll, kHas, seen);
    EXPECT_FALSE(seen[0].all);
    WriteOnce(this->cells_[i], kAll, kRelaxed);
  }
}

TEST(BlockDeathTest, SeveralBitsAreRefused) {
  std::vector<Cell<std::uint64_t>> cells(kBlock);
  const Cell<std::uint64_t>* const blocks[1] = {cells.data()};
  BlockSeen seen[1];
  EXPECT_DEATH(SeeBlocks<1>(blocks, std::uint64_t{3}, std::uint64_t{8}, seen),
               "");
  EXPECT_DEATH(SeeBlocks<1>(blocks, std::uint64_t{1}, std::uint64_t{0}, seen),
               "");
}

}  // namespace
}  // namespace ptage
