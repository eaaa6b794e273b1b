// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a VM's trees map, as plain maps: leaves by their first frames, and which
// tables there are. With what replaces leaves by others, or takes them away.

#ifndef PTAGE_TEST_MODEL_VM_MAPS_H_
#define PTAGE_TEST_MODEL_VM_MAPS_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "ptage/types.h"
#include "test/model/vm_state.h"

namespace ptage::test {

struct ModelLeaf {
  Level level;
  std::uint64_t gfn = 0;
  std::uint64_t pfn = 0;
  Rights rights = Rights::kNone;
  bool accessed = false;
  bool dirty = false;
  bool is_protected = false;
  // A write was seen since it became young.
  bool written = false;
  // It is young, and the entry above may be clear: whoever skips what is cold
  // may miss it.
  bool hidden = false;

  // What an access leaves, which hardware or a fault lets through.
  void Use(Rights access) {
    const bool writes = Allows(access, Rights::kWrite);
    accessed = true;
    dirty |= writes;
    written |= writes;
  }
  // Whether hardware lets the access through as the entry stands.
  [[nodiscard]] bool IsLive(const FormatFacts& facts, Rights access) const {
    if (!Allows(rights, access)) return false;
    if (!facts.hardware_accessed && !accessed) return false;
    if (facts.hardware_dirty || !Allows(access, Rights::kWrite)) return true;
    return facts.old_is_not_writable ? written : dirty;
  }
  void MakeOld() { accessed = written = false; }
  void MakeClean() { dirty = written = false; }
};

class VmMaps {
 public:
  // By tree and first frame.
  using Leaves = std::map<std::pair<unsigned, std::uint64_t>, ModelLeaf>;

  explicit VmMaps(const FormatFacts& facts) : facts_(facts) {}

  [[nodiscard]] const Leaves& leaves() const { return leaves_; }
  [[nodiscard]] GfnRange FramesOf(std::uint64_t first,
                                  const ModelLeaf& leaf) const {
    return facts_.PageAround(first, leaf.level);
  }
  // The frames that a tree translates.
  [[nodiscard]] GfnRange All() const {
    return GfnRange{Gfn{0}, Gfn{facts_.frames}};
  }
  // The leaf that covers a frame; leaves().end() if none does.
  [[nodiscard]] Leaves::const_iterator Covering(unsigned tree,
                                                std::uint64_t frame) const {
    auto leaf = leaves_.upper_bound({tree, frame});
    if (leaf == leaves_.begin()) return leaves_.end();
    --leaf;
    const GfnRange frames = FramesOf(leaf->first.second, leaf->second);
    return leaf->first.first == tree && frames.Contains(Gfn{frame})
               ? leaf
               : leaves_.end();
  }
  // Null if none does.
  [[nodiscard]] ModelLeaf* Find(unsigned tree, std::uint64_t frame) {
    const auto leaf = Covering(tree, frame);
    return leaf == leaves_.end() ? nullptr : &leaves_.at(leaf->first);
  }
  // Whether there is a table of entries of `level` on the path to a frame.
  [[nodiscard]] bool HasTable(unsigned tree, Level level,
                              std::uint64_t frame) const {
    return tables_.count(
               {tree, level.value, facts_.FirstOf(frame, level.Above())}) != 0;
  }
  // The largest level up to `level` of a page that no table stands in the way
  // of.
  [[nodiscard]] Level Unhindered(unsigned tree, std::uint64_t frame,
                                 Level level) const {
    while (level > Level{1} && HasTable(tree, level.Below(), frame)) {
      level = level.Below();
    }
    return level;
  }
  // Whether the leaf maps the page at `level` around a frame of L1, for a
  // nested guest: is in its rmap.
  [[nodiscard]] bool IsInRmap(unsigned tree, const ModelLeaf& leaf,
                              std::uint64_t gfn, Level level) const {
    return tree != kDirectTree && leaf.level == level &&
           leaf.gfn == facts_.FirstOf(gfn, level);
  }
  [[nodiscard]] std::vector<const ModelLeaf*> RmapOf(std::uint64_t gfn,
                                                     Level level) const {
    std::vector<const ModelLeaf*> entries;
    for (const auto& [where, leaf] : leaves_) {
      if (IsInRmap(where.first, leaf, gfn, level)) entries.push_back(&leaf);
    }
    return entries;
  }
  // What is asked of the VM after each operation: the leaf tables whose entry
  // above is marked, in order, and how often CPUs were flushed.
  void Learn(const std::vector<LeafTable>& marked, std::uint64_t flushes) {
    marked_ = marked;
    if (flushes_ != flushes) cached_.clear();
    flushes_ = flushes;
  }
  // Whether the leaf at `first` is not looked at where cold ones are skipped.
  // But nothing is that is young and cannot be hidden, whatever is marked.
  [[nodiscard]] bool IsSkipped(unsigned tree, std::uint64_t first,
                               const ModelLeaf& leaf) const {
    if (leaf.level > Level{1}) {
      return leaf.level == Level{2} && !leaf.accessed;
    }
    return (!leaf.accessed || leaf.hidden) &&
           !std::binary_search(
               marked_.begin(), marked_.end(),
               LeafTable{tree, facts_.FirstOf(first, Level{2})});
  }
  // The entries above these leaf tables were cleared, and no CPU was flushed.
  void ClearBehindCaches(unsigned tree, GfnRange range) {
    for (auto table = tables_.lower_bound({tree, 1, 0});
         table != tables_.end() && *table < std::tuple(tree, 2, 0u); ++table) {
      const std::uint64_t first = std::get<2>(*table);
      if (range.Contains(facts_.PageAround(first, Level{2}))) {
        cached_.insert({tree, first});
      }
    }
  }
  // An access by a walk, which does not mark the entry that it starts from, if
  // the CPU had that cached.
  void Walk(unsigned tree, std::uint64_t frame, ModelLeaf& leaf,
            Rights access) {
    leaf.hidden = (leaf.hidden || !leaf.accessed) && leaf.level == Level{1} &&
                  cached_.count({tree, facts_.FirstOf(frame, Level{2})}) != 0;
    leaf.Use(access);
  }
  // Calls `visit(frames, leaf)` for each leaf of a tree; in a range.
  template <class Visit>
  void ForEach(unsigned tree, const Visit& visit) {
    ForEach(tree, All(), visit);
  }
  template <class Visit>
  void ForEach(unsigned tree, GfnRange range, const Visit& visit) {
    for (auto& [where, leaf] : leaves_) {
      const GfnRange frames = FramesOf(where.second, leaf);
      if (where.first == tree && range.Overlaps(frames)) visit(frames, leaf);
    }
  }

  // Maps the page of leaf.level around `frame`, with the tables above. The
  // leaf's frames are those behind `frame`.
  void Map(unsigned tree, std::uint64_t frame, ModelLeaf leaf);
  // Takes each leaf away of which `which(tree, frames, leaf)` is true; its bits
  // go to `sink`. Returns how many.
  template <class Which>
  std::uint64_t Zap(const Which& which, std::vector<ZappedState>& sink);
  std::uint64_t ZapIn(unsigned tree, GfnRange range,
                      std::vector<ZappedState>& sink) {
    return Zap(
        [&](unsigned of, GfnRange frames, const ModelLeaf&) {
          return of == tree && range.Overlaps(frames);
        },
        sink);
  }
  // What the direct tree, or those of nested guests, map of a range of L1's
  // frames. Returns how many were split. `keep_dirty` is false in models that
  // are wrong on purpose.
  enum class SplitOf { kDirect, kNested };
  std::uint64_t Split(SplitOf of, GfnRange range, Level level, bool keep_dirty);
  [[nodiscard]] std::vector<MappedPage> NestedPages() const {
    std::vector<MappedPage> pages;
    for (const auto& [where, leaf] : leaves_) {
      if (where.first != kDirectTree) pages.emplace_back(leaf.gfn, leaf.level);
    }
    return pages;
  }
  // Of the direct tree. Each returns how many were promoted, removed.
  std::uint64_t Promote(GfnRange range, Level level);
  std::uint64_t RemoveTables(GfnRange range, std::vector<ZappedState>& sink);

  void AppendTo(VmState& state) const;

 private:
  // Whether the page of leaves became one.
  bool PromoteOne(std::uint64_t page, Level level);

  const FormatFacts facts_;
  Leaves leaves_;
  // Tree, level of the entries, first frame. But the roots.
  std::set<std::tuple<unsigned, int, std::uint64_t>> tables_;
  // Whose entry above is marked in the VM.
  std::vector<LeafTable> marked_;
  // Whose entry above was cleared, and may be cached by a CPU all the same.
  std::set<LeafTable> cached_;
  std::uint64_t flushes_ = 0;
};

// ---------------------------------------------------------------------------

inline void VmMaps::Map(unsigned tree, std::uint64_t frame, ModelLeaf leaf) {
  const std::uint64_t inside = frame % facts_.FramesAt(leaf.level);
  leaf.gfn -= inside;
  leaf.pfn -= inside;
  leaf.rights = facts_.representable(leaf.rights);
  leaves_[{tree, frame - inside}] = leaf;
  for (Level at = leaf.level; at < Level{facts_.levels}; at = at.Above()) {
    tables_.insert({tree, at.value, facts_.FirstOf(frame, at.Above())});
  }
}

template <class Which>
std::uint64_t VmMaps::Zap(const Which& which, std::vector<ZappedState>& sink) {
  std::uint64_t zapped = 0;
  for (auto at = leaves_.begin(); at != leaves_.end();) {
    const ModelLeaf& leaf = at->second;
    if (!which(at->first.first, FramesOf(at->first.second, leaf), leaf)) {
      ++at;
      continue;
    }
    sink.push_back(ZappedState{leaf.gfn, leaf.level.value, leaf.pfn,
                               leaf.accessed, leaf.dirty});
    at = leaves_.erase(at);
    ++zapped;
  }
  return zapped;
}

inline std::uint64_t VmMaps::Split(SplitOf of, GfnRange range, Level level,
                                   bool keep_dirty) {
  for (std::uint64_t split = 0;; ++split) {
    const auto large = std::find_if(
        leaves_.begin(), leaves_.end(), [&](const Leaves::value_type& leaf) {
          return (leaf.first.first == kDirectTree) ==
                     (of == SplitOf::kDirect) &&
                 leaf.second.level > level &&
                 range.Overlaps(FramesOf(leaf.second.gfn, leaf.second));
        });
    if (large == leaves_.end()) return split;
    const auto [tree, first] = large->first;
    const std::uint64_t size = facts_.FramesAt(large->second.level);
    ModelLeaf part = large->second;
    part.dirty &= keep_dirty;
    leaves_.erase(large);
    part.level = part.level.Below();
    const std::uint64_t step = facts_.FramesAt(part.level);
    for (std::uint64_t at = 0; at < size; at += step) {
      leaves_[{tree, first + at}] = part;
      part.gfn += step;
      part.pfn += step;
    }
    tables_.insert({tree, part.level.value, first});
  }
}

inline std::uint64_t VmMaps::Promote(GfnRange range, Level level) {
  std::set<std::uint64_t> pages;
  ForEach(kDirectTree, range, [&](GfnRange frames, const ModelLeaf& leaf) {
    const GfnRange page = facts_.PageAround(frames.begin.value, level);
    if (leaf.level == level.Below() && range.Contains(page)) {
      pages.insert(page.begin.value);
    }
  });
  std::uint64_t promoted = 0;
  for (const std::uint64_t page : pages) promoted += PromoteOne(page, level);
  return promoted;
}

inline bool VmMaps::PromoteOne(std::uint64_t page, Level level) {
  const std::uint64_t step = facts_.FramesAt(level.Below());
  const std::uint64_t size = facts_.FramesAt(level);
  const auto first = leaves_.find({kDirectTree, page});
  if (first == leaves_.end() || first->second.pfn % size != 0) return false;
  ModelLeaf large = first->second;
  large.level = level;
  large.hidden = false;
  for (std::uint64_t at = 0; at < size; at += step) {
    const auto part = leaves_.find({kDirectTree, page + at});
    const bool fits =
        part != leaves_.end() && part->second.level == level.Below() &&
        part->second.pfn == large.pfn + at &&
        part->second.rights == large.rights && !part->second.is_protected;
    if (!fits) {
      // Those before were taken, and are given back as if they had been read:
      // the next write may fault.
      while (at > 0)
        leaves_.at({kDirectTree, page + (at -= step)}).written = false;
      return false;
    }
    large.accessed |= part->second.accessed;
    large.dirty |= part->second.dirty;
    large.written |= part->second.written;
  }
  leaves_.erase(leaves_.lower_bound({kDirectTree, page}),
                leaves_.lower_bound({kDirectTree, page + size}));
  tables_.erase({kDirectTree, level.Below().value, page});
  leaves_[{kDirectTree, page}] = large;
  return true;
}

inline std::uint64_t VmMaps::RemoveTables(GfnRange range,
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
  Zap(
      [&](unsigned tree, GfnRange frames, const ModelLeaf& leaf) {
        // The root stays.
        return tree == kDirectTree && leaf.level < Level{facts_.levels} &&
               !HasTable(tree, leaf.level, frames.begin.value);
      },
      sink);
  return removed;
}

inline void VmMaps::AppendTo(VmState& state) const {
  for (const auto& [where, leaf] : leaves_) {
    Rights live = Rights::kNone;
    for (const Rights right :
         {Rights::kRead, Rights::kWrite, Rights::kExecute}) {
      if (leaf.IsLive(facts_, right)) live = live | right;
    }
    state.leaves.push_back(LeafState{.tree = where.first,
                                     .frame = where.second,
                                     .level = leaf.level.value,
                                     .gfn = leaf.gfn,
                                     .pfn = leaf.pfn,
                                     .rights = leaf.rights,
                                     .live = live,
                                     .accessed = leaf.accessed,
                                     .dirty = leaf.dirty,
                                     .is_protected = leaf.is_protected});
    state.live += where.first != kDirectTree ? 1 : 0;
  }
  for (const auto& [tree, level, first] : tables_) {
    state.tables.push_back(TableState{tree, level, first});
  }
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_MAPS_H_
