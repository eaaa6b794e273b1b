// SPDX-License-Identifier: MIT OR Apache-2.0
//
// How many things there are, counted by many threads, each on a line of its
// own. For "is there any?", asked now and then.
//
// Contract
//   Any threads may call any function. What is taken away was added before, in
//   the sense of happens-before.
//
//   * Count says no less than how many things are there during the whole call,
//     and no more than were ever added.
//   * What happens by itself is counted exactly.
//   * Before the first addition Count reads one word, which additions write
//     once and read from then on. It orders nothing: who knows of an addition,
//     by happens-before, reads that it was written.
//
//   Were additions and removals one number in each line, then
//     asker: reads the first line     | one: adds, in the first line
//                                     | other: takes it away, in the second
//     asker: reads the second line
//   would make it one too few, and the asker would take something for nothing.
//   So removals are read before additions: each removal that is read has its
//   addition read too.
//
//   Progress: wait-free.
//
// Sites (order · partner)
//   [count.1] release addition in Take  · [count.2]
//   [count.2] acquire load in Count     · [count.1]

#ifndef PTAGE_SHARDED_COUNT_H_
#define PTAGE_SHARDED_COUNT_H_

#include <cstdint>

#include "ptage/once.h"

namespace ptage {

template <unsigned kShards = kThreadLines>
class ShardedCount {
 public:
  ShardedCount() = default;
  ShardedCount(const ShardedCount&) = delete;
  ShardedCount& operator=(const ShardedCount&) = delete;

  // One more. `hint` differs between threads that run at the same time, as far
  // as it can.
  void Add(unsigned hint = ThreadHint()) {
    // Read first, or each addition would take the line from every asker.
    if (ReadOnce(ever_, kRelaxed) == 0) {
      WriteOnce(ever_, std::uint32_t{1}, kRelaxed);
    }
    FetchAdd(shards_[hint % kShards].added, std::uint64_t{1}, kRelaxed);
  }
  // One less: one that was added.
  void Take(unsigned hint = ThreadHint()) {
    // [count.1] release, pairs with [count.2]: with the removal its addition is
    // seen.
    FetchAdd(shards_[hint % kShards].taken, std::uint64_t{1}, kRelease);
  }
  // How many there are, as the contract says.
  [[nodiscard]] std::uint64_t Count() const;

 private:
  struct alignas(64) Shard {
    Shard() : added(0), taken(0) {}
    Cell<std::uint64_t> added;
    Cell<std::uint64_t> taken;
  };

  // 1 from before the first addition: "none yet" takes one load.
  alignas(64) Cell<std::uint32_t> ever_{0};
  Shard shards_[kShards];
};

// ---------------------------------------------------------------------------

template <unsigned kShards>
std::uint64_t ShardedCount<kShards>::Count() const {
  if (ReadOnce(ever_, kRelaxed) == 0) return 0;
  std::uint64_t taken = 0;
  for (const Shard& shard : shards_) {
    // [count.2] acquire, pairs with [count.1].
    taken += ReadOnce(shard.taken, kAcquire);
  }
  std::uint64_t added = 0;
  for (const Shard& shard : shards_) added += ReadOnce(shard.added, kRelaxed);
  return added - taken;
}

}  // namespace ptage

#endif  // PTAGE_SHARDED_COUNT_H_
