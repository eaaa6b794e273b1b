// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The shadow tables of a guest's tables: which one stands for which, the way
// back from a frame of the guest, what points to each, and which is the oldest.
// Hosted.
//
// Contract
//   Not synchronized: legacy_shadow.h says under which lock.

#ifndef PTAGE_LEGACY_SHADOW_TABLES_H_
#define PTAGE_LEGACY_SHADOW_TABLES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What a shadow table stands for: the guest's table in `frame`, its entries
// taken for those of `level`, below entries that grant `above`. A guest may use
// a frame at two levels, or below entries of different rights.
struct TableRole {
  Gfn frame;     // of the guest
  Level level;   // of its entries
  Rights above;  // what the path to it grants

  friend bool operator==(TableRole, TableRole) = default;
};

// A table of ours that stands for one of the guest's.
template <SpteFormat F>
struct ShadowTable {
  // What it stands for, and where it is.
  TableRole role;
  Table<F>* table;
  // The entries that point to it. A root has none.
  std::vector<SpteCell<F>*> parents;
  // Loads of it as a root that are not unloaded.
  std::uint64_t loads = 0;

  // Whether nothing leads to it, so that it may go.
  [[nodiscard]] bool Unused() const { return parents.empty() && loads == 0; }
};

// All of a guest, by their roles and by age. Not synchronized.
template <SpteFormat F>
class ShadowTables {
 public:
  // How many there are.
  [[nodiscard]] std::size_t size() const { return by_age_.size(); }

  // Null if there is none.
  [[nodiscard]] ShadowTable<F>* Find(TableRole role) {
    for (ShadowTable<F>* const table : Of(role.frame)) {
      if (table->role == role) return table;
    }
    return nullptr;
  }
  // All that stand for the table in `frame`. Until the next Insert or Erase.
  [[nodiscard]] const std::vector<ShadowTable<F>*>& Of(Gfn frame) const {
    static const std::vector<ShadowTable<F>*> kNone;
    const auto found = by_frame_.find(frame.value);
    return found == by_frame_.end() ? kNone : found->second;
  }
  // Precondition: `table` was inserted.
  [[nodiscard]] ShadowTable<F>& Holding(const Table<F>* table) {
    const auto found = by_table_.find(table);
    PTAGE_ASSERT(found != by_table_.end());
    return *found->second;
  }
  // The oldest. Precondition: size() != 0.
  [[nodiscard]] ShadowTable<F>& Oldest() { return by_age_.front(); }

  // Precondition: nothing stands for the role.
  ShadowTable<F>& Insert(TableRole role, Table<F>* table) {
    by_age_.push_back(ShadowTable<F>{role, table, {}, 0});
    by_table_.emplace(table, std::prev(by_age_.end()));
    by_frame_[role.frame.value].push_back(&by_age_.back());
    return by_age_.back();
  }
  void Erase(ShadowTable<F>& table) {
    const auto of = by_frame_.find(table.role.frame.value);
    std::erase(of->second, &table);
    if (of->second.empty()) by_frame_.erase(of);
    const auto at = by_table_.find(table.table);
    const auto place = at->second;
    by_table_.erase(at);
    by_age_.erase(place);
  }
  // Makes it the youngest.
  void Renew(const ShadowTable<F>& table) {
    by_age_.splice(by_age_.end(), by_age_, by_table_.at(table.table));
  }
  template <class Visitor>
  void ForEach(Visitor&& visit) {
    for (ShadowTable<F>& table : by_age_) visit(table);
  }

 private:
  using List = std::list<ShadowTable<F>>;

  // Oldest first.
  List by_age_;
  std::unordered_map<std::uint64_t, std::vector<ShadowTable<F>*>> by_frame_;
  std::unordered_map<const Table<F>*, typename List::iterator> by_table_;
};

}  // namespace ptage

#endif  // PTAGE_LEGACY_SHADOW_TABLES_H_
