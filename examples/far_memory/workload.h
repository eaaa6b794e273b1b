// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the pager runs under: a sort in place, and a key-value table with reads
// that favour few keys. Both check every bit of their data.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_WORKLOAD_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_WORKLOAD_H_

#include <time.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/far_memory/record.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/zipf.h"
#include "ptage/once.h"

namespace ptage::far_memory {

// Memory, zero at first. Read and Write are of bytes of one page. After an
// error, which `status` says, what they do is of no meaning.
template <class M>
concept WorkloadMemory = requires(M& memory, std::uint64_t offset, void* to,
                                  const void* from, std::size_t size) {
  { memory.bytes() } -> std::convertible_to<std::uint64_t>;
  memory.Read(offset, to, size);
  memory.Write(offset, from, size);
  { memory.DiscardAll() } -> std::same_as<absl::Status>;
  { memory.status() } -> std::convertible_to<absl::Status>;
};

enum class Phase {
  kStart,
  kFill,
  kSort,
  kCheckSorted,
  kLoad,
  kServe,
  kCheckTable,
  kDone
};
inline constexpr absl::string_view kPhaseNames[] = {
    "start",      "fill",  "sort",        "check sorted",
    "load table", "serve", "check table", "done"};

// Tells the watchdog how far the workload is. Not for concurrent use.
class Progress {
 public:
  // `shared` outlives it.
  explicit Progress(SharedState& shared) : shared_(shared), began_(Now()) {}

  void Begin(Phase phase, std::uint64_t total) {
    const std::uint64_t now = Now();
    const auto ended = static_cast<std::size_t>(phase_);
    WriteOnce(shared_.phase_ns[ended], now - began_, kRelaxed);
    WriteOnce(shared_.operations[ended], done_, kRelaxed);
    began_ = now;
    phase_ = phase;
    done_ = 0;
    WriteOnce(shared_.done, done_, kRelaxed);
    WriteOnce(shared_.total, total, kRelaxed);
    WriteOnce(shared_.phase, static_cast<std::uint64_t>(phase), kRelaxed);
  }
  void Add(std::uint64_t operations) {
    done_ += operations;
    WriteOnce(shared_.done, done_, kRelaxed);
    if (on_add_) on_add_();
  }
  // Where nobody watches from outside: called each time that it gets on.
  void OnAdd(std::function<void()> call) { on_add_ = std::move(call); }

 private:
  static std::uint64_t Now() {
    timespec now = {};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
  }

  SharedState& shared_;
  std::uint64_t began_;
  Phase phase_ = Phase::kStart;
  std::uint64_t done_ = 0;
  std::function<void()> on_add_;
};

// Fills the memory with records in no order, sorts them by their keys, and
// checks that what is there are those records in that order. DataLoss: not so.
template <WorkloadMemory M>
[[nodiscard]] absl::Status RunSort(M& memory, Progress& progress);

// A hash table with open addressing, three quarters full: loads it, reads
// `operations` times, one in twenty of which writes a new version too, checks
// each answer, and in the end the whole table. DataLoss: as above.
template <WorkloadMemory M>
[[nodiscard]] absl::Status RunTable(M& memory, std::uint64_t operations,
                                    std::uint64_t seed, Progress& progress);

// ---------------------------------------------------------------------------

namespace internal {

// The memory as an array of records.
template <WorkloadMemory M>
class Records {
 public:
  explicit Records(M& memory) : memory_(memory) {}

  [[nodiscard]] std::uint64_t size() const {
    return memory_.bytes() / kRecordBytes;
  }
  [[nodiscard]] Record Load(std::uint64_t i) {
    Record record;
    memory_.Read(i * kRecordBytes, &record, kRecordBytes);
    return record;
  }
  [[nodiscard]] std::uint64_t KeyOf(std::uint64_t i) {
    std::uint64_t key;
    memory_.Read(i * kRecordBytes, &key, sizeof key);
    return key;
  }
  void Store(std::uint64_t i, const Record& record) {
    memory_.Write(i * kRecordBytes, &record, kRecordBytes);
  }
  [[nodiscard]] absl::Status status() const { return memory_.status(); }

 private:
  M& memory_;
};

// Records begin … end − 1.
template <WorkloadMemory M>
void InsertionSort(Records<M>& records, std::uint64_t begin,
                   std::uint64_t end) {
  for (std::uint64_t i = begin + 1; i < end; ++i) {
    const Record record = records.Load(i);
    std::uint64_t to = i;
    while (to > begin && records.KeyOf(to - 1) > record.key) {
      records.Store(to, records.Load(to - 1));
      --to;
    }
    if (to != i) records.Store(to, record);
  }
}

// The place where the keys of begin … end − 1, at least three, are divided: in
// front of it none is above any behind.
template <WorkloadMemory M>
std::uint64_t Divide(Records<M>& records, std::uint64_t begin,
                     std::uint64_t end) {
  const std::uint64_t a = records.KeyOf(begin);
  const std::uint64_t b = records.KeyOf(begin + (end - begin) / 2);
  const std::uint64_t c = records.KeyOf(end - 1);
  const std::uint64_t pivot =
      std::max(std::min(a, b), std::min(std::max(a, b), c));
  std::uint64_t low = begin;
  std::uint64_t high = end - 1;
  for (;;) {
    while (low < end - 1 && records.KeyOf(low) < pivot) ++low;
    while (high > begin && records.KeyOf(high) > pivot) --high;
    if (low >= high) return high + 1;
    const Record record = records.Load(low);
    records.Store(low, records.Load(high));
    records.Store(high, record);
    ++low;
    --high;
  }
}

// Which key has which number, and where it belongs: its hash times the slots,
// by 2^64. Keys are numbered in the order of their hashes, each somewhere in
// its own share of them, so that they can be loaded in order, and collide.
class Keys {
 public:
  explicit Keys(std::uint64_t slots)
      : slots_(slots),
        count_(slots / 4 * 3),
        share_(~std::uint64_t{0} / count_) {}
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t KeyOf(std::uint64_t number) const {
    return Unmix(number * share_ + Mix(number) % share_);
  }
  [[nodiscard]] std::uint64_t SlotOf(std::uint64_t key) const {
    const std::uint64_t hash = Mix(key);
    // The upper half of the product, of hash's halves.
    return ((hash >> 32) * slots_ + ((hash & 0xFFFF'FFFF) * slots_ >> 32)) >>
           32;
  }

 private:
  const std::uint64_t slots_;
  const std::uint64_t count_;
  const std::uint64_t share_;
};

inline absl::Status Wrong(absl::string_view what, std::uint64_t where) {
  return absl::DataLossError(
      absl::StrFormat("wrong data: %s at record %d", what, where));
}

// The slot of the key, or the empty one where the search for it ends. `size`:
// neither was found.
template <WorkloadMemory M>
std::uint64_t Find(Records<M>& records, const Keys& keys, std::uint64_t key) {
  const std::uint64_t size = records.size();
  std::uint64_t slot = keys.SlotOf(key);
  for (std::uint64_t probes = 0; probes < size; ++probes) {
    const Record record = records.Load(slot);
    // An empty slot has no text.
    if (record.text[0] == 0 || record.key == key) return slot;
    slot = slot + 1 == size ? 0 : slot + 1;
  }
  return size;
}

}  // namespace internal

template <WorkloadMemory M>
absl::Status RunSort(M& memory, Progress& progress) {
  constexpr std::uint64_t kTurn = 1024;  // records between two looks
  internal::Records<M> records(memory);
  const std::uint64_t size = records.size();
  progress.Begin(Phase::kFill, size);
  for (std::uint64_t i = 0; i < size; ++i) {
    records.Store(i, MakeRecord(Mix(i), i, 0));
    if (i % kTurn == kTurn - 1) {
      progress.Add(kTurn);
      if (!records.status().ok()) return records.status();
    }
  }

  progress.Begin(Phase::kSort, size);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> parts{{0, size}};
  while (!parts.empty()) {
    auto [begin, end] = parts.back();
    parts.pop_back();
    if (!records.status().ok()) return records.status();
    if (end - begin <= 16) {
      internal::InsertionSort(records, begin, end);
      progress.Add(end - begin);
      continue;
    }
    const std::uint64_t middle = internal::Divide(records, begin, end);
    // Only if memory is not what was written.
    if (middle <= begin || middle >= end) {
      return internal::Wrong("no order", begin);
    }
    parts.push_back({middle, end});
    parts.push_back({begin, middle});
  }

  // Distinct, and each one of the `size` that were made: so they are all there.
  progress.Begin(Phase::kCheckSorted, size);
  std::uint64_t before = 0;
  for (std::uint64_t i = 0; i < size; ++i) {
    const Record record = records.Load(i);
    const std::uint64_t number = Unmix(record.key);
    if (number >= size || record != MakeRecord(record.key, number, 0)) {
      return records.status().ok() ? internal::Wrong("not a record", i)
                                   : records.status();
    }
    if (i != 0 && record.key <= before) {
      return internal::Wrong("out of order", i);
    }
    before = record.key;
    if (i % kTurn == kTurn - 1) progress.Add(kTurn);
  }
  progress.Begin(Phase::kDone, 0);
  return records.status();
}

template <WorkloadMemory M>
absl::Status RunTable(M& memory, std::uint64_t operations, std::uint64_t seed,
                      Progress& progress) {
  constexpr std::uint64_t kTurn = 256;
  internal::Records<M> records(memory);
  const internal::Keys keys(records.size());
  std::vector<std::uint8_t> versions(keys.count());
  const auto expected = [&](std::uint64_t number) {
    return MakeRecord(keys.KeyOf(number), number, versions[number]);
  };
  const auto fail = [&](absl::string_view what, std::uint64_t where) {
    return records.status().ok() ? internal::Wrong(what, where)
                                 : records.status();
  };

  progress.Begin(Phase::kLoad, keys.count());
  for (std::uint64_t number = 0; number < keys.count(); ++number) {
    const Record record = expected(number);
    const std::uint64_t slot = internal::Find(records, keys, record.key);
    if (slot == records.size() || records.Load(slot) != Record()) {
      return fail("a slot that was used before", slot);
    }
    records.Store(slot, record);
    if (number % kTurn == kTurn - 1) progress.Add(kTurn);
  }
  progress.Add(keys.count() % kTurn);

  progress.Begin(Phase::kServe, operations);
  Random random(seed);
  const Zipf zipf(keys.count());
  for (std::uint64_t i = 0; i < operations; ++i) {
    // Popular keys lie anywhere.
    const std::uint64_t number = Mix(zipf.Next(random)) % keys.count();
    const std::uint64_t slot =
        internal::Find(records, keys, keys.KeyOf(number));
    if (slot == records.size() || records.Load(slot) != expected(number)) {
      return fail("another answer than was stored", slot);
    }
    if (random.Next() % 20 == 0) {
      ++versions[number];
      records.Store(slot, expected(number));
    }
    if (i % kTurn == kTurn - 1) progress.Add(kTurn);
  }
  progress.Add(operations % kTurn);

  progress.Begin(Phase::kCheckTable, keys.count());
  for (std::uint64_t number = 0; number < keys.count(); ++number) {
    const std::uint64_t slot =
        internal::Find(records, keys, keys.KeyOf(number));
    if (slot == records.size() || records.Load(slot) != expected(number)) {
      return fail("another record than was stored", slot);
    }
    if (number % kTurn == kTurn - 1) progress.Add(kTurn);
  }
  progress.Add(keys.count() % kTurn);
  progress.Begin(Phase::kDone, 0);
  return records.status();
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_WORKLOAD_H_
