// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Ages leaf tables that stay dense at the entry above them: one
// compare-and-swap for a whole table. For formats that have accessed bits in
// inner entries, and off unless asked for.
//
// Contract
//   Concurrently, anything may happen to the tree. Of leaves that are read all
//   of harvest.h holds, and whoever makes a leaf young in software marks its
//   parent afterwards, as prune.h says. Accessed bits of the parents in the
//   range have one user: one caller of AgeHotTables, and neither Prune nor
//   ReclaimCold beside it.
//
//   A round clears the parents of all leaf tables, flushes once, and answers:
//   * a table whose parent was clear has nothing young in it, and is not read;
//   * one that is known as dense is young, all of it;
//   * any other is harvested. It becomes dense when two rounds one after the
//     other found enough of its entries young.
//   No access is lost that Prune (kExact) would find. Too much may be called
//   young: in a dense table the few leaves that rest, and holes; and for one
//   round a table that was dense, went cold, and is used again, since its
//   leaves were not cleared meanwhile.
//
//   Were there no flush, the hottest tables would look coldest: a CPU that has
//   cached a parent, or a leaf under it, marks neither any more. Were it before
//   the parents are cleared:
//     ager: flushes
//     CPU: walks, marks the parent, and keeps it
//     ager: clears the parent
//     CPU: goes through what it kept, and marks no parent
//     ager, next round: the parent is clear, the table counts as cold
//
//   A dense table is verified from time to time, in two rounds: in the first
//   its leaves are cleared, before the flush, and the answer is its parent's;
//   in the second they are harvested, and those of one round decide.
//
//   The leaves of a dense table stay young. So a question to a single page of
//   one (an rmap, another range) finds it young until it was verified.
//
//   Progress: wait-free but for the flush.
//
// Sites
//   None of its own: a parent is aged as any entry, by spte.h.

#ifndef PTAGE_HOT_TABLES_H_
#define PTAGE_HOT_TABLES_H_

#include <bit>
#include <cstdint>
#include <type_traits>

#include "ptage/config.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

namespace internal {
template <class Tree, class Fl, class Output>
class HotRound;
}  // namespace internal

// When a table counts as dense.
struct DensePolicy {
  // Of 16 entries so many are young, or more. What is called young wrongly in a
  // dense table is the rest, at most.
  unsigned sixteenths = 15;
  // In each round, one dense table in so many is read at its leaves; 0: none,
  // and a table stays dense until nobody uses it.
  unsigned verify_one_in = 16;
};

// What is known of the leaf tables of a range from one round to the next, in
// the caller's memory: a byte for a table, so 512 KiB for a TiB of pages of
// 4 KiB. Not synchronized: one round at a time.
template <SpteFormat F>
class HotTables {
 public:
  // Frames of a leaf table.
  static constexpr std::uint64_t kFrames = FramesAt<F>(Level{2});

  // Bytes for a range of `frames`, aligned to a table's.
  [[nodiscard]] static constexpr std::uint64_t BytesFor(std::uint64_t frames) {
    return frames / kFrames;
  }

  // Precondition: `range` is aligned to tables. The bytes are zero before the
  // first round, and outlive this.
  HotTables(std::uint8_t* bytes, GfnRange range,
            DensePolicy policy = DensePolicy())
      : bytes_(bytes), range_(range), policy_(policy) {
    PTAGE_ASSERT(range.begin.value % kFrames == 0 &&
                 range.end.value % kFrames == 0);
    PTAGE_ASSERT(policy.sixteenths <= 16);
  }

  // The frames that it is about.
  [[nodiscard]] GfnRange range() const { return range_; }
  // Tables that the next round answers at their parents.
  [[nodiscard]] std::uint64_t Dense() const {
    std::uint64_t dense = 0;
    for (std::uint64_t t = 0; t < BytesFor(range_.Frames()); ++t) {
      dense += StateOf(bytes_[t]) == kDense ? 1 : 0;
    }
    return dense;
  }

 private:
  template <class Tree, class Fl, class Output>
  friend class internal::HotRound;

  // What the last round left of a table.
  enum State : std::uint8_t {
    kSparse,
    kOnceDense,  // as dense as wanted, for one round
    kDense,
    kVerified,  // dense, and its leaves were cleared in the last round
  };
  // Beside the state, what a round does of it.
  static constexpr std::uint8_t kStateBits = 0x3;
  static constexpr std::uint8_t kYoung = 0x4;   // its parent was young
  static constexpr std::uint8_t kOther = 0x8;   // no table: a leaf, or unknown
  static constexpr std::uint8_t kBegun = 0x10;  // its leaves were cleared

  [[nodiscard]] static State StateOf(std::uint8_t byte) {
    return static_cast<State>(byte & kStateBits);
  }
  [[nodiscard]] std::uint64_t IndexOf(Gfn gfn) const {
    return (gfn - range_.begin) / kFrames;
  }
  [[nodiscard]] bool IsEnough(std::uint64_t young) const {
    return young * 16 >= std::uint64_t{policy_.sixteenths} * kFrames;
  }
  // Whether this round begins to verify the table.
  [[nodiscard]] bool IsDue(std::uint64_t table) const {
    return policy_.verify_one_in != 0 &&
           (table + round_) % (2 * std::uint64_t{policy_.verify_one_in}) == 0;
  }

  std::uint8_t* const bytes_;
  const GfnRange range_;
  const DensePolicy policy_;
  std::uint64_t round_ = 0;
};

// One round: tests and clears the range of `tables`, in fast-only mode, and
// reports to `output`, in which a table that is answered at its parent counts
// as one entry. `flusher` is the tree's. Direct trees.
template <class Tree, Flusher Fl, HarvestOutput Output>
  requires Prunable<typename Tree::Format>
AgeResult AgeHotTables(const Tree& tree, const typename Tree::Walk& walk,
                       Fl& flusher, HotTables<typename Tree::Format>& tables,
                       Output&& output);

// ---------------------------------------------------------------------------

namespace internal {

// One call of AgeHotTables.
template <class Tree, class Fl, class Output>
class HotRound {
 public:
  using F = typename Tree::Format;
  using Hot = HotTables<F>;

  HotRound(const Tree& tree, const typename Tree::Walk& walk, Fl& flusher,
           Hot& tables, Output& output)
      : tree_(tree),
        walk_(walk),
        flusher_(flusher),
        tables_(tables),
        output_(output) {}
  HotRound(const HotRound&) = delete;
  HotRound& operator=(const HotRound&) = delete;

  AgeResult Run() {
    const GfnRange range = tables_.range_;
    if (range.Empty()) return AgeResult{};
    ClearAll(range);
    if (cleared_) flusher_.Flush(range);
    Answer();
    ++tables_.round_;
    output_.Count(counts_);
    return result_;
  }

 private:
  using Word = typename F::Word;
  using Here = typename Tree::Tables::Here;

  static constexpr unsigned kPerTable = kEntriesPerTable<F>;
  static constexpr unsigned kLanes = kPerTable < kBlock ? kPerTable : kBlock;

  // Forgets what is cleared: for tables whose answer is their parent's.
  struct Forgotten {
    void SetYoung(GfnRange) {}
    void SetYoung(Gfn, std::uint64_t) {}
    void SetUnknown(GfnRange) {}
    void SetUnknown(Gfn, std::uint64_t) {}
    void Count(const AgeCounts&) {}
  };
  // Counts young leaves by table on their way to the output.
  struct Counted {
    void SetYoung(GfnRange range) {
      round.Found(range.begin, range.Frames());
      round.output_.SetYoung(range);
    }
    void SetYoung(Gfn first, std::uint64_t lanes) {
      round.Found(first, CountLanes(lanes));
      round.output_.SetYoung(first, lanes);
    }
    void SetUnknown(GfnRange range) { round.output_.SetUnknown(range); }
    void SetUnknown(Gfn first, std::uint64_t lanes) {
      round.output_.SetUnknown(first, lanes);
    }
    void Count(const AgeCounts& more) { round.output_.Count(more); }

    HotRound& round;
  };

  // Before the flush.
  void ClearAll(GfnRange range) {
    VisitRoot(tree_.tables(), range,
              [&](Table<F>& table, Gfn base, GfnRange part) {
                ClearTable(table, Level{F::kLevels}, base, part);
                return part.end;
              });
  }
  void ClearTable(Table<F>& table, Level level, Gfn base, GfnRange range) {
    const std::uint64_t frames = FramesAt<F>(level);
    Here here(tree_.tables(), table, base, level);
    for (std::uint64_t i = (range.begin - base) / frames; i < kPerTable; ++i) {
      const GfnRange covers{base + i * frames, base + (i + 1) * frames};
      if (covers.begin >= range.end) return;
      if (level == Level{2}) {
        i = ClearParents(here, table, base, range, i);
        continue;
      }
      const Word seen = here.Read(table.entries[i]);
      const GfnRange part = range.Clip(covers);
      if (F::IsPresent(seen) && !F::IsLeaf(seen, level)) {
        ClearTable(tree_.tables().ChildOf(seen), level.Below(), covers.begin,
                   part);
      } else {
        Set(part, seen == F::kEmpty ? std::uint8_t{0} : Hot::kOther);
      }
    }
  }
  // Of entries from `from` on, up to a multiple of kLanes; returns the last.
  std::uint64_t ClearParents(Here& here, Table<F>& table, Gfn base,
                             GfnRange range, std::uint64_t from) {
    const std::uint64_t block = from / kLanes * kLanes;
    std::uint64_t to = block + kLanes;
    if ((range.end - base) / kPerTable < to) {
      to = (range.end - base) / kPerTable;
    }
    const WordsSeen seen =
        SeeWords(&table.entries[block], kLanes, Word{F::kPresentBits},
                 Word{F::kAccessed}, Word{F::kFrozen});
    for (std::uint64_t i = from; i < to; ++i) {
      const Gfn gfn = base + i * kPerTable;
      std::uint8_t& byte = tables_.bytes_[tables_.IndexOf(gfn)];
      if ((seen.both >> (i - block) & 1) != 0) {
        byte = ClearParent(here, table.entries[i], gfn, byte);
      } else {
        const bool frozen = (seen.equal >> (i - block) & 1) != 0;
        byte = frozen ? Hot::kOther : std::uint8_t{0};
      }
    }
    return to - 1;
  }
  // Returns the table's byte, `byte` being that of the round before.
  std::uint8_t ClearParent(Here& here, SpteCell<F>& entry, Gfn gfn,
                           std::uint8_t byte) {
    const Word seen = here.Read(entry);
    if (!F::IsPresent(seen) || F::IsLeaf(seen, Level{2})) return Hot::kOther;
    const SpteAge age =
        AgeSeen<F>(entry, seen, AgeAction::kTestAndClear, [] { return true; });
    // Another thread made it old since the vectors saw it: its own affair.
    if (age == SpteAge::kCold) return 0;
    cleared_ = true;
    const std::uint64_t table = tables_.IndexOf(gfn);
    if (byte == Hot::kDense && tables_.IsDue(table)) {
      // Were this done after the flush, a leaf that a CPU uses all the time
      // could be cached, young, when it is cleared, and would look cold in the
      // next round.
      (void)Harvest(tree_, walk_, FramesOf(table, table + 1),
                    AgeAction::kTestAndClear, AgeMode::kFastOnly, Forgotten{});
      byte = Hot::kVerified | Hot::kBegun;
    }
    return byte | Hot::kYoung;
  }

  // After the flush, in the order of frames.
  void Answer() {
    const std::uint64_t tables = Hot::BytesFor(tables_.range_.Frames());
    for (std::uint64_t t = 0; t < tables;) {
      const std::uint8_t byte = tables_.bytes_[t];
      if ((byte & Hot::kOther) != 0) {
        HarvestInto(t, t + 1, output_);
        tables_.bytes_[t++] = Hot::kSparse;
      } else if (AtParent(byte)) {
        output_.SetYoung(FramesOf(t, t + 1));
        result_.young = true;
        counts_ += CountsOf(SpteAge::kYoung);
        tables_.bytes_[t++] = byte & Hot::kStateBits;
      } else if (byte != 0) {
        const std::uint64_t first = t;
        while (t < tables && AtLeaves(tables_.bytes_[t])) ++t;
        HarvestTables(first, t);
      } else {
        ++t;
      }
    }
  }
  static bool AtParent(std::uint8_t byte) {
    return byte == (Hot::kDense | Hot::kYoung) || (byte & Hot::kBegun) != 0;
  }
  static bool AtLeaves(std::uint8_t byte) {
    return (byte & Hot::kYoung) != 0 && !AtParent(byte);
  }

  // Harvests tables, and decides which of them are dense.
  void HarvestTables(std::uint64_t from, std::uint64_t to) {
    table_ = from;
    HarvestInto(from, to, Counted{*this});
    while (table_ < to) FinishTable();
  }
  // Told of frames in ascending order.
  void Found(Gfn gfn, std::uint64_t young) {
    while (table_ < tables_.IndexOf(gfn)) FinishTable();
    found_ += young;
  }
  void FinishTable() {
    std::uint8_t& byte = tables_.bytes_[table_++];
    const bool first = tables_.StateOf(byte) == Hot::kSparse;
    byte = !tables_.IsEnough(found_) ? Hot::kSparse
           : first                   ? Hot::kOnceDense
                                     : Hot::kDense;
    found_ = 0;
  }

  template <class To>
  void HarvestInto(std::uint64_t from, std::uint64_t to, To&& output) {
    const GfnRange range = FramesOf(from, to);
    const AgeResult result =
        Harvest(tree_, walk_, range, AgeAction::kTestAndClear,
                AgeMode::kFastOnly, output);
    result_ |= result;
    if (result.complete) return;
    // The owner may put a young entry back.
    for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + kPerTable) {
      MarkParent(tree_, walk_, gfn);
    }
  }

  void Set(GfnRange range, std::uint8_t byte) {
    const std::uint64_t end = tables_.IndexOf(range.end);
    for (std::uint64_t t = tables_.IndexOf(range.begin); t < end; ++t) {
      tables_.bytes_[t] = byte;
    }
  }
  [[nodiscard]] GfnRange FramesOf(std::uint64_t from, std::uint64_t to) const {
    const Gfn begin = tables_.range_.begin;
    return GfnRange{begin + from * Hot::kFrames, begin + to * Hot::kFrames};
  }

  const Tree& tree_;
  const typename Tree::Walk& walk_;
  Fl& flusher_;
  Hot& tables_;
  Output& output_;
  // A parent was cleared.
  bool cleared_ = false;
  AgeResult result_;
  AgeCounts counts_;
  // The table that is being harvested, and young leaves found in it.
  std::uint64_t table_ = 0;
  std::uint64_t found_ = 0;
};

}  // namespace internal

template <class Tree, Flusher Fl, HarvestOutput Output>
  requires Prunable<typename Tree::Format>
AgeResult AgeHotTables(const Tree& tree, const typename Tree::Walk& walk,
                       Fl& flusher, HotTables<typename Tree::Format>& tables,
                       Output&& output) {
  PTAGE_ASSERT(static_cast<bool>(walk) &&
               tree.tables().kind() == TableKind::kDirect);
  return internal::HotRound<Tree, Fl, std::remove_reference_t<Output>>(
             tree, walk, flusher, tables, output)
      .Run();
}

}  // namespace ptage

#endif  // PTAGE_HOT_TABLES_H_
