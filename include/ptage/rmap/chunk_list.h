// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The list behind a head for disciplines whose readers lock it out: entries in
// chunks of one cache line, only the newest part-full.
//
// Contract
//   Every function needs exclusion from all others on the same list; the
//   discipline supplies it, and publishes the word that a change returns.
//   Wait-free, linear in chunks.

#ifndef PTAGE_RMAP_CHUNK_LIST_H_
#define PTAGE_RMAP_CHUNK_LIST_H_

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"

namespace ptage {

// Entries in a chunk, so that it is a cache line.
inline constexpr unsigned kRmapChunkEntries = 6;

// A part of a list. Only writers look inside, and readers with the lock.
template <SpteFormat F, unsigned kEntries = kRmapChunkEntries>
struct alignas(64) RmapChunk {
  static constexpr unsigned kCapacity = kEntries;

  // The first `count` of them are used.
  Plain<RmapChunk*> next;       // older, and full
  Plain<std::uint32_t> count;   // 1 … kCapacity
  Plain<std::uint32_t> behind;  // entries in the older chunks
  Plain<SpteCell<F>*> entries[kEntries];
};

// Where chunks come from. Allocate may answer null; both may be called by any
// thread.
template <class P, class F>
concept RmapChunkPool =
    std::same_as<typename P::Chunk, RmapChunk<F, P::Chunk::kCapacity>> &&
    (P::Chunk::kCapacity >= 2) && requires(P& pool, typename P::Chunk* chunk) {
      { pool.Allocate() } -> std::same_as<typename P::Chunk*>;
      pool.Free(chunk);
    };

// Chunks from an array that the caller supplies.
template <SpteFormat F, BasicLock L = SpinLock,
          unsigned kEntries = kRmapChunkEntries>
class FixedChunkPool {
 public:
  using Chunk = RmapChunk<F, kEntries>;

  // `chunks` outlives the pool.
  FixedChunkPool(Chunk* chunks, std::size_t count) {
    for (std::size_t i = count; i-- > 0;) Free(&chunks[i]);
    in_use_ = 0;
  }
  FixedChunkPool(const FixedChunkPool&) = delete;
  FixedChunkPool& operator=(const FixedChunkPool&) = delete;

  [[nodiscard]] Chunk* Allocate() {
    ScopedLock<L> hold(lock_);
    Chunk* const chunk = free_;
    if (chunk == nullptr) return nullptr;
    free_ = chunk->next.Get();
    ++in_use_;
    return chunk;
  }
  void Free(Chunk* chunk) {
    ScopedLock<L> hold(lock_);
    chunk->next.Set(free_);
    free_ = chunk;
    --in_use_;
  }
  // Chunks that are in a list.
  [[nodiscard]] std::size_t InUse() {
    ScopedLock<L> hold(lock_);
    return in_use_;
  }

 private:
  L lock_;
  Chunk* free_ = nullptr;
  std::size_t in_use_ = 0;
};

namespace internal {

// What both locking disciplines do with a head's word once they may.
template <SpteFormat F, RmapChunkPool<F> P>
class ChunkList {
 public:
  using Entry = SpteCell<F>;
  using Chunk = typename P::Chunk;

  ChunkList(P& pool, std::uint32_t cap) : pool_(pool), cap_(cap) {}

  // The word with `entry` added; `word` itself unless `outcome` is kDone.
  std::uintptr_t Added(std::uintptr_t word, Entry& entry, RmapAdd& outcome);
  // The word without `entry`; `word` itself if it was not there.
  std::uintptr_t Removed(std::uintptr_t word, Entry& entry);
  [[nodiscard]] std::uint32_t Count(std::uintptr_t word) const;
  // Calls `visit(Entry&)` for each entry until it returns false.
  template <class Visitor>
  [[gnu::always_inline]] void ForEach(std::uintptr_t word,
                                      Visitor&& visit) const;

 private:
  P& pool_;
  const std::uint32_t cap_;
};

// -------------------------------------------------------------------------

template <SpteFormat F, RmapChunkPool<F> P>
std::uintptr_t ChunkList<F, P>::Added(std::uintptr_t word, Entry& entry,
                                      RmapAdd& outcome) {
  const RmapWord head(word);
  outcome = RmapAdd::kFull;
  if (Count(word) >= cap_) return word;
  outcome = RmapAdd::kDone;
  if (head.Empty()) return RmapWord::ForSingle(&entry);
  Chunk* const newest = head.Many() ? head.Newest<Chunk>() : nullptr;
  if (newest != nullptr && newest->count.Get() < Chunk::kCapacity) {
    newest->entries[newest->count.Get()].Set(&entry);
    newest->count.Set(newest->count.Get() + 1);
    return word;
  }
  Chunk* const chunk = pool_.Allocate();
  if (chunk == nullptr) {
    outcome = RmapAdd::kNoMemory;
    return word;
  }
  std::uint32_t count = 0;
  if (newest == nullptr) chunk->entries[count++].Set(head.Single<Entry>());
  chunk->entries[count++].Set(&entry);
  chunk->count.Set(count);
  chunk->behind.Set(
      newest == nullptr ? 0 : newest->behind.Get() + newest->count.Get());
  chunk->next.Set(newest);
  return RmapWord::ForMany(chunk);
}

template <SpteFormat F, RmapChunkPool<F> P>
std::uintptr_t ChunkList<F, P>::Removed(std::uintptr_t word, Entry& entry) {
  const RmapWord head(word);
  if (head.Empty()) return word;
  if (!head.Many()) return head.Single<Entry>() == &entry ? 0 : word;
  Chunk* const newest = head.Newest<Chunk>();
  for (Chunk* chunk = newest; chunk != nullptr; chunk = chunk->next.Get()) {
    for (std::uint32_t i = 0; i < chunk->count.Get(); ++i) {
      if (chunk->entries[i].Get() != &entry) continue;
      // The newest entry takes the place, so that only the newest chunk is
      // part-full.
      const std::uint32_t left = newest->count.Get() - 1;
      chunk->entries[i].Set(newest->entries[left].Get());
      newest->count.Set(left);
      const std::uint32_t total = newest->behind.Get() + left;
      // A full chunk holds more than one, so the last entry is in this one.
      if (total == 1) {
        Entry* const last = newest->entries[0].Get();
        pool_.Free(newest);
        return RmapWord::ForSingle(last);
      }
      if (left != 0) return word;
      Chunk* const next = newest->next.Get();
      pool_.Free(newest);
      return RmapWord::ForMany(next);
    }
  }
  return word;
}

template <SpteFormat F, RmapChunkPool<F> P>
std::uint32_t ChunkList<F, P>::Count(std::uintptr_t word) const {
  const RmapWord head(word);
  if (head.Empty()) return 0;
  if (!head.Many()) return 1;
  const Chunk* const newest = head.Newest<Chunk>();
  return newest->behind.Get() + newest->count.Get();
}

template <SpteFormat F, RmapChunkPool<F> P>
template <class Visitor>
inline void ChunkList<F, P>::ForEach(std::uintptr_t word,
                                     Visitor&& visit) const {
  const RmapWord head(word);
  if (head.Empty()) return;
  if (!head.Many()) {
    visit(*head.Single<Entry>());
    return;
  }
  for (Chunk* chunk = head.Newest<Chunk>(); chunk != nullptr;
       chunk = chunk->next.Get()) {
    for (std::uint32_t i = chunk->count.Get(); i-- > 0;) {
      if (!visit(*chunk->entries[i].Get())) return;
    }
  }
}

}  // namespace internal

}  // namespace ptage

#endif  // PTAGE_RMAP_CHUNK_LIST_H_
