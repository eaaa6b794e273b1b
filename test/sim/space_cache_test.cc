// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/sim/space_cache.h"

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/sim/tlb.h"
#include "ptage/sim/translation_cache.h"
#include "ptage/sim/walk_cache.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::sim {
namespace {

using Plain = SplitCache<Ept, Tlb<Ept>, WalkCache<Ept>>;
using Cache = SpaceCache<Ept, Plain, 2>;
static_assert(TaggedCache<Cache, Ept>);
static_assert(!TaggedCache<Plain, Ept>);

class SpaceCacheTest : public testing::Test {
 protected:
  // What is cached of frame 5; frame 0 if nothing is.
  Pfn Five() {
    Pfn pfn{0};
    return cache_.FindPage(Gfn{5}, Rights::kRead, pfn) ? pfn : Pfn{0};
  }
  void CacheFive(Pfn pfn) {
    cache_.AddPage(Gfn{5}, Level{1}, pfn, Rights::kAll);
    cache_.AddTable(Gfn{5}, WalkedTable<Ept>{&roots_[0], Level{1}});
  }
  bool HasTable() { return cache_.FindTable(Gfn{5}).table != nullptr; }

  Table<Ept> roots_[3];
  Cache cache_;
};

TEST_F(SpaceCacheTest, EachTreeHasItsOwnAndIsFoundAgain) {
  cache_.Use(&roots_[0]);
  CacheFive(Pfn{7});
  cache_.Use(&roots_[1]);
  EXPECT_EQ(Five(), Pfn{0});
  EXPECT_FALSE(HasTable());
  CacheFive(Pfn{9});
  cache_.Use(&roots_[0]);
  EXPECT_EQ(Five(), Pfn{7});
  EXPECT_TRUE(HasTable());
  cache_.Use(&roots_[1]);
  EXPECT_EQ(Five(), Pfn{9});
}

TEST_F(SpaceCacheTest, AFlushDropsAllTreesAndAFaultOne) {
  for (int i = 0; i < 2; ++i) {
    cache_.Use(&roots_[i]);
    CacheFive(Pfn{7});
  }
  cache_.Forget(Gfn{5});
  EXPECT_EQ(Five(), Pfn{0});
  EXPECT_FALSE(HasTable());
  cache_.Use(&roots_[0]);
  EXPECT_EQ(Five(), Pfn{7});
  cache_.Use(&roots_[1]);
  cache_.Flush();
  for (int i = 0; i < 2; ++i) {
    cache_.Use(&roots_[i]);
    EXPECT_EQ(Five(), Pfn{0});
    EXPECT_FALSE(HasTable());
  }
}

TEST_F(SpaceCacheTest, ATagThatIsGivenAwayLeavesNothingBehind) {
  for (int i = 0; i < 3; ++i) {
    cache_.Use(&roots_[i]);
    EXPECT_EQ(Five(), Pfn{0});
    CacheFive(Pfn{7});
  }
  // The third took the place of the first.
  cache_.Use(&roots_[1]);
  EXPECT_EQ(Five(), Pfn{7});
  cache_.Use(&roots_[0]);
  EXPECT_EQ(Five(), Pfn{0});
}

}  // namespace
}  // namespace ptage::sim
