// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/rmap/chunk_list.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "test/formats.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::TinyFormat;

// A cache line where pointers have 64 bits.
static_assert(sizeof(RmapChunk<Ept>) == 64 && alignof(RmapChunk<Ept>) == 64);

// --- Pools.

// Nothing that the concept does not ask for.
class MinimalPool {
 public:
  using Chunk = RmapChunk<TinyFormat>;
  RmapChunk<TinyFormat>* Allocate() { return nullptr; }
  void Free(RmapChunk<TinyFormat>*) {}
};
struct CannotFree {
  using Chunk = RmapChunk<TinyFormat>;
  RmapChunk<TinyFormat>* Allocate();
};
struct AllocatesBytes : MinimalPool {
  void* Allocate();
};

static_assert(RmapChunkPool<MinimalPool, TinyFormat>);
static_assert(RmapChunkPool<FixedChunkPool<Ept>, Ept>);
static_assert(!RmapChunkPool<MinimalPool, Ept>);
static_assert(!RmapChunkPool<CannotFree, TinyFormat>);
static_assert(!RmapChunkPool<AllocatesBytes, TinyFormat>);
// The last entry of a list must lie in its newest chunk.
static_assert(!RmapChunkPool<FixedChunkPool<Ept, SpinLock, 1>, Ept>);
static_assert(sizeof(RmapChunk<Ept, 14>) == 128);

TEST(FixedChunkPoolTest, GivesOutEachChunkOnceAndThenNone) {
  std::vector<RmapChunk<Ept>> chunks(3);
  FixedChunkPool<Ept> pool(chunks.data(), chunks.size());
  EXPECT_EQ(pool.InUse(), 0u);
  std::set<RmapChunk<Ept>*> given;
  for (std::size_t i = 1; i <= 3; ++i) {
    RmapChunk<Ept>* const chunk = pool.Allocate();
    ASSERT_NE(chunk, nullptr);
    EXPECT_TRUE(given.insert(chunk).second);
    EXPECT_GE(chunk, chunks.data());
    EXPECT_LT(chunk, chunks.data() + 3);
    EXPECT_EQ(pool.InUse(), i);
  }
  EXPECT_EQ(pool.Allocate(), nullptr);
  pool.Free(*given.begin());
  EXPECT_EQ(pool.InUse(), 2u);
  EXPECT_EQ(pool.Allocate(), *given.begin());
}

TEST(FixedChunkPoolStressTest, NoTwoThreadsHaveTheSameChunk) {
  std::vector<RmapChunk<Ept>> chunks(2);
  FixedChunkPool<Ept> pool(chunks.data(), chunks.size());
  std::uint64_t shared[3] = {};
  const auto user = [&](std::uint32_t self) {
    return [&, self] {
      RmapChunk<Ept>* const chunk = pool.Allocate();
      if (chunk == nullptr) return;
      chunk->count.Set(self);
      if (chunk->count.Get() != self) ++shared[self];
      pool.Free(chunk);
    };
  };
  test::Stress({user(0), user(1), user(2)});
  EXPECT_EQ(shared[0] + shared[1] + shared[2], 0u);
  EXPECT_EQ(pool.InUse(), 0u);
}

// --- Lists.

class ChunkListTest : public ::testing::Test {
 protected:
  using List = internal::ChunkList<Ept, FixedChunkPool<Ept>>;
  using Entry = SpteCell<Ept>;

  std::uintptr_t Add(std::uintptr_t word, std::size_t i) {
    RmapAdd outcome{};
    const std::uintptr_t with = list_.Added(word, entries_[i], outcome);
    EXPECT_EQ(outcome, RmapAdd::kDone);
    return with;
  }
  std::uintptr_t Fill(std::size_t count) {
    std::uintptr_t word = 0;
    for (std::size_t i = 0; i < count; ++i) word = Add(word, i);
    return word;
  }
  std::vector<const Entry*> InOrder(std::uintptr_t word) {
    std::vector<const Entry*> all;
    list_.ForEach(word, [&](Entry& entry) {
      all.push_back(&entry);
      return true;
    });
    return all;
  }
  std::multiset<const Entry*> Set(std::uintptr_t word) {
    const auto all = InOrder(word);
    return {all.begin(), all.end()};
  }

  std::vector<Entry> entries_{40};
  std::vector<RmapChunk<Ept>> chunks_{8};
  FixedChunkPool<Ept> pool_{chunks_.data(), chunks_.size()};
  List list_{pool_, 1000};
};

TEST_F(ChunkListTest, VisitsEachEntryOnceAtEveryLength) {
  std::uintptr_t word = 0;
  std::multiset<const Entry*> expected;
  EXPECT_EQ(Set(word), expected);
  for (std::size_t i = 0; i < 20; ++i) {
    word = Add(word, i);
    expected.insert(&entries_[i]);
    EXPECT_EQ(Set(word), expected);
    EXPECT_EQ(list_.Count(word), expected.size());
  }
}

TEST(ChunkListSizeTest, AChunkMayHoldMoreThanALine) {
  using Pool = FixedChunkPool<Ept, SpinLock, 14>;
  std::vector<RmapChunk<Ept, 14>> chunks(3);
  Pool pool(chunks.data(), chunks.size());
  internal::ChunkList<Ept, Pool> list(pool, 1000);
  std::vector<SpteCell<Ept>> entries(29);
  std::uintptr_t word = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    RmapAdd outcome{};
    word = list.Added(word, entries[i], outcome);
    ASSERT_EQ(outcome, RmapAdd::kDone);
    // One is no list; then 14 fit into each chunk.
    EXPECT_EQ(pool.InUse(), i == 0 ? 0 : i / 14 + 1);
  }
  for (std::size_t left = entries.size(); left-- > 0;) {
    word = list.Removed(word, entries[left]);
    ASSERT_EQ(list.Count(word), left);
  }
  EXPECT_EQ(pool.InUse(), 0u);
}

TEST_F(ChunkListTest, AVisitorMayEndTheVisit) {
  const std::uintptr_t word = Fill(14);
  for (std::size_t stop = 1; stop <= 14; ++stop) {
    std::size_t visited = 0;
    list_.ForEach(word, [&](Entry&) { return ++visited < stop; });
    EXPECT_EQ(visited, stop);
  }
}

// Each position of each length, so also the newest, the oldest, the last of a
// chunk, and the one that makes a list a single entry again.
TEST_F(ChunkListTest, RemovesAnyEntryAndKeepsTheOthers) {
  for (std::size_t length = 1; length <= 14; ++length) {
    for (std::size_t gone = 0; gone < length; ++gone) {
      const std::uintptr_t word = list_.Removed(Fill(length), entries_[gone]);
      std::multiset<const Entry*> expected;
      for (std::size_t i = 0; i < length; ++i) {
        if (i != gone) expected.insert(&entries_[i]);
      }
      ASSERT_EQ(Set(word), expected) << gone << " of " << length;
      ASSERT_EQ(list_.Count(word), length - 1);
      ASSERT_EQ(pool_.InUse(), length < 3 ? 0 : (length - 1 + 5) / 6);
      std::uintptr_t rest = word;
      for (std::size_t i = 0; i < length; ++i) {
        rest = list_.Removed(rest, entries_[i]);
      }
      ASSERT_EQ(rest, 0u);
      ASSERT_EQ(pool_.InUse(), 0u);
    }
  }
}

TEST_F(ChunkListTest, RemovingWhatIsNotThereChangesNothing) {
  for (const std::size_t length : {0u, 1u, 2u, 7u}) {
    const std::uintptr_t word = Fill(length);
    const auto before = InOrder(word);
    EXPECT_EQ(list_.Removed(word, entries_[30]), word);
    EXPECT_EQ(InOrder(word), before);
  }
}

}  // namespace
}  // namespace ptage
