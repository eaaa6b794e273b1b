// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/once/vector.h"

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"

namespace ptage {
namespace {

using Word = std::uint64_t;

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

class VectorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Runs()) GTEST_SKIP() << "not on this machine";
  }
  void Set(unsigned i, Word word) { WriteOnce(cells_[i], word, kRelaxed); }
  const Cell<Word>* At(unsigned i) const { return cells_.data() + i; }

  std::vector<Cell<Word>> cells_ = std::vector<Cell<Word>>(256);
};

TEST_F(VectorTest, ARunIsFoundWhereverItStands) {
  for (unsigned i = 0; i < 8; ++i) Set(3 + i, 0x7000 + 8 * i);
  EXPECT_EQ(WhereInRun(At(3), 8, Word{0x7000}, Word{8}), 0xFFu);
  Set(5, 0);
  EXPECT_EQ(WhereInRun(At(3), 8, Word{0x7000}, Word{8}), 0xFBu);
  EXPECT_EQ(WhereInRun(At(3), 8, Word{0}, Word{0}), 0x04u);
  EXPECT_EQ(WhereInRun(At(3), 0, Word{0x7000}, Word{8}), 0u);
}

TEST_F(VectorTest, HalfAWordIsNotAWord) {
  Set(0, 0x1'0000'0002);
  Set(1, 0x1'0000'0000);
  Set(2, 0x2);
  EXPECT_EQ(WhereInRun(At(0), 3, Word{2}, Word{0}), 0x4u);
  EXPECT_EQ(WhereInRun(At(0), 3, Word{0x1'0000'0002}, Word{0}), 0x1u);
  EXPECT_EQ(WhereHasLacks(At(0), 3, Word{1} << 32, Word{2}), 0x2u);
}

TEST_F(VectorTest, ABlockIsSoIfEachOfItsWordsIs) {
  for (unsigned i = 0; i < 64; ++i) Set(1 + i, 0x9000 + 8 * i);
  EXPECT_TRUE(BlockInRun(At(1), Word{0x9000}, Word{8}));
  EXPECT_TRUE(BlockHasLacks(At(1), Word{0x9000}, Word{1}));
  for (unsigned i = 0; i < 64; ++i) {
    Set(1 + i, 0x9001 + 8 * i);
    EXPECT_FALSE(BlockInRun(At(1), Word{0x9000}, Word{8})) << i;
    EXPECT_FALSE(BlockHasLacks(At(1), Word{0x9000}, Word{1})) << i;
    Set(1 + i, 0);
    EXPECT_FALSE(BlockInRun(At(1), Word{0x9000}, Word{8})) << i;
    EXPECT_FALSE(BlockHasLacks(At(1), Word{0x9000}, Word{1})) << i;
    Set(1 + i, 0x9000 + 8 * i);
  }
}

// Against one word after the other, at every length and alignment.
TEST_F(VectorTest, RandomWordsAreJudgedOneByOne) {
  std::mt19937_64 random(1);
  for (int turn = 0; turn < 2000; ++turn) {
    const auto count = static_cast<unsigned>(random() % 65);
    const auto at = static_cast<unsigned>(random() % 100);
    const Word first = random();
    const Word stride = turn % 3 == 0 ? 0 : Word{8};
    const Word has = turn % 2 == 0 ? Word{7} : Word{1} << random() % 64;
    const Word lacks = Word{1} << random() % 64;
    std::uint64_t run = 0;
    std::uint64_t so = 0;
    const bool all = random() % 2 == 0;
    for (unsigned i = 0; i < kBlock; ++i) {
      const Word word = all || random() % 8 != 0
                            ? first + i * stride
                            : random() & (random() % 2 == 0 ? ~Word{0} : has);
      Set(at + i, word);
      if (i >= count) continue;
      if (word == first + i * stride) run |= Word{1} << i;
      if ((word & has) != 0 && (word & lacks) == 0) so |= Word{1} << i;
    }
    ASSERT_EQ(WhereInRun(At(at), count, first, stride), run);
    ASSERT_EQ(WhereHasLacks(At(at), count, has, lacks), so);
    ASSERT_EQ(BlockInRun(At(at), first, stride),
              WhereInRun(At(at), kBlock, first, stride) == ~Word{0});
    ASSERT_EQ(BlockHasLacks(At(at), has, lacks),
              WhereHasLacks(At(at), kBlock, has, lacks) == ~Word{0});
  }
}

TEST_F(VectorTest, WordsOfFourBytesAreReadOneByOne) {
  Cell<std::uint32_t> cells[64];
  for (unsigned i = 0; i < 64; ++i) WriteOnce(cells[i], i * 4, kRelaxed);
  EXPECT_TRUE(BlockInRun(cells, std::uint32_t{0}, std::uint32_t{4}));
  EXPECT_EQ(WhereHasLacks(cells, 8, std::uint32_t{4}, std::uint32_t{8}), 0x22u);
  EXPECT_FALSE(BlockHasLacks(cells, std::uint32_t{4}, std::uint32_t{8}));
}

}  // namespace
}  // namespace ptage
