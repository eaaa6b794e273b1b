// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Rmaps to be scanned: heads of consecutive frames, each with a list of as many
// entries, which lie in random places, as do their chunks. One world for each
// discipline and size of chunk; all share the entries, which are present and
// cold.
//
// Contract
//   Built by one thread. PrefetchList and PrefetchEntries read what a head
//   leads to without its lock: only while nobody changes the lists.

#ifndef PTAGE_BENCH_RMAP_WORLDS_H_
#define PTAGE_BENCH_RMAP_WORLDS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "bench/huge_array.h"
#include "bench/window.h"
#include "ptage/config.h"
#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/rmap.h"
#include "ptage/rmap/bit_locked.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/rmap/grace_pool.h"
#include "ptage/rmap/lockless.h"
#include "ptage/rmap/lockless_list.h"
#include "ptage/rmap/single_entry_lockless.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {

// Tables full of cold leaves of 4 KiB.
class ColdEntries {
 public:
  using Arena = TableArena<Ept>;

  explicit ColdEntries(std::size_t count)
      : tables_(count / kEntriesPerTable<Ept> + 1),
        infos_(std::make_unique<TableInfo<Ept>[]>(tables_.size())),
        arena_(tables_.data(), infos_.get(), nullptr, tables_.size(),
               Pfn{1u << 20}) {
    constexpr std::uint64_t kCold =
        Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll);
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      Table<Ept>* const table = arena_.Allocate(TableKind::kDirect);
      PTAGE_ASSERT(table == &tables_[t]);
      TableInfo<Ept>& info = arena_.InfoOf(table);
      info.base.Set(t * kEntriesPerTable<Ept>);
      info.level.Set(1);
      info.kind.Set(static_cast<std::uint32_t>(TableKind::kDirect));
      for (SpteCell<Ept>& entry : table->entries) {
        WriteOnce(entry, kCold, kRelaxed);
      }
    }
  }

  [[nodiscard]] std::size_t size() const {
    return tables_.size() * kEntriesPerTable<Ept>;
  }
  [[nodiscard]] SpteCell<Ept>& operator[](std::size_t i) {
    return tables_[i / kEntriesPerTable<Ept>]
        .entries[i % kEntriesPerTable<Ept>];
  }
  [[nodiscard]] Arena& arena() { return arena_; }

 private:
  HugeArray<Table<Ept>> tables_;
  std::unique_ptr<TableInfo<Ept>[]> infos_;
  Arena arena_;
};

// Which head the k-th entry goes to.
enum class Layout {
  kInOrder,             // entry k to head k ÷ entries per head
  kShuffled,            // any to any
  kTablesShuffled,      // whole tables of entries to any as many heads
  kTenthUnmapped,       // in order, but one in ten to none
  kHundredthElsewhere,  // in order, but one in a hundred is another's
};
// An entry that goes to no head.
inline constexpr std::uint32_t kNowhere = ~std::uint32_t{0};

// Each head gets `per_head` entries, except where entries go nowhere. One entry
// a head is a precondition of the last three.
[[nodiscard]] inline std::vector<std::uint32_t> HeadOfEach(std::size_t heads,
                                                           std::size_t per_head,
                                                           Layout layout,
                                                           std::uint64_t seed) {
  std::vector<std::uint32_t> head_of(heads * per_head);
  for (std::size_t k = 0; k < head_of.size(); ++k) {
    head_of[k] = static_cast<std::uint32_t>(k / per_head);
  }
  internal::SplitMix random(seed);
  const auto shuffle = [&random](auto& all) {
    for (std::size_t left = all.size(); left > 1; --left) {
      std::swap(all[left - 1], all[random.Below(left)]);
    }
  };
  switch (layout) {
    case Layout::kInOrder:
      break;
    case Layout::kShuffled:
      shuffle(head_of);
      break;
    case Layout::kTablesShuffled: {
      constexpr std::size_t kPerTable = kEntriesPerTable<Ept>;
      PTAGE_ASSERT(per_head == 1 && heads % kPerTable == 0);
      std::vector<std::size_t> tables(heads / kPerTable);
      std::iota(tables.begin(), tables.end(), std::size_t{0});
      shuffle(tables);
      for (std::size_t k = 0; k < heads; ++k) {
        head_of[k] = static_cast<std::uint32_t>(
            tables[k / kPerTable] * kPerTable + k % kPerTable);
      }
      break;
    }
    case Layout::kTenthUnmapped:
      PTAGE_ASSERT(per_head == 1);
      for (std::uint32_t& head : head_of) {
        if (random.Below(10) == 0) head = kNowhere;
      }
      break;
    case Layout::kHundredthElsewhere: {
      PTAGE_ASSERT(per_head == 1);
      // These change places.
      std::vector<std::uint32_t> moved;
      for (std::size_t k = 0; k < heads; ++k) {
        if (random.Below(100) == 0) moved.push_back(head_of[k]);
      }
      std::vector<std::uint32_t> to = moved;
      shuffle(to);
      for (std::size_t i = 0; i < moved.size(); ++i) head_of[moved[i]] = to[i];
      break;
    }
  }
  return head_of;
}

// Heads, and what both disciplines' worlds do with them. `Self` supplies
// rmaps(), PrefetchList and PrefetchEntries.
template <class Self>
class RmapWorld {
 public:
  [[nodiscard]] std::size_t size() const { return heads_.size(); }
  [[nodiscard]] RmapHead* heads() { return heads_.data(); }

  // Slow's question of every head, in order; lists are fetched 2 · `ahead`
  // heads before they are asked, entries `ahead`; 0: nothing is.
  void AskAll(std::size_t ahead, AgeCounts& counts) {
    Self& self = static_cast<Self&>(*this);
    auto& rmaps = self.rmaps();
    const std::size_t count = size();
    const auto ask = [&](std::size_t i) {
      rmaps.Age(heads_[i], RmapFrame{Gfn{i}, Level{1}},
                AgeAction::kTestAndClear, AgeMode::kSlow, counts);
    };
    if (ahead == 0) {
      for (std::size_t i = 0; i < count; ++i) ask(i);
      return;
    }
    const auto word = [&](std::size_t i) {
      return ReadOnce(heads_[i].word, kAcquire);
    };
    for (std::size_t i = 0; i < count; ++i) {
      if (i + 2 * ahead < count) self.PrefetchList(word(i + 2 * ahead));
      if (i + ahead < count) self.PrefetchEntries(word(i + ahead));
      ask(i);
    }
  }

  // Adds an entry to each head and takes it out again.
  void ChurnAll(SpteCell<Ept>& entry) {
    auto& rmaps = static_cast<Self&>(*this).rmaps();
    for (std::size_t i = 0; i < size(); ++i) {
      const RmapAdd added = rmaps.Add(heads_[i], entry);
      PTAGE_ASSERT(added == RmapAdd::kDone);
      rmaps.Remove(heads_[i], entry);
    }
  }

 protected:
  explicit RmapWorld(std::size_t heads) : heads_(heads) {}

  // Entry k goes to head `head_of[k]`, if it goes anywhere.
  void Fill(ColdEntries& entries, const std::vector<std::uint32_t>& head_of) {
    auto& rmaps = static_cast<Self&>(*this).rmaps();
    for (std::size_t k = 0; k < head_of.size(); ++k) {
      if (head_of[k] == kNowhere) continue;
      const RmapAdd added = rmaps.Add(heads_[head_of[k]], entries[k]);
      PTAGE_ASSERT(added == RmapAdd::kDone);
    }
  }

 private:
  HugeArray<RmapHead> heads_;
};

inline constexpr std::uint32_t kMostPerHead = 1u << 20;

// Under BitLocked, or SingleEntryLockless with the MMU lock taken for each
// list, with `kEntries` to a chunk.
template <template <class, class, class> class Discipline, unsigned kEntries>
class LockedWorld : public RmapWorld<LockedWorld<Discipline, kEntries>> {
 public:
  using Chunk = RmapChunk<Ept, kEntries>;
  using Pool = FixedChunkPool<Ept, SpinLock, kEntries>;
  using Rmaps = Discipline<Ept, ColdEntries::Arena, Pool>;

  LockedWorld(ColdEntries& entries, const std::vector<std::uint32_t>& head_of,
              std::size_t heads)
      : RmapWorld<LockedWorld>(heads),
        // One more for a writer at work.
        chunks_(heads * (head_of.size() / heads / kEntries + 1) + 1),
        pool_(chunks_.data(), chunks_.size()),
        rmaps_(entries.arena(), pool_, lock_) {
    this->Fill(entries, head_of);
  }

  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  void PrefetchList(std::uintptr_t word) const {
    const ptage::internal::RmapWord head(word);
    if (!head.Many()) return;
    for (std::size_t line = 0; line < sizeof(Chunk); line += 64) {
      Prefetch(reinterpret_cast<const char*>(head.Newest<Chunk>()) + line);
    }
  }
  void PrefetchEntries(std::uintptr_t word) const {
    const ptage::internal::RmapWord head(word);
    if (head.Empty()) return;
    if (!head.Many()) {
      Prefetch(head.Single<SpteCell<Ept>>());
      return;
    }
    for (const Chunk* chunk = head.Newest<Chunk>(); chunk != nullptr;
         chunk = chunk->next.Get()) {
      for (std::uint32_t i = 0; i < chunk->count.Get(); ++i) {
        Prefetch(chunk->entries[i].Get());
      }
    }
  }

 private:
  HugeArray<Chunk> chunks_;
  Pool pool_;
  absl::Mutex lock_;
  Rmaps rmaps_;
};

namespace internal {

// The two with one constructor.
template <class F, class M, class P>
struct Bit : BitLocked<F, M, P> {
  Bit(M& memory, P& pool, absl::Mutex&)
      : BitLocked<F, M, P>(memory, pool, kMostPerHead) {}
};
template <class F, class M, class P>
struct Single : SingleEntryLockless<F, M, P, absl::Mutex> {
  Single(M& memory, P& pool, absl::Mutex& lock)
      : SingleEntryLockless<F, M, P, absl::Mutex>(memory, pool, lock,
                                                  kMostPerHead) {}
};

}  // namespace internal

template <unsigned kEntries>
using BitLockedWorld = LockedWorld<internal::Bit, kEntries>;
template <unsigned kEntries>
using SingleEntryWorld = LockedWorld<internal::Single, kEntries>;

// Under Lockless.
template <unsigned kFirst, unsigned kLater>
class LocklessWorld : public RmapWorld<LocklessWorld<kFirst, kLater>> {
 public:
  using Chunks = RmapChunks<Ept, kFirst, kLater>;
  using Domain = EpochDomain<>;
  using Pool = GracePool<Chunks, Domain>;
  using Rmaps = Lockless<Ept, ColdEntries::Arena, Pool>;
  using List = ptage::internal::LocklessList<Chunks>;

  LocklessWorld(ColdEntries& entries, const std::vector<std::uint32_t>& head_of,
                std::size_t heads)
      : RmapWorld<LocklessWorld>(heads),
        // Some more for a writer at work, whose chunks come back late.
        firsts_((head_of.size() == heads ? 0 : heads) + kSpare),
        laters_(heads * Laters(head_of.size() / heads) + kSpare),
        pool_(domain_, firsts_.data(), firsts_.size(), laters_.data(),
              laters_.size()),
        rmaps_(entries.arena(), pool_, kMostPerHead) {
    this->Fill(entries, head_of);
  }
  [[nodiscard]] Domain& domain() { return domain_; }
  [[nodiscard]] Rmaps& rmaps() { return rmaps_; }
  // The slots of the chunks that a scan of this word can reach. The word leads
  // to a list, and was read inside a walk of domain() that goes on.
  [[nodiscard]] static std::uint32_t SlotsBehind(std::uintptr_t word) {
    std::uint32_t slots = Chunks::First::kSlots;
    while (List::LeadsToLater(word)) {
      slots += Chunks::Later::kSlots;
      const auto* const later =
          reinterpret_cast<const typename Chunks::Later*>(word & ~kBits);
      word = later->next.Get();
    }
    return slots;
  }
  void PrefetchList(std::uintptr_t word) const {
    const ptage::internal::RmapWord head(word);
    if (!head.Many()) return;
    const char* const chunk = reinterpret_cast<const char*>(word & ~kBits);
    const std::size_t size = List::LeadsToLater(word)
                                 ? sizeof(typename Chunks::Later)
                                 : sizeof(typename Chunks::First);
    for (std::size_t line = 0; line < size; line += 64) Prefetch(chunk + line);
  }
  void PrefetchEntries(std::uintptr_t word) const {
    List::Scan(word, [](SpteCell<Ept>& entry) {
      Prefetch(&entry);
      return true;
    });
  }

 private:
  static constexpr std::size_t kSpare = 1 << 12;
  static constexpr std::uintptr_t kBits = 63;

  static constexpr std::size_t Laters(std::size_t per_head) {
    return per_head <= kFirst ? 0 : (per_head - kFirst - 1) / kLater + 1;
  }

  Domain domain_;
  HugeArray<typename Chunks::First> firsts_;
  HugeArray<typename Chunks::Later> laters_;
  Pool pool_;
  Rmaps rmaps_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_RMAP_WORLDS_H_
