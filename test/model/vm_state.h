// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the VM and its model are compared by: the answer to an operation, and
// all that there is after it. Values only.

#ifndef PTAGE_TEST_MODEL_VM_STATE_H_
#define PTAGE_TEST_MODEL_VM_STATE_H_

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ptage/dirty.h"
#include "ptage/guest_walk.h"
#include "ptage/mmu.h"
#include "ptage/prune.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage::test {

// What of a format the model must know: constants, no code of the library.
struct FormatFacts {
  int levels;
  int index_bits;
  Level largest;
  std::uint64_t frames;  // that a tree translates
  // L1's tables: whether walks mark the entries above a leaf.
  bool inner_accessed;
  // Whether walkers set a leaf's bits; if not, they fault where one is missing,
  // and the fault sets it.
  bool hardware_accessed;
  bool hardware_dirty;
  // So it is in L1's tables, too: it sets both when it maps a page, and gets
  // the faults after it has cleared them.
  bool l1_sets_bits;
  // A page that was made old takes a fault to be written again, though it may
  // be dirty.
  bool old_is_not_writable;
  bool protectable;
  // Faults mark the entries above leaves as walkers do, so that what is cold
  // can be skipped.
  bool skips_cold;
  // What an entry grants that was made to grant these rights.
  Rights (*representable)(Rights);

  [[nodiscard]] std::uint64_t FramesAt(Level level) const {
    return std::uint64_t{1} << (index_bits * (level.value - 1));
  }
  [[nodiscard]] std::uint64_t FirstOf(std::uint64_t frame, Level level) const {
    return frame / FramesAt(level) * FramesAt(level);
  }
  [[nodiscard]] GfnRange PageAround(std::uint64_t frame, Level level) const {
    const Gfn first{FirstOf(frame, level)};
    return GfnRange{first, first + FramesAt(level)};
  }
};

template <SpteFormat F>
[[nodiscard]] FormatFacts FactsOf(InnerAging inner) {
  using Word = typename F::Word;
  FormatFacts facts;
  facts.levels = F::kLevels;
  facts.index_bits = F::kIndexBits;
  facts.largest = F::kLargestLeaf;
  facts.frames = kFramesPerTree<F>;
  facts.inner_accessed = F::kInnerAccessed;
  facts.hardware_accessed = kHardwareAccessed<F>;
  facts.hardware_dirty = kHardwareDirty<F>;
  facts.l1_sets_bits = CheckedFormat<F> && kMarkedByFaults<F>;
  facts.old_is_not_writable = requires(Word word) { F::Aged(word); };
  facts.protectable = WriteProtectable<F>;
  facts.skips_cold = inner == InnerAging::kSkipCold;
  facts.representable = [](Rights rights) {
    return F::RightsOf(F::MakeLeaf(Pfn{0}, Level{1}, rights));
  };
  return facts;
}

// Trees by number: the direct one, then those of the nested guests.
inline constexpr unsigned kDirectTree = 0;
[[nodiscard]] constexpr unsigned TreeOf(unsigned guest) { return guest + 1; }

struct LeafState {
  unsigned tree = 0;
  std::uint64_t frame = 0;  // the first, as the tree translates it
  int level = 1;
  std::uint64_t gfn = 0;  // of L1
  std::uint64_t pfn = 0;
  Rights rights = Rights::kNone;
  Rights live = Rights::kNone;  // what hardware lets through
  bool accessed = false;
  bool dirty = false;
  bool is_protected = false;

  friend auto operator<=>(const LeafState&, const LeafState&) = default;
};
struct TableState {
  unsigned tree = 0;
  int level = 1;  // of its entries
  std::uint64_t first = 0;

  friend auto operator<=>(const TableState&, const TableState&) = default;
};

// A page of L1 that a nested guest's leaf maps: first frame and level.
using MappedPage = std::pair<std::uint64_t, Level>;

// Splits of nested leaves in the life of a VM, whose tables stay; and entries
// after a split. At most.
inline constexpr std::uint64_t kMostSplits = 128;
inline constexpr std::uint64_t kMostEntries = 32'768;

// Whether there is room for it when all that these leaves map of a range is
// split to leaves of `level`: no rmap of `cap` entries becomes full, and no
// memory is short, after so many splits `before`. What cannot be split for lack
// of that depends on disciplines, and tests of one leaf are for it. To be sure,
// all leaves that are split are counted to each other, and three tables to
// each.
[[nodiscard]] inline bool SplitFits(const std::vector<MappedPage>& leaves,
                                    const FormatFacts& facts, GfnRange range,
                                    Level level, std::uint32_t cap,
                                    std::uint64_t before) {
  GfnRange around = range;
  std::uint64_t split = 0;
  for (const auto& [first, size] : leaves) {
    const GfnRange page = facts.PageAround(first, size);
    if (size <= level || !range.Overlaps(page)) continue;
    ++split;
    around.begin = std::min(around.begin, page.begin);
    around.end = std::max(around.end, page.end);
  }
  std::map<MappedPage, std::uint32_t> others;
  std::uint32_t most = 0;
  for (const MappedPage& leaf : leaves) {
    if (around.Overlaps(facts.PageAround(leaf.first, leaf.second))) {
      most = std::max(most, ++others[leaf]);
    }
  }
  return split + most <= cap && before + 3 * split <= kMostSplits &&
         leaves.size() + 3 * split * facts.FramesAt(Level{2}) <= kMostEntries;
}

// A table of entries of level 1, by tree and first frame.
using LeafTable = std::pair<unsigned, std::uint64_t>;

// An entry of L1's tables that is present.
enum class L1Kind : unsigned { kTable, kPage, kMalformed, kMisleading };
struct L1State {
  unsigned guest = 0;
  std::uint64_t first = 0;
  int level = 1;
  L1Kind kind = L1Kind::kPage;
  std::uint64_t gfn = 0;  // of kPage, as the next two
  Rights rights = Rights::kNone;
  bool dirty = false;
  bool accessed = false;

  friend auto operator<=>(const L1State&, const L1State&) = default;
};

// All in order.
struct VmState {
  std::vector<LeafState> leaves;
  std::vector<TableState> tables;
  std::vector<L1State> l1;
  // Leaves of nested guests.
  std::uint64_t live = 0;
  // What is wrong whatever the model says.
  std::vector<std::string> errors;

  friend bool operator==(const VmState&, const VmState&) = default;
};

struct ZappedState {
  std::uint64_t gfn;
  int level;
  std::uint64_t pfn;
  bool accessed;
  bool dirty;

  friend auto operator<=>(const ZappedState&, const ZappedState&) = default;
};

// A vCPU tries again, up to so many times, after a fault that lets it.
inline constexpr int kMostTries = 4;
[[nodiscard]] constexpr bool GoesOn(FaultOutcome fault) {
  return fault == FaultOutcome::kMapped || fault == FaultOutcome::kFixed ||
         fault == FaultOutcome::kSpurious || fault == FaultOutcome::kRetry;
}

// The answer to an operation; what does not belong to it is left as it is.
struct Outcome {
  std::vector<FaultOutcome> faults;
  // Of an access: where it went, if it was translated; and whether the vCPU had
  // the translation cached, which is the caches' own affair.
  std::optional<std::uint64_t> pfn;
  bool hit = false;
  // What L1's tables said at last.
  GuestTranslation walked;
  AgeResult result;
  AgeCounts counts;
  // In order, none next to another.
  std::vector<GfnRange> young;
  std::vector<GfnRange> unknown;
  std::uint64_t count = 0;
  // In order of frames.
  std::vector<ZappedState> zapped;
  std::vector<ZappedState> made_room;
  absl::StatusCode status = absl::StatusCode::kOk;

  friend bool operator==(const Outcome& a, const Outcome& b) {
    return a.faults == b.faults && a.pfn == b.pfn && a.hit == b.hit &&
           a.walked.walk == b.walked.walk && a.walked.gfn == b.walked.gfn &&
           a.walked.level == b.walked.level &&
           a.walked.rights == b.walked.rights && a.result == b.result &&
           a.counts.examined == b.counts.examined &&
           a.counts.young == b.counts.young &&
           a.counts.lost_races == b.counts.lost_races &&
           a.counts.unanswered == b.counts.unanswered && a.young == b.young &&
           a.unknown == b.unknown && a.count == b.count &&
           a.zapped == b.zapped && a.made_room == b.made_room &&
           a.status == b.status;
  }
};

// Puts ranges in order and those that touch together.
[[nodiscard]] inline std::vector<GfnRange> Together(
    std::vector<GfnRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](GfnRange a, GfnRange b) { return a.begin < b.begin; });
  std::vector<GfnRange> all;
  for (const GfnRange range : ranges) {
    if (range.Empty()) continue;
    if (!all.empty() && range.begin <= all.back().end) {
      all.back().end = std::max(all.back().end, range.end);
    } else {
      all.push_back(range);
    }
  }
  return all;
}

[[nodiscard]] inline std::string ToText(const LeafState& leaf) {
  return absl::StrCat("leaf tree ", leaf.tree, " frame 0x",
                      absl::Hex(leaf.frame), " level ", leaf.level, " gfn 0x",
                      absl::Hex(leaf.gfn), " pfn 0x", absl::Hex(leaf.pfn),
                      " rights ", static_cast<unsigned>(leaf.rights),
                      leaf.accessed ? " A" : "", leaf.dirty ? " D" : "",
                      leaf.is_protected ? " protected" : "");
}
[[nodiscard]] inline std::string ToText(const TableState& table) {
  return absl::StrCat("table tree ", table.tree, " level ", table.level,
                      " from 0x", absl::Hex(table.first));
}
[[nodiscard]] inline std::string ToText(const L1State& entry) {
  return absl::StrCat(
      "L1 guest ", entry.guest, " frame 0x", absl::Hex(entry.first), " level ",
      entry.level, " kind ", static_cast<unsigned>(entry.kind), " gfn 0x",
      absl::Hex(entry.gfn), " rights ", static_cast<unsigned>(entry.rights),
      entry.accessed ? " A" : "", entry.dirty ? " D" : "");
}
[[nodiscard]] inline std::string ToText(const ZappedState& leaf) {
  return absl::StrCat("[0x", absl::Hex(leaf.gfn), " level ", leaf.level,
                      " pfn 0x", absl::Hex(leaf.pfn), leaf.accessed ? " A" : "",
                      leaf.dirty ? " D" : "", "]");
}
[[nodiscard]] inline std::string ToText(const Outcome& outcome) {
  std::string text;
  for (const FaultOutcome fault : outcome.faults) {
    absl::StrAppend(&text, "fault ", static_cast<int>(fault), " ");
  }
  if (outcome.pfn) absl::StrAppend(&text, "pfn 0x", absl::Hex(*outcome.pfn));
  absl::StrAppend(&text, outcome.hit ? " hit" : "", " walk ",
                  static_cast<int>(outcome.walked.walk), " gfn 0x",
                  absl::Hex(outcome.walked.gfn.value), " level ",
                  outcome.walked.level.value, " rights ",
                  static_cast<unsigned>(outcome.walked.rights),
                  outcome.result.young ? " young" : "",
                  outcome.result.was_fast ? " fast" : "",
                  outcome.result.complete ? "" : " incomplete", " examined ",
                  outcome.counts.examined, " young ", outcome.counts.young,
                  " unanswered ", outcome.counts.unanswered, " count ",
                  outcome.count, " status ", static_cast<int>(outcome.status));
  for (const GfnRange range : outcome.young) {
    absl::StrAppend(&text, " young [0x", absl::Hex(range.begin.value), ", 0x",
                    absl::Hex(range.end.value), ")");
  }
  for (const GfnRange range : outcome.unknown) {
    absl::StrAppend(&text, " unknown [0x", absl::Hex(range.begin.value), ", 0x",
                    absl::Hex(range.end.value), ")");
  }
  for (const ZappedState& leaf : outcome.zapped) {
    absl::StrAppend(&text, " zapped ", ToText(leaf));
  }
  for (const ZappedState& leaf : outcome.made_room) {
    absl::StrAppend(&text, " made room ", ToText(leaf));
  }
  return text;
}

// What is in one of the two alone; a few of them.
template <class State>
void AppendDifference(const std::vector<State>& real,
                      const std::vector<State>& model, std::string& text) {
  const auto only = [&](const char* who, const std::vector<State>& in,
                        const std::vector<State>& not_in) {
    int told = 0;
    for (const State& state : in) {
      if (std::binary_search(not_in.begin(), not_in.end(), state)) continue;
      if (++told > 8) break;
      absl::StrAppend(&text, "  only ", who, ": ", ToText(state), "\n");
    }
  };
  only("in the VM", real, model);
  only("in the model", model, real);
}
[[nodiscard]] inline std::string Difference(const VmState& real,
                                            const VmState& model) {
  std::string text;
  AppendDifference(real.leaves, model.leaves, text);
  AppendDifference(real.tables, model.tables, text);
  AppendDifference(real.l1, model.l1, text);
  if (real.live != model.live) {
    absl::StrAppend(&text, "  live: ", real.live, " in the VM, ", model.live,
                    " in the model\n");
  }
  for (const std::string& error : real.errors) {
    absl::StrAppend(&text, "  ", error, "\n");
  }
  return text;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_STATE_H_
