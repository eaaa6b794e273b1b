// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Chooses operations: a few places in a sparse space, so that they meet, wide
// enough for a leaf of every level; and, half of the time, what is mapped.

#ifndef PTAGE_TEST_MODEL_VM_GENERATOR_H_
#define PTAGE_TEST_MODEL_VM_GENERATOR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <vector>

#include "ptage/types.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// Blocks, each of the size of the largest leaf at least, and in each some pages
// of level 2 whose frames are used.
class Places {
 public:
  explicit Places(const FormatFacts& facts)
      : facts_(facts),
        large_(facts.FramesAt(Level{2})),
        block_(facts.largest > Level{2} ? facts.FramesAt(facts.largest)
                                        : 4 * large_) {}

  [[nodiscard]] std::uint64_t block() const { return block_; }
  // Numbers below kBlocks. Of L1's frames those that its entries can name.
  static constexpr unsigned kBlocks = 4;
  [[nodiscard]] std::uint64_t BlockAt(unsigned i, bool nested) const {
    const std::uint64_t frames =
        nested ? facts_.frames
               : std::min(facts_.frames, std::uint64_t{1} << 36);
    const std::uint64_t blocks = frames / block_;
    const std::uint64_t at[kBlocks] = {0, 1, blocks / 2, blocks - 1};
    return at[i] * block_;
  }
  // Aligned alike with the blocks, but for `skew` frames.
  [[nodiscard]] std::uint64_t HostBlock(unsigned i) const {
    return (2 + i) * block_;
  }
  template <class Random>
  std::uint64_t Frame(Random& random, bool nested) const {
    return BlockAt(random(kBlocks), nested) + Large(random) * large_ +
           Small(random);
  }
  // A page of level 2 in a block, and a frame in a page.
  template <class Random>
  std::uint64_t Large(Random& random) const {
    const std::uint64_t last = block_ / large_ - 1;
    const std::uint64_t at[] = {0, 1, 2, last};
    return at[random(4)];
  }
  template <class Random>
  std::uint64_t Small(Random& random) const {
    const std::uint64_t at[] = {0, 1, 2, large_ / 2, large_ - 2, large_ - 1};
    return at[random(6)];
  }

 private:
  const FormatFacts facts_;
  const std::uint64_t large_;
  const std::uint64_t block_;
};

class VmGenerator {
 public:
  // `crowded`: whole tables are filled, now and then. `model` is what the
  // operations are done to.
  VmGenerator(std::uint64_t seed, const VmModel& model, FormatFacts facts,
              bool crowded)
      : random_(seed),
        model_(model),
        facts_(facts),
        places_(facts),
        crowded_(crowded) {
    for (unsigned i = 0; i < Places::kBlocks; ++i) {
      if (Below(8) != 0) planned_.push_back(WholeSlot(i));
    }
    if (Below(2) == 0) planned_.push_back({.op = Op::kAddGuest});
    if (Below(4) == 0) planned_.push_back({.op = Op::kAddGuest});
    std::reverse(planned_.begin(), planned_.end());
  }

  Operation Next();

 private:
  // More leaves than this are not wanted.
  static constexpr std::size_t kMostLeaves = 4096;

  std::uint64_t Below(std::uint64_t count) { return random_() % count; }
  auto Chooser() {
    return
        [this](unsigned count) { return static_cast<unsigned>(Below(count)); };
  }
  bool Rarely(unsigned once_in) { return Below(once_in) == 0; }
  std::uint64_t Place(bool nested) {
    auto chooser = Chooser();
    return places_.Frame(chooser, nested);
  }
  Rights Access() {
    constexpr Rights kAccesses[] = {Rights::kRead, Rights::kRead,
                                    Rights::kReadWrite, Rights::kWrite,
                                    Rights::kExecute};
    return kAccesses[Below(5)];
  }
  Rights Granted() {
    constexpr Rights kGranted[] = {Rights::kAll,         Rights::kAll,
                                   Rights::kAll,         Rights::kReadWrite,
                                   Rights::kReadExecute, Rights::kRead};
    return kGranted[Below(6)];
  }
  Level AnyLevel() {
    return Level{1 + static_cast<int>(
                         Below(static_cast<unsigned>(facts_.largest.value)))};
  }
  Operation WholeSlot(unsigned block) {
    return {.op = Op::kAddSlot,
            .frame = places_.BlockAt(block, false),
            .frames = places_.block(),
            .to = places_.HostBlock(block) +
                  (Rarely(8) ? 1 + Below(2) * facts_.FramesAt(Level{2}) : 0),
            .rights = Rarely(4) ? Granted() : Rights::kAll};
  }
  // A leaf that is mapped, of some level if there is one.
  const VmMaps::Leaves::value_type* Mapped(bool nested, unsigned guest);
  std::uint64_t Frame(bool nested, unsigned guest);
  void ChooseRange(Operation& operation);
  void ChooseSlot(Operation& operation);
  void ChooseEdit(Operation& operation);
  // Faults of all frames of a table, or nearly all.
  void PlanCrowd();
  Op ChooseOp();

  std::mt19937_64 random_;
  const VmModel& model_;
  const FormatFacts facts_;
  const Places places_;
  const bool crowded_;
  // Taken from the back.
  std::vector<Operation> planned_;
};

// ---------------------------------------------------------------------------

inline const VmMaps::Leaves::value_type* VmGenerator::Mapped(bool nested,
                                                             unsigned guest) {
  const VmMaps::Leaves& leaves = model_.maps().leaves();
  const unsigned tree = nested ? TreeOf(guest) : kDirectTree;
  const auto begin = leaves.lower_bound({tree, 0});
  const auto end = leaves.lower_bound({tree + 1, 0});
  if (begin == end) return nullptr;
  const Level wanted = AnyLevel();
  // From some place on.
  auto from = leaves.lower_bound({tree, Place(nested)});
  if (from == end) from = begin;
  auto leaf = from;
  for (int steps = 0; steps < 64; ++steps) {
    if (leaf->second.level == wanted) return &*leaf;
    if (++leaf == end) leaf = begin;
  }
  return &*from;
}

inline std::uint64_t VmGenerator::Frame(bool nested, unsigned guest) {
  if (Rarely(2)) {
    if (const auto* const leaf = Mapped(nested, guest)) {
      const std::uint64_t frames = facts_.FramesAt(leaf->second.level);
      const std::uint64_t inside[] = {0, 0, 1 % frames, frames - 1};
      return leaf->first.second + inside[Below(4)];
    }
  }
  return Place(nested);
}

inline void VmGenerator::ChooseRange(Operation& operation) {
  const bool nested = IsNested(operation.op);
  operation.frame = Frame(nested, operation.guest);
  const auto around = [&](Level level) {
    operation.frame = facts_.FirstOf(operation.frame, level);
    operation.frames = facts_.FramesAt(level);
  };
  const std::uint64_t left = facts_.frames - operation.frame;
  switch (Below(16)) {
    case 0:
    case 1:
    case 2:
      operation.frames = std::min(left, 1 + Below(8));
      return;
    case 3:
    case 4:
    case 5:
    case 6:
      return around(Level{2});
    case 7: {
      // Two pages and a part of the third, or so.
      operation.frames =
          std::min(left, 1 + Below(3 * facts_.FramesAt(Level{2})));
      return;
    }
    case 8:
      // Costs much where it is large.
      if (facts_.largest == Level{2} || Rarely(3)) around(facts_.largest);
      return;
    case 9:
      if (facts_.largest == Level{2} || Rarely(8)) {
        operation.frame = operation.frame / places_.block() * places_.block();
        operation.frames = places_.block();
      }
      return;
    default:
      return;
  }
}

inline void VmGenerator::ChooseSlot(Operation& operation) {
  if (operation.op != Op::kAddSlot && !model_.slots().empty() && !Rarely(8)) {
    auto slot = model_.slots().lower_bound(Place(false));
    if (slot == model_.slots().end()) slot = model_.slots().begin();
    operation.frame = slot->second.frames.begin.value;
    operation.frames = slot->second.frames.Frames();
    // Not quite the slot.
    if (Rarely(8)) ++operation.frames;
  } else {
    const auto block = static_cast<unsigned>(Below(Places::kBlocks));
    operation = Operation{.op = operation.op};
    const Operation whole = WholeSlot(block);
    operation.rights = whole.rights;
    operation.frame = whole.frame;
    operation.frames = whole.frames;
    operation.to = whole.to;
    if (Rarely(2)) {
      auto chooser = Chooser();
      const std::uint64_t large = facts_.FramesAt(Level{2});
      const std::uint64_t skip = places_.Large(chooser) * large +
                                 (Rarely(2) ? places_.Small(chooser) : 0);
      operation.frame += skip;
      operation.to += skip;
      operation.frames = Rarely(2) ? large : 1 + Below(large);
    }
    if (Rarely(32)) operation.frames = 0;
  }
  if (operation.op == Op::kMoveSlot) {
    operation.to =
        Rarely(4) ? Place(false)
                  : places_.BlockAt(
                        static_cast<unsigned>(Below(Places::kBlocks)), false) +
                        operation.frame % places_.block();
    if (Rarely(32)) operation.to = ~std::uint64_t{0} - Below(4);
  }
}

inline void VmGenerator::ChooseEdit(Operation& operation) {
  operation.level = AnyLevel();
  operation.frame = Frame(true, operation.guest);
  operation.rights = Granted();
  // Few frames of L1, so that some have many entries; mostly such that large
  // pages fit.
  const std::uint64_t inside = operation.frame % places_.block();
  const unsigned block = Rarely(2) ? 0 : 1;
  operation.to =
      Rarely(3) ? Place(false) : places_.BlockAt(block, false) + inside;
  if (operation.op == Op::kMislead) {
    operation.level = Level{
        2 + static_cast<int>(Below(static_cast<unsigned>(facts_.levels - 1)))};
  }
  if (!Rarely(4)) {
    operation.told = std::max(operation.level, AnyLevel());
    if (Rarely(2)) operation.told = facts_.largest;
  }
}

inline void VmGenerator::PlanCrowd() {
  const std::uint64_t first = facts_.FirstOf(Place(false), Level{2});
  const std::uint64_t frames =
      std::min(facts_.FramesAt(Level{2}), std::uint64_t{1024});
  const bool nested = Rarely(2);
  const Rights access = Access();
  for (std::uint64_t i = frames; i-- > 0;) {
    if (Rarely(256)) continue;
    planned_.push_back({.op = nested ? Op::kNestedAccess : Op::kAccess,
                        .frame = first + i,
                        .rights = Rarely(8) ? Access() : access});
  }
}

inline Op VmGenerator::ChooseOp() {
  struct Weight {
    Op op;
    unsigned weight;
  };
  static constexpr Weight kWeights[] = {
      {Op::kAccess, 24},      {Op::kNestedAccess, 32},
      {Op::kFault, 8},        {Op::kNestedFault, 10},
      {Op::kAge, 24},         {Op::kAgeSteps, 3},
      {Op::kInvalidate, 8},   {Op::kInvalidateNested, 4},
      {Op::kZap, 4},          {Op::kZapRecursive, 4},
      {Op::kRemoveTables, 6}, {Op::kSplit, 5},
      {Op::kPromote, 8},      {Op::kClearDirty, 6},
      {Op::kWriteProtect, 7}, {Op::kLiftProtection, 4},
      {Op::kMap, 20},         {Op::kUnmap, 4},
      {Op::kClearBits, 5},    {Op::kMalform, 2},
      {Op::kMislead, 2},      {Op::kAddSlot, 3},
      {Op::kRemoveSlot, 2},   {Op::kMoveSlot, 2},
      {Op::kAddGuest, 0},
  };
  unsigned all = 0;
  for (const Weight& weight : kWeights) all += weight.weight;
  auto at = static_cast<unsigned>(Below(all));
  for (const Weight& weight : kWeights) {
    if (at < weight.weight) return weight.op;
    at -= weight.weight;
  }
  return Op::kAccess;
}

inline Operation VmGenerator::Next() {
  if (model_.maps().leaves().size() > kMostLeaves) {
    const bool direct = Rarely(2);
    planned_.clear();
    return {.op = direct ? Op::kZap : Op::kInvalidate,
            .frame = places_.BlockAt(
                static_cast<unsigned>(Below(Places::kBlocks)), false),
            .frames = places_.block()};
  }
  if (!planned_.empty()) {
    const Operation next = planned_.back();
    planned_.pop_back();
    return next;
  }
  if (crowded_ && Rarely(64)) PlanCrowd();
  Operation operation{.op = ChooseOp()};
  while (!facts_.protectable && (operation.op == Op::kWriteProtect ||
                                 operation.op == Op::kLiftProtection)) {
    operation.op = ChooseOp();
  }
  operation.guest = static_cast<unsigned>(Below(model_.guests()));
  switch (operation.op) {
    case Op::kAccess:
    case Op::kNestedAccess:
    case Op::kFault:
    case Op::kNestedFault:
      operation.frame = Frame(IsNested(operation.op), operation.guest);
      operation.rights = Access();
      break;
    case Op::kAge:
    case Op::kAgeSteps:
      ChooseRange(operation);
      if (operation.op == Op::kAgeSteps) operation.frames = 1 + Below(20);
      if (Rarely(3)) operation.action = AgeAction::kTest;
      if (Rarely(2)) operation.mode = AgeMode::kFastOnly;
      if (Rarely(3)) {
        operation.asked = Rarely(2) ? Asked::kDirect : Asked::kShadow;
      }
      break;
    case Op::kSplit:
      ChooseRange(operation);
      // Not all of a large page to the smallest.
      if (operation.frames > facts_.FramesAt(Level{2})) operation.frames = 1;
      operation.level = AnyLevel();
      break;
    case Op::kPromote:
      ChooseRange(operation);
      operation.level = Level{2 + static_cast<int>(Below(static_cast<unsigned>(
                                      facts_.largest.value - 1)))};
      operation.frame = facts_.FirstOf(operation.frame, operation.level);
      operation.frames =
          std::max(operation.frames, facts_.FramesAt(operation.level));
      break;
    case Op::kMap:
    case Op::kUnmap:
    case Op::kClearBits:
    case Op::kMalform:
    case Op::kMislead:
      ChooseEdit(operation);
      break;
    case Op::kAddSlot:
    case Op::kRemoveSlot:
    case Op::kMoveSlot:
      ChooseSlot(operation);
      break;
    case Op::kAddGuest:
      break;
    default:
      ChooseRange(operation);
  }
  return operation;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_GENERATOR_H_
