// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One operation by chance, and what it is made of: likely frames, rights,
// levels, ranges, slots.

#ifndef PTAGE_TEST_MODEL_VM_CHOICES_H_
#define PTAGE_TEST_MODEL_VM_CHOICES_H_

#include <algorithm>
#include <cstdint>

#include "ptage/prune.h"
#include "ptage/types.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_places.h"
#include "test/model/vm_state.h"

namespace ptage::test {

class VmChoices {
 public:
  // `model` is what the operations are done to.
  VmChoices(std::uint64_t seed, VmModel& model, const FormatFacts& facts)
      : chance_(seed), model_(model), facts_(facts), places_(facts) {}

  [[nodiscard]] Chance& chance() { return chance_; }
  [[nodiscard]] const Places& places() const { return places_; }

  // Any operation, of those that the format has.
  Operation Any();

  Rights Access() {
    return chance_.OneOf({Rights::kRead, Rights::kRead, Rights::kReadWrite,
                          Rights::kWrite, Rights::kExecute});
  }
  Rights Granted() {
    return chance_.OneOf({Rights::kAll, Rights::kAll, Rights::kAll,
                          Rights::kReadWrite, Rights::kReadExecute,
                          Rights::kRead});
  }
  Level AnyLevel(int least = 1) {
    const auto levels = static_cast<unsigned>(facts_.largest.value - least + 1);
    return Level{least + static_cast<int>(chance_.Below(levels))};
  }
  unsigned AnyGuest() { return chance_.Below(model_.guests()); }
  unsigned AnyBlock() { return chance_.Below(Places::kBlocks); }
  std::uint64_t Place(bool nested) { return places_.Frame(chance_, nested); }

  // A leaf of a tree, of some level if there is one; null if there is none.
  const VmMaps::Leaves::value_type* Mapped(unsigned tree);
  // A frame of a nested guest, or of L1: mapped, or anywhere.
  std::uint64_t Frame(bool nested, unsigned guest);
  // Memory for a block, mostly aligned as it is.
  Operation WholeSlot(unsigned block);
  // Of an edit of L1's tables: the level, the rights, what is told of, and the
  // frames that the entry names.
  void ChooseEdit(Operation& operation);
  // Leaves a frame of a page out, now and then: none is promoted.
  void MissThePage(Operation& promote) {
    if (!chance_.OnceIn(4)) return;
    --promote.frames;
    if (chance_.OnceIn(2)) ++promote.frame;
  }

 private:
  Op ChooseOp();
  // Whether the format has it.
  bool IsThere(Op op) const {
    if (op == Op::kAgeSkippingCold) return facts_.skips_cold;
    return facts_.protectable ||
           (op != Op::kWriteProtect && op != Op::kLiftProtection);
  }
  void ChooseRange(Operation& operation);
  void ChooseSlot(Operation& operation);
  // The frames that L1's entry names.
  void ChooseTo(Operation& operation);

  Chance chance_;
  VmModel& model_;
  const FormatFacts facts_;
  const Places places_;
};

// ---------------------------------------------------------------------------

inline const VmMaps::Leaves::value_type* VmChoices::Mapped(unsigned tree) {
  const VmMaps::Leaves& leaves = model_.maps().leaves();
  const auto begin = leaves.lower_bound({tree, 0});
  const auto end = leaves.lower_bound({tree + 1, 0});
  if (begin == end) return nullptr;
  const Level wanted = AnyLevel();
  // From some place on.
  auto from = leaves.lower_bound({tree, Place(tree != kDirectTree)});
  if (from == end) from = begin;
  auto leaf = from;
  for (int steps = 0; steps < 64; ++steps) {
    if (leaf->second.level == wanted) return &*leaf;
    if (++leaf == end) leaf = begin;
  }
  return &*from;
}

inline std::uint64_t VmChoices::Frame(bool nested, unsigned guest) {
  if (chance_.OnceIn(8)) return Place(nested);
  // A frame of L1 may be mapped by a nested guest alone.
  const bool by_nested = nested || chance_.OnceIn(2);
  const auto* const leaf = Mapped(by_nested ? TreeOf(guest) : kDirectTree);
  if (leaf == nullptr) return Place(nested);
  const std::uint64_t frames = facts_.FramesAt(leaf->second.level);
  const std::uint64_t inside =
      chance_.OneOf({std::uint64_t{0}, std::uint64_t{0}, std::uint64_t{0},
                     1 % frames, frames - 1});
  return (nested ? leaf->first.second : leaf->second.gfn) + inside;
}

inline Operation VmChoices::WholeSlot(unsigned block) {
  // Aligned alike in guest and host, mostly.
  const std::uint64_t skew =
      chance_.OnceIn(8)
          ? 1 + chance_.Below(std::uint64_t{2}) * facts_.FramesAt(Level{2})
          : 0;
  return {.op = Op::kAddSlot,
          .frame = places_.BlockAt(block, false),
          .frames = places_.block(),
          .to = places_.HostBlock(block) + skew,
          .rights = chance_.OnceIn(4) ? Granted() : Rights::kAll};
}

inline Op VmChoices::ChooseOp() {
  struct Weight {
    Op op;
    unsigned weight;
  };
  static constexpr Weight kWeights[] = {
      {Op::kAccess, 12},
      {Op::kNestedAccess, 12},
      {Op::kFault, 8},
      {Op::kNestedFault, 8},
      {Op::kAge, 40},
      {Op::kAgeSteps, 5},
      {Op::kAgeSkippingCold, 24},
      {Op::kInvalidate, 6},
      {Op::kInvalidateNested, 4},
      {Op::kZap, 4},
      {Op::kZapRecursive, 4},
      {Op::kRemoveTables, 4},
      {Op::kSplit, 5},
      {Op::kPromote, 8},
      {Op::kClearDirty, 6},
      {Op::kWriteProtect, 7},
      {Op::kLiftProtection, 4},
      {Op::kMap, 10},
      {Op::kUnmap, 6},
      {Op::kClearBits, 6},
      {Op::kMalform, 6},
      {Op::kMislead, 7},
      {Op::kAddSlot, 3},
      {Op::kRemoveSlot, 6},
      {Op::kMoveSlot, 6},
  };
  unsigned all = 0;
  for (const Weight& weight : kWeights) all += weight.weight;
  unsigned at = chance_.Below(all);
  for (const Weight& weight : kWeights) {
    if (at < weight.weight) return weight.op;
    at -= weight.weight;
  }
  return Op::kAccess;
}

inline Operation VmChoices::Any() {
  Operation operation{.op = ChooseOp()};
  while (!IsThere(operation.op)) operation.op = ChooseOp();
  operation.guest = AnyGuest();
  switch (operation.op) {
    case Op::kAccess:
    case Op::kNestedAccess:
    case Op::kFault:
    case Op::kNestedFault:
      operation.frame = Frame(IsNested(operation.op), operation.guest);
      operation.rights = Access();
      break;
    case Op::kAge:
      ChooseRange(operation);
      if (chance_.OnceIn(3)) operation.action = AgeAction::kTest;
      if (chance_.OnceIn(2)) operation.mode = AgeMode::kFastOnly;
      operation.asked = chance_.OneOf(
          {Asked::kBoth, Asked::kBoth, Asked::kDirect, Asked::kShadow});
      break;
    case Op::kAgeSteps:
      operation.frame = Frame(false, operation.guest);
      operation.frames = 1 + chance_.Below(std::uint64_t{20});
      if (chance_.OnceIn(2)) operation.action = AgeAction::kTest;
      if (chance_.OnceIn(2)) operation.mode = AgeMode::kFastOnly;
      break;
    case Op::kAgeSkippingCold:
      ChooseRange(operation);
      if (chance_.OnceIn(3)) operation.action = AgeAction::kTest;
      if (chance_.OnceIn(2)) operation.pruning = Pruning::kBestEffort;
      operation.asked = chance_.OneOf(
          {Asked::kBoth, Asked::kBoth, Asked::kDirect, Asked::kShadow});
      break;
    case Op::kSplit:
      ChooseRange(operation);
      // Not all of a large page to the smallest.
      if (operation.frames > facts_.FramesAt(Level{2})) operation.frames = 1;
      operation.level = AnyLevel();
      if (!chance_.OnceIn(4)) operation.asked = Asked::kDirect;
      if (chance_.OnceIn(8)) operation.asked = Asked::kShadow;
      break;
    case Op::kPromote:
      ChooseRange(operation);
      operation.level = AnyLevel(2);
      operation.frame = facts_.FirstOf(operation.frame, operation.level);
      operation.frames =
          std::max(operation.frames, facts_.FramesAt(operation.level));
      MissThePage(operation);
      break;
    case Op::kMap:
    case Op::kUnmap:
    case Op::kClearBits:
    case Op::kMalform:
    case Op::kMislead:
      operation.frame = Frame(true, operation.guest);
      ChooseEdit(operation);
      break;
    case Op::kAddSlot:
    case Op::kRemoveSlot:
    case Op::kMoveSlot:
      ChooseSlot(operation);
      break;
    default:
      ChooseRange(operation);
  }
  return operation;
}

inline void VmChoices::ChooseRange(Operation& operation) {
  const bool nested = IsNested(operation.op);
  operation.frame = Frame(nested, operation.guest);
  const auto around = [&](Level level) {
    operation.frame = facts_.FirstOf(operation.frame, level);
    operation.frames = facts_.FramesAt(level);
  };
  const std::uint64_t left = facts_.frames - operation.frame;
  switch (chance_.Below(16u)) {
    case 0:
    case 1:
      operation.frames = std::min(left, 1 + chance_.Below(std::uint64_t{8}));
      return;
    case 2:
    case 3:
    case 4:
      return around(Level{2});
    case 5:
      // Two pages and a part of the third, or so.
      operation.frames =
          std::min(left, 1 + chance_.Below(3 * facts_.FramesAt(Level{2})));
      return;
    case 6:
    case 7:
      // Costs much where it is large.
      if (facts_.largest == Level{2} || chance_.OnceIn(2)) {
        around(facts_.largest);
      }
      return;
    case 8:
      if (facts_.largest > Level{2} && !chance_.OnceIn(4)) return;
      operation.frame = operation.frame / places_.block() * places_.block();
      operation.frames = places_.block();
      return;
    default:
      return;
  }
}

inline void VmChoices::ChooseSlot(Operation& operation) {
  if (operation.op != Op::kAddSlot && !model_.slots().empty() &&
      !chance_.OnceIn(8)) {
    auto slot = model_.slots().lower_bound(Place(false));
    if (slot == model_.slots().end()) slot = model_.slots().begin();
    operation.frame = slot->second.frames.begin.value;
    operation.frames = slot->second.frames.Frames();
    // Not quite the slot.
    if (chance_.OnceIn(8)) ++operation.frames;
  } else {
    const Op op = operation.op;
    operation = WholeSlot(AnyBlock());
    operation.op = op;
    if (chance_.OnceIn(2)) {
      // A part of it.
      const std::uint64_t large = facts_.FramesAt(Level{2});
      const std::uint64_t skip =
          chance_.OnceIn(2) ? places_.Inside(chance_) : places_.Large(chance_);
      operation.frame += skip;
      operation.to += skip;
      operation.frames = chance_.OnceIn(2) ? large : 1 + chance_.Below(large);
    }
    if (chance_.OnceIn(32)) operation.frames = 0;
  }
  if (operation.op == Op::kMoveSlot) {
    operation.to = chance_.OnceIn(4) ? Place(false)
                                     : places_.BlockAt(AnyBlock(), false) +
                                           operation.frame % places_.block();
    if (chance_.OnceIn(32)) {
      operation.to = ~std::uint64_t{0} - chance_.Below(std::uint64_t{4});
    }
  }
}

inline void VmChoices::ChooseEdit(Operation& operation) {
  operation.level = AnyLevel();
  // Tables of shadow trees stay: not every place gets some.
  const unsigned block = places_.BlockOf(operation.frame, true);
  if (block < 2 && !chance_.OnceIn(32)) {
    operation.level = block == 0 ? facts_.largest : Level{2};
  }
  if (operation.op == Op::kMislead) {
    operation.level = Level{2 + static_cast<int>(chance_.Below(
                                    static_cast<unsigned>(facts_.levels - 1)))};
  }
  operation.rights = Granted();
  // Of all that is changed; of one page; nothing.
  if (!chance_.OnceIn(2)) {
    operation.told = chance_.OnceIn(2) ? facts_.largest : operation.level;
    operation.told = std::min(operation.told, facts_.largest);
  }
  ChooseTo(operation);
}

inline void VmChoices::ChooseTo(Operation& operation) {
  const VmMaps& maps = model_.maps();
  switch (chance_.Below(8u)) {
    case 0:
    case 1:
    case 2: {
      // What another guest has, or this one elsewhere: one more in its rmap.
      const auto* const other = Mapped(TreeOf(AnyGuest()));
      if (other == nullptr || other->second.level > operation.level) break;
      operation.to = other->second.gfn;
      return;
    }
    case 3: {
      // The same frame again, as a page of another size or with other rights.
      const auto leaf = maps.Covering(TreeOf(operation.guest), operation.frame);
      if (leaf == maps.leaves().end()) break;
      operation.to = leaf->second.gfn + (operation.frame - leaf->first.second);
      return;
    }
    case 4:
      operation.to = Place(false);
      return;
    default:
      break;
  }
  // Few, and such that large pages fit.
  operation.to = places_.BlockAt(chance_.Below(2u), false) +
                 operation.frame % places_.block();
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_CHOICES_H_
