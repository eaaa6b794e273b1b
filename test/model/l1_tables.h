// SPDX-License-Identifier: MIT OR Apache-2.0
//
// L1's tables for one nested guest in L1's own memory, as words; or as a map,
// for formats whose tables GuestWalker does not read. Same functions.

#ifndef PTAGE_TEST_MODEL_L1_TABLES_H_
#define PTAGE_TEST_MODEL_L1_TABLES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ptage/guest_walk.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/model/l1_map.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// Calls `visit(index, word)` for each entry of a table that is not `empty`.
// Nobody else uses the table.
template <SpteFormat F, class Visit>
void ForEachEntry(const Table<F>& table, typename F::Word empty, Visit visit) {
  using Word = typename F::Word;
  static_assert(sizeof(SpteCell<F>) == sizeof(Word));
  constexpr unsigned kChunk =
      kEntriesPerTable<F> < 64 ? kEntriesPerTable<F> : 64;
  Word nothing[kChunk];
  Word words[kChunk];
  std::fill_n(nothing, kChunk, empty);
  const auto* const bytes = reinterpret_cast<const std::byte*>(table.entries);
  for (unsigned first = 0; first < kEntriesPerTable<F>; first += kChunk) {
    const std::byte* const chunk = bytes + first * sizeof(Word);
    if (std::memcmp(chunk, nothing, sizeof nothing) == 0) continue;
    std::memcpy(words, chunk, sizeof words);
    for (unsigned i = 0; i < kChunk; ++i) {
      if (words[i] != empty) visit(first + i, words[i]);
    }
  }
}

template <SpteFormat F>
class L1Tables {
 public:
  L1Tables(const FormatFacts& facts, bool marked) : map_(facts, marked) {}

  // One thread at a time changes them, and any walk them meanwhile.
  void Put(std::uint64_t frame, Level level, const L1Map::Entry& entry) {
    absl::MutexLock lock(&mutex_);
    map_.Put(frame, level, entry);
  }
  void Take(std::uint64_t frame, Level level) {
    absl::MutexLock lock(&mutex_);
    map_.Take(frame, level);
  }
  void ClearBits(std::uint64_t frame) {
    absl::MutexLock lock(&mutex_);
    map_.ClearBits(frame);
  }
  // A fault of the nested guest, by `vm`.
  template <class Vm>
  FaultOutcome Fault(Vm& vm, NestedGfn nested, Rights access, NestedGuest guest,
                     GuestTranslation& walked) {
    return vm.NestedFault(
        nested, access,
        [&](NestedGfn asked) -> std::optional<NestedMapping> {
          absl::MutexLock lock(&mutex_);
          walked = map_.Walk(asked.value, access);
          if (!walked) return std::nullopt;
          return NestedMapping(walked.gfn, walked.rights, walked.level);
        },
        guest);
  }
  // Nobody else uses them.
  void AppendTo(unsigned guest, std::vector<L1State>& states) {
    absl::MutexLock lock(&mutex_);
    map_.AppendTo(guest, states);
  }

 private:
  absl::Mutex mutex_;
  L1Map map_ ABSL_GUARDED_BY(mutex_);
};

template <CheckedFormat F>
class L1Tables<F> {
  using Word = typename F::Word;
  using Entry = SpteCell<F>;

 public:
  L1Tables(const FormatFacts&, bool marked)
      : marked_(marked),
        pages_(kPages),
        block_{kFirst.value << F::kPageBits, kPages * sizeof(Page),
               reinterpret_cast<std::byte*>(pages_.data())} {
    for (std::uint64_t i = kPages; i-- > kRootTables<F>;) free_.push_back(i);
  }

  void Put(std::uint64_t frame, Level level, const L1Map::Entry& entry) {
    Entry* at = Root(frame);
    for (Level i{F::kLevels}; i > level; i = i.Below()) {
      Entry& above = at[IndexOf(frame, i)];
      if (!LeadsOn(Read(above), i)) Write(above, Link(NewPage()));
      at = EntriesOf(F::FrameOf(Read(above)));
    }
    Entry& entry_there = at[IndexOf(frame, level)];
    LetGo(Read(entry_there), level);
    switch (entry.kind) {
      case L1Kind::kPage:
        return Write(entry_there,
                     F::MakeLeaf(Pfn{entry.gfn}, level, entry.rights) |
                         (kMarkedByFaults<F> ? F::kAccessed | F::kDirty : 0));
      case L1Kind::kMalformed:
        return Write(entry_there, F::MakeLeaf(kBeyond, level, Rights::kAll));
      default:
        return Write(entry_there, Link(kOutside));
    }
  }
  void Take(std::uint64_t frame, Level level) {
    Level at{F::kLevels};
    Entry& entry = EndOf(frame, level, at);
    LetGo(Read(entry), at);
    Write(entry, Word{0});
  }
  void ClearBits(std::uint64_t frame) {
    Level at{F::kLevels};
    Entry& entry = EndOf(frame, Level{1}, at);
    const Word word = Read(entry);
    if (!F::IsPresent(word) || KindOf(word, at) != L1Kind::kPage) return;
    Write(entry, static_cast<Word>(word & ~(F::kAccessed | F::kDirty)));
  }
  template <class Vm>
  FaultOutcome Fault(Vm& vm, NestedGfn nested, Rights access, NestedGuest guest,
                     GuestTranslation& walked) {
    const ForeignRam ram(&block_, 1);
    return vm.NestedFault(
        nested, access,
        GuestWalker<F, ForeignRam>(
            ram, kFirst, marked_ ? GuestBits::kMarked : GuestBits::kNone,
            kPhysicalBits),
        walked, guest);
  }
  void AppendTo(unsigned guest, std::vector<L1State>& states) {
    // No walk is under way that could be in one of these.
    free_.insert(free_.end(), gone_.begin(), gone_.end());
    gone_.clear();
    for (unsigned i = 0; i < kRootTables<F>; ++i) {
      AppendTable(guest, pages_[i], Level{F::kLevels},
                  i * kFramesPerRootTable<F>, states);
    }
  }

 private:
  struct alignas(4096) Page : Table<F> {};
  static constexpr std::uint64_t kPages = 512;
  static constexpr int kPhysicalBits = 49;
  // Of L1: a multiple of what a root wants, one that its processor does not
  // have, and one where it has no memory.
  static constexpr Pfn kFirst{0x40};
  static constexpr Pfn kBeyond{std::uint64_t{1} << 38};
  static constexpr Pfn kOutside{std::uint64_t{1} << 36};

  static std::uint64_t IndexOf(std::uint64_t frame, Level level) {
    return frame / FramesAt<F>(level) % kEntriesPerTable<F>;
  }
  // L1 marks nothing itself.
  static Word Link(Pfn table) {
    const Word link = F::MakeInner(table);
    return F::kInnerAccessed ? static_cast<Word>(link & ~F::kAccessed) : link;
  }
  static L1Kind KindOf(Word word, Level level) {
    if (!F::IsLeaf(word, level)) {
      return F::FrameOf(word) == kOutside ? L1Kind::kMisleading
                                          : L1Kind::kTable;
    }
    return F::FrameOf(word) == kBeyond ? L1Kind::kMalformed : L1Kind::kPage;
  }
  static bool LeadsOn(Word word, Level level) {
    return F::IsPresent(word) && KindOf(word, level) == L1Kind::kTable;
  }
  // As L1's own CPUs do, while others walk. None but L1 writes more than bits.
  static Word Read(const Entry& entry) { return ReadOnce(entry, kRelaxed); }
  static void Write(Entry& entry, Word word) {
    WriteOnce(entry, word, kRelease);
  }
  Entry* EntriesOf(Pfn pfn) { return pages_[pfn.value - kFirst.value].entries; }
  Entry* Root(std::uint64_t frame) {
    return pages_[frame / kFramesPerRootTable<F>].entries;
  }
  // The entry at `level`, or what ends the path above it.
  Entry& EndOf(std::uint64_t frame, Level level, Level& at) {
    Entry* entries = Root(frame);
    for (;; at = at.Below()) {
      Entry& entry = entries[IndexOf(frame, at)];
      const Word word = Read(entry);
      if (at == level || !LeadsOn(word, at)) return entry;
      entries = EntriesOf(F::FrameOf(word));
    }
  }
  Pfn NewPage() {
    const std::uint64_t page = free_.back();
    free_.pop_back();
    for (Entry& entry : pages_[page].entries) Write(entry, Word{0});
    return kFirst + page;
  }
  // Tables below an entry. A walk may still be in them, and must not find those
  // of other frames there.
  void LetGo(Word word, Level level) {
    if (!LeadsOn(word, level)) return;
    const std::uint64_t page = F::FrameOf(word).value - kFirst.value;
    for (const Entry& entry : pages_[page].entries) {
      LetGo(Read(entry), level.Below());
    }
    gone_.push_back(page);
  }
  void AppendTable(unsigned guest, const Page& page, Level level,
                   std::uint64_t base, std::vector<L1State>& states) const {
    ForEachEntry<F>(page, Word{0}, [&](unsigned index, Word word) {
      const std::uint64_t first = base + index * FramesAt<F>(level);
      L1State state{.guest = guest,
                    .first = first,
                    .level = level.value,
                    .kind = KindOf(word, level)};
      const bool leaf = state.kind == L1Kind::kPage;
      if (leaf) {
        state.gfn = F::FrameOf(word).value;
        state.rights = F::RightsOf(word);
        state.dirty = (word & F::kDirty) != 0;
      }
      state.accessed =
          (leaf || F::kInnerAccessed) && (word & F::kAccessed) != 0;
      states.push_back(state);
      if (state.kind == L1Kind::kTable) {
        AppendTable(guest, pages_[F::FrameOf(word).value - kFirst.value],
                    level.Below(), first, states);
      }
    });
  }

  const bool marked_;
  std::vector<Page> pages_;
  std::vector<std::uint64_t> free_;
  std::vector<std::uint64_t> gone_;
  RamBlock block_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_L1_TABLES_H_
