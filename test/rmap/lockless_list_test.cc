// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where a list's entries lie, and what scans meet that began before a change.
// rmap_test.cc has what a discipline promises; the searches, every
// interleaving.

#include "ptage/rmap/lockless_list.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "test/formats.h"

namespace ptage {
namespace {

using test::TinyFormat;

// One line, and two, where pointers have 64 bits.
static_assert(sizeof(RmapChunks<Ept>::First) == 64);
static_assert(alignof(RmapChunks<Ept>::First) == 64);
static_assert(sizeof(RmapChunks<Ept>::Later) == 128);
static_assert(alignof(RmapChunks<Ept>::Later) == 64);

using Chunks = RmapChunks<TinyFormat>;
using List = internal::LocklessList<Chunks>;
using Entry = List::Entry;

// Never frees: what was retired can be looked at.
class KeepingPool {
 public:
  using Chunks = ptage::Chunks;

  Chunks::First* AllocateFirst() {
    if (none_left) return nullptr;
    firsts_.push_back(std::make_unique<Chunks::First>());
    return Dirty(*firsts_.back());
  }
  Chunks::Later* AllocateLater() {
    if (none_left) return nullptr;
    laters_.push_back(std::make_unique<Chunks::Later>());
    return Dirty(*laters_.back());
  }
  void Retire(Chunks::First*) {}
  void Retire(Chunks::Later*) {}

  bool none_left = false;

 private:
  // A chunk's contents are arbitrary when it is given out.
  template <class Chunk>
  static Chunk* Dirty(Chunk& chunk) {
    for (auto& slot : chunk.slots) {
      WriteOnce(slot, reinterpret_cast<Entry*>(0xBAD0), kRelaxed);
    }
    chunk.owner.Set(~std::uint64_t{0});
    return &chunk;
  }

  std::vector<std::unique_ptr<Chunks::First>> firsts_;
  std::vector<std::unique_ptr<Chunks::Later>> laters_;
};

static_assert(LocklessRmapPool<KeepingPool, TinyFormat>);
static_assert(!LocklessRmapPool<KeepingPool, Ept>);
struct CannotRetire {
  using Chunks = ptage::Chunks;
  Chunks::First* AllocateFirst();
  Chunks::Later* AllocateLater();
};
static_assert(!LocklessRmapPool<CannotRetire, TinyFormat>);

class LocklessListTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kEntries = 64;
  static constexpr std::uint32_t kCap = kEntries;

  RmapAdd Add(std::size_t i) {
    RmapAdd outcome;
    word_ = List::Added(word_, entries_[i], kCap, pool_, outcome);
    return outcome;
  }
  void MustAdd(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(Add(i), RmapAdd::kDone);
    }
  }
  List::Change Remove(std::size_t i) {
    const List::Change change = List::Removed(word_, entries_[i]);
    word_ = change.word;
    return change;
  }
  // In the order of visits.
  std::vector<std::size_t> Visited(std::uintptr_t word) {
    std::vector<std::size_t> visited;
    List::Scan(word, [&](Entry& entry) {
      visited.push_back(static_cast<std::size_t>(&entry - entries_));
      return true;
    });
    return visited;
  }
  std::uint32_t SlotsRead(std::uintptr_t word) {
    return List::Scan(word, [](Entry&) { return true; });
  }

  KeepingPool pool_;
  Entry entries_[kEntries];
  std::uintptr_t word_ = 0;
};

TEST_F(LocklessListTest, IsScannedFromTheTopDown) {
  for (std::size_t n = 0; n <= 40; ++n) {
    const std::vector<std::size_t> visited = Visited(word_);
    ASSERT_EQ(visited.size(), n);
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(visited[i], n - 1 - i);
    ASSERT_EQ(List::Count(word_), n);
    ASSERT_EQ(Add(n), RmapAdd::kDone);
  }
}

TEST_F(LocklessListTest, AScanReadsTheSlotsOfItsChunksAndNoOther) {
  // 7 in the first, 14 in each later one, whatever is in them.
  const std::uint32_t want[] = {0, 0, 7, 7, 7, 7, 7, 7, 21};
  for (std::size_t n = 0; n < std::size(want); ++n) {
    EXPECT_EQ(SlotsRead(word_), want[n]) << n;
    ASSERT_EQ(Add(n), RmapAdd::kDone);
  }
  for (std::size_t n = 9; n <= 21; ++n) ASSERT_EQ(Add(n), RmapAdd::kDone);
  EXPECT_EQ(SlotsRead(word_), 35u);
}

TEST_F(LocklessListTest, AVisitorMayEndTheScan) {
  MustAdd(9);
  std::uint32_t visits = 0;
  List::Scan(word_, [&](Entry&) { return ++visits < 3; });
  EXPECT_EQ(visits, 3u);
}

TEST_F(LocklessListTest, TheTopEntryFillsTheHole) {
  MustAdd(9);
  EXPECT_TRUE(Remove(2).done);
  EXPECT_EQ(Visited(word_), (std::vector<std::size_t>{7, 6, 5, 4, 3, 8, 1, 0}));
  EXPECT_TRUE(Remove(7).done);
  EXPECT_EQ(Visited(word_), (std::vector<std::size_t>{6, 5, 4, 3, 8, 1, 0}));
}

TEST_F(LocklessListTest, AnyEntryCanBeRemovedAtAnyLength) {
  for (std::size_t n = 1; n <= 24; ++n) {
    for (std::size_t gone = 0; gone < n; ++gone) {
      word_ = 0;
      MustAdd(n);
      const List::Change change = Remove(gone);
      ASSERT_TRUE(change.done);
      ASSERT_EQ(change.retired_first != nullptr, n == 2);
      ASSERT_EQ(change.retired_later != nullptr, n == 8 || n == 22);
      std::vector<std::size_t> left = Visited(word_);
      std::sort(left.begin(), left.end());
      std::vector<std::size_t> want;
      for (std::size_t i = 0; i < n; ++i) {
        if (i != gone) want.push_back(i);
      }
      ASSERT_EQ(left, want) << n << " without " << gone;
      ASSERT_EQ(List::Count(word_), n - 1);
    }
  }
}

TEST_F(LocklessListTest, WhatIsNotThereIsNotRemoved) {
  for (const std::size_t n : {0u, 1u, 2u, 8u}) {
    word_ = 0;
    MustAdd(n);
    const std::uintptr_t before = word_;
    EXPECT_FALSE(Remove(40).done);
    EXPECT_EQ(word_, before);
    EXPECT_EQ(Visited(word_).size(), n);
  }
}

// A reader may still be inside what has left the list.
TEST_F(LocklessListTest, ARetiredChunkKeepsItsSlotsAndItsNext) {
  MustAdd(8);
  const std::uintptr_t before = word_;
  ASSERT_NE(Remove(3).retired_later, nullptr);
  // 7 has moved down, and is met twice.
  EXPECT_EQ(Visited(before),
            (std::vector<std::size_t>{7, 6, 5, 4, 7, 2, 1, 0}));

  word_ = 0;
  MustAdd(2);
  const std::uintptr_t two = word_;
  ASSERT_NE(Remove(0).retired_first, nullptr);
  EXPECT_EQ(Visited(two), (std::vector<std::size_t>{1, 0}));
  EXPECT_EQ(Visited(word_), (std::vector<std::size_t>{1}));
}

// A scan from an old word meets what stayed, whatever was done since.
TEST_F(LocklessListTest, AScanFromAnOldWordMeetsWhatStayed) {
  MustAdd(30);
  const std::uintptr_t old = word_;
  std::set<std::size_t> stay;
  for (std::size_t i = 0; i < 30; ++i) stay.insert(i);
  for (const std::size_t gone : {3u, 29u, 28u, 0u, 14u, 7u, 22u, 21u, 8u}) {
    ASSERT_TRUE(Remove(gone).done);
    stay.erase(gone);
    ASSERT_EQ(Add(30 + gone), RmapAdd::kDone);
    const std::vector<std::size_t> visited = Visited(old);
    for (const std::size_t i : stay) {
      ASSERT_TRUE(std::find(visited.begin(), visited.end(), i) != visited.end())
          << i << " after " << gone;
    }
  }
}

TEST_F(LocklessListTest, WithoutAChunkNothingChanges) {
  // When a list begins, and when its first chunk and a later one are full.
  for (const std::size_t n : {1u, 7u, 21u}) {
    word_ = 0;
    pool_.none_left = false;
    MustAdd(n);
    pool_.none_left = true;
    const std::uintptr_t before = word_;
    EXPECT_EQ(Add(n), RmapAdd::kNoMemory);
    EXPECT_EQ(word_, before);
    EXPECT_EQ(Visited(word_).size(), n);
  }
}

TEST_F(LocklessListTest, AnEntryIsFoundInItsSlot) {
  MustAdd(10);
  for (std::size_t i = 0; i < 10; ++i) {
    auto* const slot = List::Find(word_, entries_[i]);
    ASSERT_NE(slot, nullptr);
    EXPECT_EQ(ReadOnce(*slot, kRelaxed), &entries_[i]);
  }
  EXPECT_EQ(List::Find(word_, entries_[10]), nullptr);
}

}  // namespace
}  // namespace ptage
