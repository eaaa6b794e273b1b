// SPDX-License-Identifier: MIT OR Apache-2.0
//
// L1's tables for one nested guest, as a map of entries; and the walk through
// them, as the manuals have it.

#ifndef PTAGE_TEST_MODEL_L1_MAP_H_
#define PTAGE_TEST_MODEL_L1_MAP_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "ptage/guest_walk.h"
#include "ptage/types.h"
#include "test/model/vm_state.h"

namespace ptage::test {

class L1Map {
 public:
  struct Entry {
    L1Kind kind = L1Kind::kTable;
    std::uint64_t gfn = 0;
    Rights rights = Rights::kNone;
    bool accessed = false;
    bool dirty = false;
  };

  // `marked`: L1 has accessed and dirty bits.
  L1Map(const FormatFacts& facts, bool marked)
      : facts_(facts), marked_(marked) {}

  // Writes the entry at `level` on the path to `frame`, and the tables above;
  // what was there is gone.
  void Put(std::uint64_t frame, Level level, const Entry& entry) {
    for (Level at{facts_.levels}; at > level; at = at.Below()) {
      Entry* const above = Find(frame, at);
      if (above != nullptr && above->kind == L1Kind::kTable) continue;
      entries_[{at.value, facts_.FirstOf(frame, at)}] = Entry{};
    }
    Erase(frame, level);
    Entry& put = entries_[{level.value, facts_.FirstOf(frame, level)}];
    put = entry;
    if (entry.kind == L1Kind::kPage && facts_.l1_sets_bits) {
      put.accessed = put.dirty = true;
    }
  }
  // Clears the entry at `level`, or what ends the path above it.
  void Take(std::uint64_t frame, Level level) {
    Level at{facts_.levels};
    for (; at > level; at = at.Below()) {
      const Entry* const above = Find(frame, at);
      if (above == nullptr || above->kind != L1Kind::kTable) break;
    }
    Erase(frame, at);
  }
  void ClearBits(std::uint64_t frame) {
    for (Level at{facts_.levels}; at >= Level{1}; at = at.Below()) {
      Entry* const entry = Find(frame, at);
      if (entry == nullptr) return;
      if (entry->kind == L1Kind::kPage) entry->accessed = entry->dirty = false;
      if (entry->kind != L1Kind::kTable) return;
    }
  }

  GuestTranslation Walk(std::uint64_t frame, Rights needed) {
    std::vector<Entry*> path;
    for (Level at{facts_.levels};; at = at.Below()) {
      Entry* const entry = Find(frame, at);
      if (entry == nullptr) {
        return {.walk = GuestWalk::kNotPresent, .level = at};
      }
      if (entry->kind == L1Kind::kMalformed) {
        return {.walk = GuestWalk::kReserved, .level = at};
      }
      path.push_back(entry);
      if (entry->kind == L1Kind::kMisleading) {
        // It is the table that is not there.
        return {.walk = GuestWalk::kOutside, .level = at.Below()};
      }
      if (entry->kind == L1Kind::kTable) continue;
      if (!Allows(entry->rights, needed)) {
        return {.walk = GuestWalk::kForbidden, .level = at};
      }
      Rights rights = entry->rights;
      if (facts_.l1_sets_bits) {
        if (!entry->dirty) rights = rights & Rights::kReadExecute;
        if (!entry->accessed || !Allows(rights, needed)) {
          return {.walk = GuestWalk::kForbidden, .level = at};
        }
      } else if (marked_) {
        for (Entry* const above : path) {
          above->accessed |= above == entry || facts_.inner_accessed;
        }
        entry->dirty |= Allows(needed, Rights::kWrite);
        // The first write must come back here.
        if (!entry->dirty) rights = rights & Rights::kReadExecute;
      }
      return {.walk = GuestWalk::kTranslated,
              .gfn = Gfn{entry->gfn + frame % facts_.FramesAt(at)},
              .level = at,
              .rights = rights};
    }
  }

  // The level of the entry that ends the path.
  [[nodiscard]] Level EndOf(std::uint64_t frame) {
    Level at{facts_.levels};
    for (; at > Level{1}; at = at.Below()) {
      const Entry* const entry = Find(frame, at);
      if (entry == nullptr || entry->kind != L1Kind::kTable) break;
    }
    return at;
  }
  [[nodiscard]] Entry* Find(std::uint64_t frame, Level level) {
    const auto found =
        entries_.find({level.value, facts_.FirstOf(frame, level)});
    return found == entries_.end() ? nullptr : &found->second;
  }
  void AppendTo(unsigned guest, std::vector<L1State>& states) const {
    for (const auto& [where, entry] : entries_) {
      states.push_back(L1State{.guest = guest,
                               .first = where.second,
                               .level = where.first,
                               .kind = entry.kind,
                               .gfn = entry.gfn,
                               .rights = entry.rights,
                               .dirty = entry.dirty,
                               .accessed = entry.accessed});
    }
  }

 private:
  // The entry, and all below it.
  void Erase(std::uint64_t frame, Level level) {
    const GfnRange page = facts_.PageAround(frame, level);
    for (Level at = level; at >= Level{1}; at = at.Below()) {
      entries_.erase(entries_.lower_bound({at.value, page.begin.value}),
                     entries_.lower_bound({at.value, page.end.value}));
    }
  }

  const FormatFacts facts_;
  const bool marked_;
  // By level and first frame.
  std::map<std::pair<int, std::uint64_t>, Entry> entries_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_L1_MAP_H_
