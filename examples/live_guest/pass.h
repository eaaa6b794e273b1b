// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One pass over all of a guest's page tables: which pages are there, and which
// have their accessed bit, which is taken if that is asked.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_PASS_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_PASS_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>

#include "examples/live_guest/frame_table.h"
#include "examples/live_guest/guest_ram.h"
#include "ptage/foreign.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "ptage/walk.h"

namespace ptage::live_guest {

// Leaves by their size: 4 KiB, 2 MiB, 1 GiB.
inline constexpr int kLeafSizes = 3;

struct LeafMix {
  std::uint64_t present[kLeafSizes] = {};
  std::uint64_t accessed[kLeafSizes] = {};
};

// Of the lower half of the address space, a process's, and of the upper, the
// kernel's.
enum class Half { kUser, kKernel };

struct PassReport {
  std::uint64_t roots = 0;     // walked
  std::uint64_t subtrees = 0;  // entries of roots, walked
  std::uint64_t shared = 0;    // entries of roots, walked already by another
  std::uint64_t tables = 0;    // entered
  LeafMix user;
  LeafMix kernel;
  // Bits that were found, and that were gone or changed when they were to be
  // cleared: the guest was quicker.
  std::uint64_t lost_races = 0;
  // Not measured: pages of a process that were accessed at an unknown time,
  // since nobody had cleared their bits before; that lie in no RAM; and that
  // were too many for one pass.
  std::uint64_t first_look = 0;
  std::uint64_t no_ram = 0;
  std::uint64_t left_out = 0;
  // What is wrong with entries, by ForeignError.
  std::uint64_t wrong[kForeignErrors] = {};

  [[nodiscard]] LeafMix& Of(Half half) {
    return half == Half::kUser ? user : kernel;
  }
  [[nodiscard]] std::uint64_t Of(ForeignError error) const {
    return wrong[static_cast<unsigned>(error)];
  }
};

// Passes over one guest, whose tables have the format F. One thread at a time.
//
// A table that several roots share (the kernel's half; with page-table
// isolation a process's, too) is walked once in a pass. Whatever the tables
// hold, a pass ends: it enters no more tables than the RAM has frames, and
// looks at no more than sixteen times as many frames.
template <CheckedFormat F>
class Passes {
 public:
  // `ram` outlives this. `physical_bits`: as ForeignLimits.
  Passes(const GuestRam& ram, int physical_bits)
      : ram_(ram), physical_bits_(physical_bits) {}

  // Walks the tables under `roots`, notes in `frames` what processes map, and,
  // with kTestAndClear, what was touched since the pass before; such a pass
  // needs RAM that is mapped to be written.
  template <class Roots>
  PassReport Run(const Roots& roots, AgeAction action, FrameTable& frames,
                 Stamp now);

 private:
  using Word = typename F::Word;
  using Tree = ForeignTree<F, ForeignRam>;
  // An entry of a root: its index, and the frame that it points to.
  using Subtree = std::pair<unsigned, std::uint64_t>;

  static constexpr unsigned kPerRoot = kEntriesPerTable<F>;
  static constexpr std::uint64_t kFramesEach = FramesAt<F>(Level{F::kLevels});
  static Half HalfOf(unsigned index) {
    return index < kPerRoot / 2 ? Half::kUser : Half::kKernel;
  }

  void WalkRoot(Pfn root);
  void WalkSubtree(const Tree& tree, Subtree subtree);
  void Note(const VisitedEntry<F>& leaf, bool accessed, bool touched);

  const GuestRam& ram_;
  const int physical_bits_;
  // Whose bits were cleared in the pass before: what they say now is new.
  std::set<Subtree> cleared_;

  // Of the pass that runs.
  std::set<Subtree> seen_;
  AgeAction action_ = AgeAction::kTest;
  FrameTable* frames_ = nullptr;
  Stamp now_ = 0;
  std::uint64_t frames_left_ = 0;
  PassReport report_;
};

// ---------------------------------------------------------------------------

template <CheckedFormat F>
template <class Roots>
PassReport Passes<F>::Run(const Roots& roots, AgeAction action,
                          FrameTable& frames, Stamp now) {
  report_ = PassReport{};
  seen_.clear();
  action_ = action;
  frames_ = &frames;
  now_ = now;
  frames_left_ = 16 * ram_.Frames();
  frames.BeginPass();
  for (const Pfn root : roots) WalkRoot(root);
  cleared_.clear();
  if (action == AgeAction::kTestAndClear) cleared_ = std::move(seen_);
  return report_;
}

template <CheckedFormat F>
void Passes<F>::WalkRoot(Pfn root) {
  const std::uint64_t most = ram_.Frames();
  const Tree tree(
      ram_.memory(), root,
      ForeignLimits{
          .physical_bits = physical_bits_,
          .most_tables = most > report_.tables ? most - report_.tables : 0});
  if (!tree.valid()) return;
  ++report_.roots;
  for (unsigned i = 0; i < kPerRoot; ++i) {
    const Word word = ReadOnce(tree.RootTable(0).entries[i], kRelaxed);
    if (!F::IsPresent(word)) continue;
    const Subtree subtree(i, F::FrameOf(word).value);
    if (!seen_.insert(subtree).second) {
      ++report_.shared;
      continue;
    }
    ++report_.subtrees;
    WalkSubtree(tree, subtree);
  }
  report_.tables += tree.report().tables;
  for (unsigned i = 0; i < kForeignErrors; ++i) {
    report_.wrong[i] += tree.report().count[i];
  }
}

template <CheckedFormat F>
void Passes<F>::WalkSubtree(const Tree& tree, Subtree subtree) {
  const Half half = HalfOf(subtree.first);
  LeafMix& mix = report_.Of(half);
  const bool known =
      action_ == AgeAction::kTestAndClear && cleared_.contains(subtree);
  const Gfn first{subtree.first * kFramesEach};
  WalkAll(tree, {}, GfnRange{first, first + kFramesEach},
          [&](const VisitedEntry<F>& leaf) {
            const SpteAge age =
                AgeSeen<F>(leaf.entry, leaf.seen, action_, [] { return true; });
            const bool accessed =
                age == SpteAge::kYoung || age == SpteAge::kLostRace;
            if (age == SpteAge::kLostRace) ++report_.lost_races;
            const int size = leaf.level.value - 1;
            ++mix.present[size];
            if (accessed) ++mix.accessed[size];
            if (half == Half::kUser) Note(leaf, accessed, accessed && known);
          });
}

template <CheckedFormat F>
void Passes<F>::Note(const VisitedEntry<F>& leaf, bool accessed, bool touched) {
  // Bits of the frame below a large page's size are flags.
  const std::uint64_t count = FramesAt<F>(leaf.level);
  const Pfn first{F::FrameOf(leaf.seen).value / count * count};
  if (action_ == AgeAction::kTestAndClear && accessed && !touched) {
    report_.first_look += count;
  }
  if (count > frames_left_) {
    report_.left_out += count;
    return;
  }
  frames_left_ -= count;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::optional<std::uint64_t> frame = ram_.NumberOf(first + i);
    if (!frame.has_value()) {
      ++report_.no_ram;
      continue;
    }
    frames_->SetResident(*frame);
    if (accessed) frames_->SetAccessed(*frame);
    if (touched) frames_->SetTouched(*frame, now_);
  }
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_PASS_H_
