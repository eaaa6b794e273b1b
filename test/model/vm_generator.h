// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Chooses what is done next. One half maps something, by a few operations that
// are planned together; the other does of several operations by chance the one
// that was done least to an entry of that level and state.

#ifndef PTAGE_TEST_MODEL_VM_GENERATOR_H_
#define PTAGE_TEST_MODEL_VM_GENERATOR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "ptage/prune.h"
#include "ptage/types.h"
#include "test/model/coverage.h"
#include "test/model/vm_choices.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_places.h"
#include "test/model/vm_state.h"

namespace ptage::test {

class VmGenerator {
 public:
  // `crowded`: whole tables are filled, now and then. `model` is what the
  // operations are done to.
  VmGenerator(std::uint64_t seed, VmModel& model, const FormatFacts& facts,
              bool crowded)
      : choices_(seed, model, facts),
        model_(model),
        facts_(facts),
        crowded_(crowded) {
    for (const unsigned once_in : {2u, 4u}) {
      if (OnceIn(once_in)) planned_.push_back({.op = Op::kAddGuest});
    }
    for (unsigned i = 0; i < Places::kBlocks; ++i) {
      planned_.push_back(choices_.WholeSlot(i));
    }
  }

  // What was done before: to this guest, and to all before it.
  Operation Next(const VmCoverage& here, const VmCoverage& in_all);
  // An access alone, likely of something that is mapped.
  Operation Touch() {
    Operation access{.rights = choices_.Access(), .guest = choices_.AnyGuest()};
    if (OnceIn(2)) access.op = Op::kNestedAccess;
    access.frame = choices_.Frame(IsNested(access.op), access.guest);
    return access;
  }

 private:
  // More leaves than this are not wanted.
  static constexpr std::size_t kMostLeaves = 4096;

  bool OnceIn(unsigned times) { return choices_.chance().OnceIn(times); }
  // What maps something: more than one operation where L1 has to map it first.
  void PlanToMap();
  // What makes a leaf old, clean or protected, or splits it for a while.
  void PlanToChange();
  // A use of a page by a walk that starts behind a cleared entry: of the
  // entry above it, which is cached for the sake of the page beside it.
  void PlanBehindACache(std::uint64_t page);
  // A fault of a nested page while the entry above is clear.
  void PlanUnderAClearEntry(unsigned guest, std::uint64_t nested,
                            std::uint64_t frame);
  // Faults of all frames of a table, or nearly all.
  void PlanCrowd();

  VmChoices choices_;
  VmModel& model_;
  const FormatFacts facts_;
  const bool crowded_;
  // Taken from the back.
  std::vector<Operation> planned_;
};

// ---------------------------------------------------------------------------

inline Operation VmGenerator::Next(const VmCoverage& here,
                                   const VmCoverage& in_all) {
  if (model_.maps().leaves().size() > kMostLeaves) {
    planned_.clear();
    return {.op = OnceIn(2) ? Op::kZap : Op::kInvalidate,
            .frame = choices_.places().BlockAt(choices_.AnyBlock(), false),
            .frames = choices_.places().block()};
  }
  if (planned_.empty() && crowded_ && OnceIn(64)) PlanCrowd();
  if (planned_.empty() && OnceIn(2)) {
    if (OnceIn(3)) {
      PlanToChange();
    } else {
      PlanToMap();
    }
  }
  if (!planned_.empty()) {
    const Operation next = planned_.back();
    planned_.pop_back();
    return next;
  }
  // What was done least here, and of those in all.
  using Met = std::pair<std::uint64_t, std::uint64_t>;
  const auto met_before = [&](const Operation& operation) {
    return Met(here.MetBefore(operation, model_),
               in_all.MetBefore(operation, model_));
  };
  Operation best = choices_.Any();
  Met least = met_before(best);
  for (int others = 0; others < 4; ++others) {
    const Operation other = choices_.Any();
    const Met before = met_before(other);
    if (before >= least) continue;
    least = before;
    best = other;
  }
  return best;
}

inline void VmGenerator::PlanToMap() {
  if (model_.slots().size() < 2) {
    planned_.push_back(choices_.WholeSlot(choices_.AnyBlock()));
    return;
  }
  if (OnceIn(3)) {
    planned_.push_back({.op = Op::kAccess,
                        .frame = choices_.Place(false),
                        .rights = choices_.Access()});
    return;
  }
  Operation map{.op = Op::kMap, .guest = choices_.AnyGuest()};
  const auto* const leaf =
      OnceIn(3) ? choices_.Mapped(TreeOf(map.guest)) : nullptr;
  if (leaf != nullptr) {
    // L1 gives or takes rights, and says nothing.
    map.frame = leaf->first.second;
    map.to = leaf->second.gfn;
    map.level = leaf->second.level;
  } else {
    map.frame = choices_.Place(true);
    choices_.ChooseEdit(map);
  }
  map.rights = OnceIn(2) ? choices_.Granted() : Rights::kAll;
  planned_.push_back({.op = Op::kNestedAccess,
                      .frame = map.frame,
                      .rights = choices_.Access(),
                      .guest = map.guest});
  planned_.push_back(map);
}

inline void VmGenerator::PlanToChange() {
  const bool nested = OnceIn(2);
  const unsigned guest = choices_.AnyGuest();
  const auto* const leaf =
      choices_.Mapped(nested ? TreeOf(guest) : kDirectTree);
  if (leaf == nullptr) return;
  Operation age{.op = Op::kAge,
                .frame = leaf->second.gfn,
                .frames = facts_.FramesAt(leaf->second.level),
                .asked = nested ? Asked::kShadow : Asked::kDirect};
  if (!nested && leaf->second.level > Level{1} && OnceIn(3)) {
    Operation promote{.op = Op::kPromote,
                      .frame = age.frame,
                      .frames = age.frames,
                      .level = leaf->second.level};
    choices_.MissThePage(promote);
    planned_.push_back(promote);
    planned_.push_back({.op = Op::kSplit,
                        .frame = age.frame,
                        .level = leaf->second.level.Below(),
                        .asked = Asked::kDirect});
    return;
  }
  // Tables of shadow trees stay: not often.
  if (nested && leaf->second.level > Level{1} && OnceIn(16)) {
    planned_.push_back({.op = Op::kSplit,
                        .frame = age.frame,
                        .level = leaf->second.level.Below(),
                        .asked = Asked::kShadow});
  }
  if (facts_.skips_cold && leaf->second.level == Level{1} && OnceIn(3)) {
    if (nested) {
      PlanUnderAClearEntry(guest, leaf->first.second, age.frame);
    } else {
      PlanBehindACache(age.frame);
    }
    return;
  }
  Operation clean = age;
  clean.asked = Asked::kBoth;
  clean.op =
      facts_.protectable && OnceIn(2) ? Op::kWriteProtect : Op::kClearDirty;
  if (facts_.skips_cold && OnceIn(3)) {
    // All that is under an entry, so that it is clear.
    const Level around = std::max(leaf->second.level, Level{2});
    age.op = Op::kAgeSkippingCold;
    age.frame = facts_.FirstOf(age.frame, around);
    age.frames = facts_.FramesAt(around);
    if (OnceIn(2)) age.pruning = Pruning::kBestEffort;
  }
  const unsigned what = nested ? 0 : choices_.chance().Below(4u);
  if (what != 1) planned_.push_back(age);
  if (what != 0) planned_.push_back(clean);
}

inline void VmGenerator::PlanBehindACache(std::uint64_t page) {
  const std::uint64_t pair = page / 2 * 2;
  Operation age{.op = Op::kAgeSkippingCold,
                .frame = facts_.FirstOf(page, Level{2}),
                .frames = facts_.FramesAt(Level{2}),
                .asked = Asked::kDirect};
  planned_.push_back(age);
  planned_.push_back({.op = Op::kAccess, .frame = pair});
  if (OnceIn(2)) age.pruning = Pruning::kBestEffort;
  planned_.push_back(age);
  planned_.push_back({.op = Op::kAccess, .frame = pair + 1});
  planned_.push_back({.op = Op::kFault, .frame = pair});
  planned_.push_back({.op = Op::kZap, .frame = pair, .frames = 2});
}

inline void VmGenerator::PlanUnderAClearEntry(unsigned guest,
                                              std::uint64_t nested,
                                              std::uint64_t frame) {
  const Operation age{
      .op = Op::kAgeSkippingCold, .frame = frame, .asked = Asked::kShadow};
  planned_.push_back(age);
  planned_.push_back({.op = Op::kNestedFault, .frame = nested, .guest = guest});
  planned_.push_back(age);
  planned_.push_back({.op = Op::kInvalidate, .frame = frame});
}

inline void VmGenerator::PlanCrowd() {
  const std::uint64_t first = facts_.FirstOf(choices_.Place(false), Level{2});
  const std::uint64_t frames =
      std::min(facts_.FramesAt(Level{2}), std::uint64_t{1024});
  const bool nested = OnceIn(2);
  const Rights access = choices_.Access();
  for (std::uint64_t i = frames; i-- > 0;) {
    if (OnceIn(256)) continue;
    planned_.push_back({.op = nested ? Op::kNestedAccess : Op::kAccess,
                        .frame = first + i,
                        .rights = OnceIn(8) ? choices_.Access() : access});
  }
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_GENERATOR_H_
