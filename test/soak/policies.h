// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The policies that the shipped code asks for, each around a shipped one, that
// fail or stall now and then. What they wrap does the work.

#ifndef PTAGE_TEST_SOAK_POLICIES_H_
#define PTAGE_TEST_SOAK_POLICIES_H_

#include <cstddef>
#include <cstdint>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap/chunk_list.h"
#include "ptage/types.h"
#include "test/soak/actor.h"
#include "test/soak/faults.h"
#include "test/soak/format.h"
#include "test/soak/token.h"

namespace ptage::soak {

// How often, one in so many chances.
inline constexpr std::uint64_t kChunkFails = 64;
inline constexpr std::uint64_t kTableFails = 4;
inline constexpr std::uint64_t kWriterStalls = 512;
inline constexpr std::uint64_t kSectionDelays = 2048;

// One in `chances` calls by an actor that may fail.
[[nodiscard]] inline bool Befalls(Fault fault, std::uint64_t chances) {
  Actor* const actor = this_actor;
  if (actor == nullptr || !actor->OneIn(chances)) return false;
  actor->tallies.faults.Add(fault);
  return true;
}

// Stops a writer where it stands, mostly for as long as it takes to give the
// CPU away.
inline void MayStallWriter(Fault fault) {
  if (!Befalls(fault, kWriterStalls)) return;
  Actor& actor = *this_actor;
  if (actor.Below(16) == 0) {
    Actor::Sleep(1 + actor.Below(1000));
  } else {
    sched_yield();
  }
}

// Tables may run out, and a freed one is poisoned.
class FaultyMemory {
 public:
  FaultyMemory(Table<F>* tables, TableInfo<F>* infos, Cell<std::uint64_t>* gfns,
               std::size_t count)
      : arena_(tables, infos, gfns, count, Pfn{0x1000}) {}

  [[nodiscard]] Table<F>* Allocate(TableKind kind) {
    if (Befalls(Fault::kNoTable, kTableFails)) return nullptr;
    return arena_.Allocate(kind);
  }
  void Free(Table<F>* table) {
    for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
      WriteOnce(table->entries[i],
                F::MakeLeaf(Token(kPoisonGroup, 0, i, 1).AsPfn(), Level{1},
                            Rights::kAll),
                kRelaxed);
    }
    arena_.Free(table);
  }
  [[nodiscard]] TableInfo<F>& InfoOf(const Table<F>* table) const {
    return arena_.InfoOf(table);
  }
  // Asked, in a scan, between the reading of a young entry and its clearing.
  [[nodiscard]] Table<F>* TableOf(const SpteCell<F>& entry) const {
    Actor* const actor = this_actor;
    if (actor != nullptr && actor->scan != nullptr &&
        Befalls(Fault::kDelayInSection, kSectionDelays)) {
      actor->Delay(1 + actor->Below(20));
    }
    return arena_.TableOf(entry);
  }
  [[nodiscard]] Pfn FrameOf(const Table<F>* table) const {
    return arena_.FrameOf(table);
  }
  [[nodiscard]] Table<F>* TableAt(Pfn pfn) const { return arena_.TableAt(pfn); }
  [[nodiscard]] std::size_t InUse() { return arena_.InUse(); }

 private:
  TableArena<F> arena_;
};
static_assert(TableMemory<FaultyMemory, F>);

// Sections are counted and drawn out; while it starves nothing reaches the
// reclaimer within, which has to catch up afterwards.
template <SynchronizingReclaimer R>
class FaultyReclaimer {
 public:
  using Section = typename R::Section;

  [[nodiscard]] Section Begin() {
    const Section section = within_.Begin();
    Actor* const actor = this_actor;
    if (actor != nullptr && static_cast<bool>(section)) {
      actor->depth = actor->depth + 1;
      if (Befalls(Fault::kDelayInSection, kSectionDelays)) {
        actor->Delay(1 + actor->Below(20));
      }
    }
    return section;
  }
  void End(Section section) {
    if (this_actor != nullptr) this_actor->depth = this_actor->depth - 1;
    within_.End(section);
  }
  void Retire(Retired& node) {
    {
      ScopedLock hold(lock_);
      if (starves_) {
        node.next = stash_;
        stash_ = &node;
        ++refused_;
        return;
      }
    }
    (void)within_.Retire(node);  // nothing here heeds a limit
  }
  void Poll() {
    {
      ScopedLock hold(lock_);
      if (starves_) {
        ++refused_;
        return;
      }
    }
    within_.Poll();
  }
  void Synchronize() { within_.Synchronize(); }

  void Starve() {
    ScopedLock hold(lock_);
    starves_ = true;
    refused_ = 0;
  }
  // Returns how often something was asked of it meanwhile.
  std::uint64_t Feed() {
    Retired* stash;
    std::uint64_t refused;
    {
      ScopedLock hold(lock_);
      starves_ = false;
      refused = refused_;
      stash = stash_;
      stash_ = nullptr;
    }
    while (stash != nullptr) {
      Retired* const next = stash->next;
      (void)within_.Retire(*stash);
      stash = next;
    }
    return refused;
  }

  R& within() { return within_; }

 private:
  R within_;
  SpinLock lock_;
  bool starves_ = false;
  Retired* stash_ = nullptr;
  std::uint64_t refused_ = 0;
};

// Chunks of lockless lists. Asked with the head locked.
template <class P>
class FaultyChunks {
 public:
  using Chunks = typename P::Chunks;
  using First = typename P::First;
  using Later = typename P::Later;

  template <class... Args>
  explicit FaultyChunks(Args&&... args) : within_(args...) {}

  [[nodiscard]] First* AllocateFirst() {
    MayStallWriter(Fault::kStalledWriter);
    if (Befalls(Fault::kNoFirstChunk, kChunkFails)) return nullptr;
    return within_.AllocateFirst();
  }
  [[nodiscard]] Later* AllocateLater() {
    MayStallWriter(Fault::kStalledWriter);
    if (Befalls(Fault::kNoLaterChunk, kChunkFails)) return nullptr;
    return within_.AllocateLater();
  }
  void Retire(First* chunk) { within_.Retire(chunk); }
  void Retire(Later* chunk) { within_.Retire(chunk); }
  [[nodiscard]] std::size_t InUse() { return within_.stats().in_use; }

 private:
  P within_;
};

// Chunks of the disciplines that lock readers out.
class FaultyChunksUnderLock {
 public:
  using Chunk = RmapChunk<F>;

  FaultyChunksUnderLock(RmapChunk<F>* chunks, std::size_t count)
      : within_(chunks, count) {}

  [[nodiscard]] RmapChunk<F>* Allocate() {
    MayStallWriter(Fault::kStalledWriter);
    if (Befalls(Fault::kNoFirstChunk, kChunkFails)) return nullptr;
    return within_.Allocate();
  }
  void Free(RmapChunk<F>* chunk) { within_.Free(chunk); }
  [[nodiscard]] std::size_t InUse() { return within_.InUse(); }

 private:
  FixedChunkPool<F> within_;
};

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_POLICIES_H_
