// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The truth of a VM: what each operation does by the contracts of vm.h,
// tdp_mmu.h, shadow_mmu.h, dirty.h and guest_walk.h, on maps under one mutex.
// Slow, and meant to be read.

#ifndef PTAGE_TEST_MODEL_VM_MODEL_H_
#define PTAGE_TEST_MODEL_VM_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "ptage/guest_walk.h"
#include "ptage/mmu.h"
#include "ptage/types.h"
#include "test/model/l1_map.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// What else the model must know of what it is compared with.
struct ModelOptions {
  FormatFacts facts;
  // Fast-only answers for lists.
  bool lists_are_fast = true;
  std::uint32_t cap = 1000;
  std::uint32_t most_guests = 16;
};

// Whether L1 has accessed and dirty bits in its tables for this guest.
[[nodiscard]] constexpr bool MarksBits(unsigned guest) {
  return guest % 2 == 0;
}

struct ModelLeaf {
  Level level;
  std::uint64_t gfn = 0;
  std::uint64_t pfn = 0;
  Rights rights = Rights::kNone;
  bool accessed = true;
  bool dirty = false;
  bool is_protected = false;
};

struct ModelSlot {
  GfnRange frames;
  std::uint64_t base = 0;
  Rights rights = Rights::kAll;
};

class VmModel {
 public:
  explicit VmModel(const ModelOptions& options)
      : options_(options), facts_(options.facts) {
    AddGuest();
  }

  // What the operation answers. `real` is asked of one thing alone, whether an
  // access was answered from a cache, and that is checked.
  Outcome Apply(const Operation& operation, const Outcome& real);

  // Everything; L1's entries of one guest, if asked.
  VmState State(std::optional<unsigned> l1_of) const;

  // --- For who chooses operations, and counts what they met.

  using Leaves = std::map<std::pair<unsigned, std::uint64_t>, ModelLeaf>;
  // By tree and first frame.
  const Leaves& leaves() const { return leaves_; }
  const std::map<std::uint64_t, ModelSlot>& slots() const { return slots_; }
  unsigned guests() const { return static_cast<unsigned>(l1_.size()); }
  L1Map& l1(unsigned guest) { return l1_[guest]; }
  // The leaf that covers a frame; null if none does.
  const ModelLeaf* Find(unsigned tree, std::uint64_t frame) const {
    const auto leaf = Covering(tree, frame);
    return leaf == leaves_.end() ? nullptr : &leaf->second;
  }
  // The level of the empty entry that a lookup of the frame ends at.
  Level HoleOf(unsigned tree, std::uint64_t frame) const {
    Level level{facts_.levels};
    while (level > Level{1} && HasTable(tree, level.Below(), frame)) {
      level = level.Below();
    }
    return level;
  }
  // Entries of nested guests that map the page at `level` around a frame of L1.
  std::vector<const ModelLeaf*> RmapOf(std::uint64_t gfn, Level level) const {
    std::vector<const ModelLeaf*> entries;
    for (const auto& [where, leaf] : leaves_) {
      if (where.first != kDirectTree && leaf.level == level &&
          leaf.gfn == facts_.FirstOf(gfn, level)) {
        entries.push_back(&leaf);
      }
    }
    return entries;
  }

 private:
  using Leaf = Leaves::iterator;

  Leaves::const_iterator Covering(unsigned tree, std::uint64_t frame) const {
    auto leaf = leaves_.upper_bound({tree, frame});
    if (leaf == leaves_.begin()) return leaves_.end();
    --leaf;
    return leaf->first.first == tree &&
                   frame <
                       leaf->first.second + facts_.FramesAt(leaf->second.level)
               ? leaf
               : leaves_.end();
  }
  ModelLeaf* FindToChange(unsigned tree, std::uint64_t frame) {
    const auto leaf = Covering(tree, frame);
    return leaf == leaves_.end() ? nullptr : &leaves_.find(leaf->first)->second;
  }
  GfnRange FramesOf(std::uint64_t first, const ModelLeaf& leaf) const {
    return GfnRange{Gfn{first}, Gfn{first + facts_.FramesAt(leaf.level)}};
  }
  // The table of entries of `level` on the path to a frame.
  bool HasTable(unsigned tree, Level level, std::uint64_t frame) const {
    return tables_.count(
               {tree, level.value, facts_.FirstOf(frame, level.Above())}) != 0;
  }
  const ModelSlot* SlotOf(std::uint64_t gfn) const {
    auto slot = slots_.upper_bound(gfn);
    if (slot == slots_.begin()) return nullptr;
    --slot;
    return slot->second.frames.Contains(Gfn{gfn}) ? &slot->second : nullptr;
  }
  static std::uint64_t HostOf(const ModelSlot& slot, std::uint64_t gfn) {
    return slot.base + (gfn - slot.frames.begin.value);
  }
  // Inside the slot, and aligned alike in guest and host.
  bool Fits(const ModelSlot& slot, std::uint64_t gfn, Level level) const {
    const GfnRange page = facts_.PageAround(gfn, level);
    return slot.frames.Contains(page) &&
           HostOf(slot, page.begin.value) % facts_.FramesAt(level) == 0;
  }
  // Maps a page of at most `level`, as large as no table stands in its way.
  void Map(unsigned tree, std::uint64_t frame, Level level, ModelLeaf leaf);

  void AddGuest() {
    l1_.emplace_back(facts_, MarksBits(static_cast<unsigned>(l1_.size())));
  }
  // Removes the leaf; its bits go to `sink`.
  Leaf Zap(Leaf leaf, std::vector<ZappedState>& sink) {
    sink.push_back(ZappedState{leaf->second.gfn, leaf->second.level.value,
                               leaf->second.pfn, leaf->second.accessed,
                               leaf->second.dirty});
    return leaves_.erase(leaf);
  }
  // Zaps every leaf of which `which(tree, frames, leaf)` is true.
  template <class Which>
  std::uint64_t ZapAll(const Which& which, std::vector<ZappedState>& sink) {
    std::uint64_t zapped = 0;
    for (auto leaf = leaves_.begin(); leaf != leaves_.end();) {
      if (which(leaf->first.first, FramesOf(leaf->first.second, leaf->second),
                leaf->second)) {
        leaf = Zap(leaf, sink);
        ++zapped;
      } else {
        ++leaf;
      }
    }
    return zapped;
  }
  std::uint64_t ZapDirect(GfnRange range, std::vector<ZappedState>& sink) {
    return ZapAll(
        [&](unsigned tree, GfnRange frames, const ModelLeaf&) {
          return tree == kDirectTree && range.Overlaps(frames);
        },
        sink);
  }
  // In both MMUs, whatever maps a frame of L1.
  std::uint64_t ZapFrames(GfnRange range, std::vector<ZappedState>& sink) {
    return ZapAll(
        [&](unsigned, GfnRange, const ModelLeaf& leaf) {
          return range.Overlaps(FramesOf(leaf.gfn, leaf));
        },
        sink);
  }
  std::uint64_t ZapNested(unsigned guest, GfnRange range,
                          std::vector<ZappedState>& sink) {
    return ZapAll(
        [&](unsigned tree, GfnRange frames, const ModelLeaf&) {
          return tree == TreeOf(guest) && range.Overlaps(frames);
        },
        sink);
  }
  // Calls `visit(frames, leaf)` for each leaf of the direct tree in the range.
  template <class Visit>
  void ForDirect(GfnRange range, const Visit& visit) {
    for (auto& [where, leaf] : leaves_) {
      const GfnRange frames = FramesOf(where.second, leaf);
      if (where.first == kDirectTree && range.Overlaps(frames)) {
        visit(frames, leaf);
      }
    }
  }

  FaultOutcome Fault(std::uint64_t gfn, Rights access);
  FaultOutcome NestedFault(const Operation& operation, Outcome& outcome);
  void Access(const Operation& operation, bool hit, Outcome& outcome);
  void Age(const Operation& operation, Outcome& outcome);
  // One entry is asked, which maps `frames`.
  void AskOne(ModelLeaf& leaf, GfnRange frames, GfnRange range,
              AgeAction action, Outcome& outcome);
  void AgeShadow(const Operation& operation, Outcome& outcome);
  void Split(const Operation& operation, Outcome& outcome);
  void Promote(const Operation& operation, Outcome& outcome);
  std::uint64_t RemoveTables(GfnRange range, std::vector<ZappedState>& sink);
  void CollectDirty(const Operation& operation, Outcome& outcome);
  void Edit(const Operation& operation, Outcome& outcome);
  absl::StatusCode CanAdd(GfnRange frames, const ModelSlot* except) const;
  void ChangeSlots(const Operation& operation, Outcome& outcome);

  const ModelOptions options_;
  const FormatFacts facts_;
  mutable absl::Mutex mutex_;
  Leaves leaves_;
  // Tree, level of the entries, first frame. But the roots.
  std::set<std::tuple<unsigned, int, std::uint64_t>> tables_;
  std::map<std::uint64_t, ModelSlot> slots_;
  std::vector<L1Map> l1_;
};

// ---------------------------------------------------------------------------

inline Outcome VmModel::Apply(const Operation& operation, const Outcome& real) {
  absl::MutexLock lock(&mutex_);
  Outcome outcome;
  const GfnRange range = operation.Range();
  switch (operation.op) {
    case Op::kAccess:
    case Op::kNestedAccess:
      Access(operation, real.hit, outcome);
      break;
    case Op::kFault:
      outcome.faults.push_back(Fault(operation.frame, operation.rights));
      break;
    case Op::kNestedFault:
      outcome.faults.push_back(NestedFault(operation, outcome));
      break;
    case Op::kAge:
    case Op::kAgeSteps:
      Age(operation, outcome);
      break;
    case Op::kInvalidate:
      outcome.count = ZapFrames(range, outcome.zapped);
      break;
    case Op::kInvalidateNested:
      outcome.count =
          ZapNested(operation.guest % guests(), range, outcome.zapped);
      break;
    case Op::kZap:
      outcome.count = ZapDirect(range, outcome.zapped);
      break;
    case Op::kZapRecursive:
      (void)RemoveTables(range, outcome.zapped);
      outcome.count = outcome.zapped.size() + ZapDirect(range, outcome.zapped);
      break;
    case Op::kRemoveTables:
      outcome.count = RemoveTables(range, outcome.zapped);
      break;
    case Op::kSplit:
      Split(operation, outcome);
      break;
    case Op::kPromote:
      Promote(operation, outcome);
      break;
    case Op::kClearDirty:
    case Op::kWriteProtect:
    case Op::kLiftProtection:
      CollectDirty(operation, outcome);
      break;
    case Op::kMap:
    case Op::kUnmap:
    case Op::kClearBits:
    case Op::kMalform:
    case Op::kMislead:
      Edit(operation, outcome);
      break;
    case Op::kAddSlot:
    case Op::kRemoveSlot:
    case Op::kMoveSlot:
      ChangeSlots(operation, outcome);
      break;
    case Op::kAddGuest:
      if (guests() < options_.most_guests) {
        outcome.count = guests();
        AddGuest();
      }
      break;
  }
  outcome.young = Together(std::move(outcome.young));
  outcome.unknown = Together(std::move(outcome.unknown));
  std::sort(outcome.zapped.begin(), outcome.zapped.end());
  std::sort(outcome.made_room.begin(), outcome.made_room.end());
  return outcome;
}

inline void VmModel::Map(unsigned tree, std::uint64_t frame, Level level,
                         ModelLeaf leaf) {
  while (level > Level{1} && HasTable(tree, level.Below(), frame)) {
    level = level.Below();
  }
  const std::uint64_t inside = frame % facts_.FramesAt(level);
  leaf.level = level;
  leaf.gfn -= inside;
  leaf.pfn -= inside;
  leaf.rights = facts_.representable(leaf.rights);
  leaves_[{tree, frame - inside}] = leaf;
  for (Level at = level; at < Level{facts_.levels}; at = at.Above()) {
    tables_.insert({tree, at.value, facts_.FirstOf(frame, at.Above())});
  }
}

inline FaultOutcome VmModel::Fault(std::uint64_t gfn, Rights access) {
  const ModelSlot* const slot = SlotOf(gfn);
  if (slot == nullptr) return FaultOutcome::kNoSlot;
  if (!Allows(slot->rights, access)) return FaultOutcome::kNotPermitted;
  const bool writes = Allows(access, Rights::kWrite);
  if (ModelLeaf* const leaf = FindToChange(kDirectTree, gfn)) {
    if (!writes || !leaf->is_protected) return FaultOutcome::kSpurious;
    leaf->is_protected = false;
    leaf->rights = leaf->rights | Rights::kWrite;
    leaf->dirty = true;
    return FaultOutcome::kMapped;
  }
  Level level{1};
  while (level < facts_.largest && Fits(*slot, gfn, level.Above())) {
    level = level.Above();
  }
  Map(kDirectTree, gfn, level,
      ModelLeaf{.level = level,
                .gfn = gfn,
                .pfn = HostOf(*slot, gfn),
                .rights = slot->rights,
                .dirty = writes});
  return FaultOutcome::kMapped;
}

inline FaultOutcome VmModel::NestedFault(const Operation& operation,
                                         Outcome& outcome) {
  const unsigned guest = operation.guest % guests();
  const std::uint64_t nested = operation.frame;
  const Rights access = operation.rights;
  const bool writes = Allows(access, Rights::kWrite);
  outcome.walked = l1_[guest].Walk(nested, access);
  if (!outcome.walked) return FaultOutcome::kReflected;
  const std::uint64_t gfn = outcome.walked.gfn.value;
  const ModelSlot* const slot = SlotOf(gfn);
  if (slot == nullptr) return FaultOutcome::kNoSlot;
  if (!Allows(slot->rights, access)) return FaultOutcome::kNotPermitted;
  const Rights granted = slot->rights & outcome.walked.rights;
  // One page in L1's tables, in the slot and in the host.
  Level level{1};
  while (level < outcome.walked.level && Fits(*slot, gfn, level.Above()) &&
         gfn % facts_.FramesAt(level.Above()) ==
             nested % facts_.FramesAt(level.Above())) {
    level = level.Above();
  }
  const auto covering = Covering(TreeOf(guest), nested);
  if (covering != leaves_.end()) {
    ModelLeaf& leaf = leaves_.find(covering->first)->second;
    const bool same = leaf.gfn + nested % facts_.FramesAt(leaf.level) == gfn;
    if (same && Allows(leaf.rights, access)) return FaultOutcome::kSpurious;
    // L1 has put another page there, or says of a part of it alone that more is
    // allowed.
    if (!same || leaf.level > level) {
      Zap(leaves_.find(covering->first), outcome.made_room);
      return FaultOutcome::kRetry;
    }
    leaf.rights = facts_.representable(leaf.rights | granted);
    leaf.dirty |= writes;
    return FaultOutcome::kMapped;
  }
  while (level > Level{1} && HasTable(TreeOf(guest), level.Below(), nested)) {
    level = level.Below();
  }
  if (RmapOf(gfn, level).size() >= options_.cap) {
    ZapAll(
        [&](unsigned tree, GfnRange, const ModelLeaf& leaf) {
          return tree != kDirectTree && leaf.level == level &&
                 leaf.gfn == facts_.FirstOf(gfn, level);
        },
        outcome.made_room);
  }
  Map(TreeOf(guest), nested, level,
      ModelLeaf{.level = level,
                .gfn = gfn,
                .pfn = HostOf(*slot, gfn),
                .rights = granted,
                .dirty = writes});
  return FaultOutcome::kMapped;
}

inline void VmModel::Access(const Operation& operation, bool hit,
                            Outcome& outcome) {
  const bool nested = operation.op == Op::kNestedAccess;
  const unsigned tree =
      nested ? TreeOf(operation.guest % guests()) : kDirectTree;
  const bool writes = Allows(operation.rights, Rights::kWrite);
  for (int tries = 0; tries < 4; ++tries) {
    ModelLeaf* const leaf = FindToChange(tree, operation.frame);
    if (leaf != nullptr && Allows(leaf->rights, operation.rights)) {
      outcome.pfn = leaf->pfn + operation.frame % facts_.FramesAt(leaf->level);
      // A cached translation may be used without a mark, as long as it is as
      // the entry is; and a write that the entry knows nothing of would be
      // lost.
      if (hit && (!writes || leaf->dirty)) {
        outcome.hit = true;
        return;
      }
      leaf->accessed = true;
      leaf->dirty |= writes;
      return;
    }
    const FaultOutcome fault = nested
                                   ? NestedFault(operation, outcome)
                                   : Fault(operation.frame, operation.rights);
    outcome.faults.push_back(fault);
    if (fault != FaultOutcome::kMapped && fault != FaultOutcome::kSpurious &&
        fault != FaultOutcome::kRetry) {
      return;
    }
  }
}

inline void VmModel::AskOne(ModelLeaf& leaf, GfnRange frames, GfnRange range,
                            AgeAction action, Outcome& outcome) {
  ++outcome.counts.examined;
  if (!leaf.accessed) return;
  ++outcome.counts.young;
  outcome.result.young = true;
  outcome.young.push_back(range.Clip(frames));
  // One bit for all of its frames.
  if (action == AgeAction::kTestAndClear && range.Contains(frames)) {
    leaf.accessed = false;
  }
}

inline void VmModel::Age(const Operation& operation, Outcome& outcome) {
  const GfnRange range = operation.op == Op::kAgeSteps
                             ? facts_.PageAround(operation.frame, Level{2})
                             : operation.Range();
  if (operation.op == Op::kAgeSteps || operation.asked != Asked::kShadow) {
    ForDirect(range, [&](GfnRange frames, ModelLeaf& leaf) {
      AskOne(leaf, frames, range, operation.action, outcome);
    });
    outcome.result.was_fast =
        outcome.result.young && operation.op != Op::kAgeSteps;
  }
  if (operation.op == Op::kAge && operation.asked != Asked::kDirect) {
    AgeShadow(operation, outcome);
  }
}

inline void VmModel::AgeShadow(const Operation& operation, Outcome& outcome) {
  const GfnRange range = operation.Range();
  const std::uint64_t young_before = outcome.counts.young;
  // The rmaps: who maps a page of L1.
  std::map<std::pair<std::uint64_t, Level>, std::vector<ModelLeaf*>> rmaps;
  for (auto& [where, leaf] : leaves_) {
    if (where.first != kDirectTree &&
        range.Overlaps(FramesOf(leaf.gfn, leaf))) {
      rmaps[{leaf.gfn, leaf.level}].push_back(&leaf);
    }
  }
  for (const auto& [page, entries] : rmaps) {
    const GfnRange frames = facts_.PageAround(page.first, page.second);
    if (operation.mode == AgeMode::kFastOnly && !options_.lists_are_fast &&
        entries.size() > 1) {
      ++outcome.counts.unanswered;
      outcome.result.complete = false;
      outcome.unknown.push_back(range.Clip(frames));
      continue;
    }
    for (ModelLeaf* const leaf : entries) {
      AskOne(*leaf, frames, range, operation.action, outcome);
    }
  }
  outcome.result.was_fast |=
      options_.lists_are_fast && outcome.counts.young > young_before;
}

inline void VmModel::Split(const Operation& operation, Outcome& outcome) {
  const GfnRange range = operation.Range();
  for (;;) {
    const auto large = std::find_if(
        leaves_.begin(), leaves_.end(), [&](const Leaves::value_type& leaf) {
          return leaf.first.first == kDirectTree &&
                 leaf.second.level > operation.level &&
                 range.Overlaps(FramesOf(leaf.first.second, leaf.second));
        });
    if (large == leaves_.end()) return;
    ++outcome.count;
    const std::uint64_t first = large->first.second;
    ModelLeaf part = large->second;
    const GfnRange frames = FramesOf(first, part);
    leaves_.erase(large);
    part.level = part.level.Below();
    const std::uint64_t base = part.pfn;
    for (std::uint64_t at = frames.begin.value; at < frames.end.value;
         at += facts_.FramesAt(part.level)) {
      part.gfn = at;
      part.pfn = base + (at - first);
      leaves_[{kDirectTree, at}] = part;
    }
    tables_.insert({kDirectTree, part.level.value, first});
  }
}

inline void VmModel::Promote(const Operation& operation, Outcome& outcome) {
  const Level small = operation.level.Below();
  std::set<std::uint64_t> pages;
  ForDirect(operation.Range(), [&](GfnRange frames, const ModelLeaf& leaf) {
    if (leaf.level != small) return;
    const GfnRange page =
        facts_.PageAround(frames.begin.value, operation.level);
    if (operation.Range().Contains(page)) pages.insert(page.begin.value);
  });
  for (const std::uint64_t page : pages) {
    const std::uint64_t step = facts_.FramesAt(small);
    const std::uint64_t size = facts_.FramesAt(operation.level);
    const auto first = leaves_.find({kDirectTree, page});
    if (first == leaves_.end()) continue;
    ModelLeaf large = first->second;
    bool fits = large.pfn % size == 0;
    for (std::uint64_t at = 0; fits && at < size; at += step) {
      const auto part = leaves_.find({kDirectTree, page + at});
      fits = part != leaves_.end() && part->second.level == small &&
             part->second.pfn == first->second.pfn + at &&
             part->second.rights == first->second.rights &&
             !part->second.is_protected;
      if (!fits) break;
      large.accessed |= part->second.accessed;
      large.dirty |= part->second.dirty;
    }
    if (!fits) continue;
    ++outcome.count;
    leaves_.erase(leaves_.lower_bound({kDirectTree, page}),
                  leaves_.lower_bound({kDirectTree, page + size}));
    tables_.erase({kDirectTree, small.value, page});
    large.level = operation.level;
    leaves_[{kDirectTree, page}] = large;
  }
}

inline std::uint64_t VmModel::RemoveTables(GfnRange range,
                                           std::vector<ZappedState>& sink) {
  std::uint64_t removed = 0;
  for (auto table = tables_.begin(); table != tables_.end();) {
    const auto [tree, level, first] = *table;
    if (tree == kDirectTree &&
        range.Contains(facts_.PageAround(first, Level{level + 1}))) {
      table = tables_.erase(table);
      ++removed;
    } else {
      ++table;
    }
  }
  ZapAll(
      [&](unsigned tree, GfnRange frames, const ModelLeaf& leaf) {
        // The root stays.
        return tree == kDirectTree && leaf.level < Level{facts_.levels} &&
               !HasTable(tree, leaf.level, frames.begin.value);
      },
      sink);
  return removed;
}

inline void VmModel::CollectDirty(const Operation& operation,
                                  Outcome& outcome) {
  const GfnRange range = operation.Range();
  ForDirect(range, [&](GfnRange frames, ModelLeaf& leaf) {
    const bool whole = range.Contains(frames);
    const bool writable = Allows(leaf.rights, Rights::kWrite);
    switch (operation.op) {
      case Op::kLiftProtection:
        if (!leaf.is_protected) return;
        leaf.is_protected = false;
        leaf.rights = leaf.rights | Rights::kWrite;
        ++outcome.count;
        return;
      case Op::kWriteProtect:
        ++outcome.counts.examined;
        if (leaf.dirty || (!whole && writable)) {
          ++outcome.counts.young;
          outcome.young.push_back(range.Clip(frames));
        }
        if (!whole) return;
        leaf.dirty = false;
        leaf.is_protected |= writable;
        leaf.rights = leaf.rights & Rights::kReadExecute;
        return;
      default:
        ++outcome.counts.examined;
        if (!leaf.dirty) return;
        ++outcome.counts.young;
        outcome.young.push_back(range.Clip(frames));
        if (whole) leaf.dirty = false;
    }
  });
}

inline void VmModel::Edit(const Operation& operation, Outcome& outcome) {
  const unsigned guest = operation.guest % guests();
  L1Map& l1 = l1_[guest];
  if (operation.told > Level{0}) {
    outcome.count =
        ZapNested(guest, facts_.PageAround(operation.frame, operation.told),
                  outcome.zapped);
  }
  L1Map::Entry entry;
  switch (operation.op) {
    case Op::kMap:
      entry.kind = L1Kind::kPage;
      entry.gfn = facts_.FirstOf(operation.to, operation.level);
      entry.rights = facts_.representable(operation.rights);
      return l1.Put(operation.frame, operation.level, entry);
    case Op::kMalform:
      entry.kind = L1Kind::kMalformed;
      return l1.Put(operation.frame, operation.level, entry);
    case Op::kMislead:
      entry.kind = L1Kind::kMisleading;
      return l1.Put(operation.frame, operation.level, entry);
    case Op::kUnmap:
      return l1.Take(operation.frame, operation.level);
    default:
      return l1.ClearBits(operation.frame);
  }
}

inline absl::StatusCode VmModel::CanAdd(GfnRange frames,
                                        const ModelSlot* except) const {
  if (frames.Empty() || frames.end.value > facts_.frames) {
    return absl::StatusCode::kInvalidArgument;
  }
  for (const auto& [first, slot] : slots_) {
    if (&slot != except && slot.frames.Overlaps(frames)) {
      return absl::StatusCode::kAlreadyExists;
    }
  }
  return absl::StatusCode::kOk;
}

inline void VmModel::ChangeSlots(const Operation& operation, Outcome& outcome) {
  const GfnRange frames = operation.Range();
  if (operation.op == Op::kAddSlot) {
    outcome.status = CanAdd(frames, nullptr);
    if (outcome.status != absl::StatusCode::kOk) return;
    slots_[operation.frame] = ModelSlot{frames, operation.to, operation.rights};
    return;
  }
  const auto found = slots_.find(operation.frame);
  if (found == slots_.end() || found->second.frames != frames) {
    outcome.status = absl::StatusCode::kNotFound;
    return;
  }
  ModelSlot slot = found->second;
  if (operation.op == Op::kMoveSlot) {
    const Gfn to{operation.to};
    slot.frames = GfnRange{to, to + operation.frames};
    outcome.status = CanAdd(slot.frames, &found->second);
    if (outcome.status != absl::StatusCode::kOk) return;
  }
  ZapFrames(frames, outcome.zapped);
  slots_.erase(found);
  if (operation.op == Op::kMoveSlot) slots_[operation.to] = slot;
}

inline VmState VmModel::State(std::optional<unsigned> l1_of) const {
  absl::MutexLock lock(&mutex_);
  VmState state;
  for (const auto& [where, leaf] : leaves_) {
    state.leaves.push_back(LeafState{.tree = where.first,
                                     .frame = where.second,
                                     .level = leaf.level.value,
                                     .gfn = leaf.gfn,
                                     .pfn = leaf.pfn,
                                     .rights = leaf.rights,
                                     .accessed = leaf.accessed,
                                     .dirty = leaf.dirty,
                                     .is_protected = leaf.is_protected});
    state.live += where.first != kDirectTree ? 1 : 0;
  }
  for (const auto& [tree, level, first] : tables_) {
    state.tables.push_back(TableState{tree, level, first});
  }
  if (l1_of.has_value()) {
    l1_[*l1_of % guests()].AppendTo(*l1_of % guests(), state.l1);
    std::sort(state.l1.begin(), state.l1.end());
  }
  return state;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_MODEL_H_
