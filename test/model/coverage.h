// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which operations met which entries: by operation, level and state of the
// entry that they were about.

#ifndef PTAGE_TEST_MODEL_COVERAGE_H_
#define PTAGE_TEST_MODEL_COVERAGE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ptage/types.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// What an operation met first: nothing, with the entry that it ended at; or a
// leaf, by its bits.
enum class Prior : unsigned {
  kNothing,
  kCold,
  kYoung,
  kDirty,
  kYoungDirty,
  kProtected,
  kYoungProtected,
  kDirtyProtected,
  kYoungDirtyProtected,
};
inline constexpr std::size_t kPriors = 9;

class VmCoverage {
 public:
  explicit VmCoverage(const FormatFacts& facts) : facts_(facts) {}

  // Before the operation is done to the model.
  void Count(const Operation& operation, VmModel& model) {
    ++operations_;
    const std::string name = NameOf(operation);
    const bool nested = IsNested(operation.op);
    const unsigned tree =
        nested ? TreeOf(operation.guest % model.guests()) : kDirectTree;
    if (operation.op != Op::kAge || operation.asked != Asked::kShadow) {
      Hit(name, tree, operation.frame, model);
    }
    const bool rmap =
        (operation.op == Op::kAge && operation.asked != Asked::kDirect) ||
        operation.op == Op::kInvalidate || operation.op == Op::kRemoveSlot ||
        operation.op == Op::kMoveSlot;
    if (rmap) HitRmaps(absl::StrCat(name, "ThroughRmap"), operation, model);
    most_leaves_ = std::max(most_leaves_, model.maps().leaves().size());
  }

  // One line for each operation, a column for each level and state.
  [[nodiscard]] std::string Table() const;
  // Cells that no operation came to though it can, and those that one came to
  // though it cannot.
  [[nodiscard]] std::vector<std::string> Wrong() const;
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  [[nodiscard]] std::size_t most_leaves() const { return most_leaves_; }

 private:
  struct Cell {
    std::string operation;
    int level;
    Prior prior;
    friend auto operator<=>(const Cell&, const Cell&) = default;
  };

  // Operations that differ in what they do to an entry have lines of their own.
  static std::string NameOf(const Operation& operation) {
    std::string name = test::NameOf(operation.op);
    switch (operation.op) {
      case Op::kAccess:
      case Op::kNestedAccess:
      case Op::kFault:
      case Op::kNestedFault:
        return name +
               (Allows(operation.rights, Rights::kWrite) ? "Write" : "Read");
      case Op::kAge:
        name += operation.mode == AgeMode::kSlow ? "Slow" : "Fast";
        [[fallthrough]];
      case Op::kAgeSteps:
        return name + (operation.action == AgeAction::kTest ? "Test" : "Clear");
      default:
        if (!IsEdit(operation.op)) return name;
        return name + (operation.told > Level{0} ? "Told" : "Silent");
    }
  }
  static std::vector<std::string> Names();
  static bool IsOfNested(const std::string& name) {
    static constexpr const char* kBegin[] = {
        "Nested",    "InvalidateNested", "Map",    "Unmap",
        "ClearBits", "Malform",          "Mislead"};
    return std::any_of(
               std::begin(kBegin), std::end(kBegin),
               [&](const char* begin) { return name.rfind(begin, 0) == 0; }) ||
           name.find("ThroughRmap") != std::string::npos;
  }
  static Prior PriorOf(const ModelLeaf& leaf) {
    const unsigned bits = (leaf.accessed ? 1u : 0u) + (leaf.dirty ? 2u : 0u) +
                          (leaf.is_protected ? 4u : 0u);
    return static_cast<Prior>(1 + bits);
  }
  void Hit(const std::string& name, unsigned tree, std::uint64_t frame,
           VmModel& model) {
    const ModelLeaf* const leaf = model.maps().Find(tree, frame);
    if (leaf != nullptr) {
      ++cells_[{name, leaf->level.value, PriorOf(*leaf)}];
    } else {
      const Level hole = model.maps().Unhindered(tree, frame, facts_.largest);
      ++cells_[{name, hole.value, Prior::kNothing}];
    }
  }
  void HitRmaps(const std::string& name, const Operation& operation,
                VmModel& model) {
    for (Level level{1}; level <= facts_.largest; level = level.Above()) {
      const auto entries = model.maps().RmapOf(operation.frame, level);
      if (entries.empty()) {
        ++cells_[{name, level.value, Prior::kNothing}];
      }
      for (const ModelLeaf* const leaf : entries) {
        ++cells_[{entries.size() > 1 ? name + "OfMany" : name, level.value,
                  PriorOf(*leaf)}];
      }
    }
  }
  // Why no operation can come there; nothing if one can.
  std::optional<std::string> Unreachable(const Cell& cell) const;

  const FormatFacts facts_;
  std::map<Cell, std::uint64_t> cells_;
  std::uint64_t operations_ = 0;
  std::size_t most_leaves_ = 0;
};

// ---------------------------------------------------------------------------

inline std::vector<std::string> VmCoverage::Names() {
  std::vector<std::string> names;
  const auto add = [&](const Operation& operation) {
    const std::string name = NameOf(operation);
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  };
  for (std::size_t i = 0; i < kOps; ++i) {
    // It is about no entry.
    if (static_cast<Op>(i) == Op::kAddGuest) continue;
    Operation operation{.op = static_cast<Op>(i)};
    for (const AgeMode mode : {AgeMode::kSlow, AgeMode::kFastOnly}) {
      for (const AgeAction action :
           {AgeAction::kTest, AgeAction::kTestAndClear}) {
        for (const bool other : {false, true}) {
          operation.mode = mode;
          operation.action = action;
          operation.rights = other ? Rights::kReadWrite : Rights::kRead;
          operation.told = Level{other ? 1 : 0};
          add(operation);
        }
      }
    }
  }
  for (const char* const name :
       {"AgeSlowTest", "AgeSlowClear", "AgeFastTest", "AgeFastClear",
        "Invalidate", "RemoveSlot", "MoveSlot"}) {
    names.push_back(absl::StrCat(name, "ThroughRmap"));
    names.push_back(absl::StrCat(name, "ThroughRmapOfMany"));
  }
  return names;
}

inline std::optional<std::string> VmCoverage::Unreachable(
    const Cell& cell) const {
  const bool is_protected = cell.prior >= Prior::kProtected;
  if (!facts_.protectable &&
      (is_protected || cell.operation == "WriteProtect" ||
       cell.operation == "LiftProtection")) {
    return "where faults set the dirty bit nothing is protected (dirty.h)";
  }
  if (is_protected && IsOfNested(cell.operation)) {
    return "what is write-protected is direct (docs/nested.md)";
  }
  if (cell.prior >= Prior::kDirtyProtected) {
    return "a protected page is clean (dirty.h)";
  }
  if (cell.prior == Prior::kNothing &&
      cell.operation.find("OfMany") != std::string::npos) {
    return "many entries are not none";
  }
  return std::nullopt;
}

inline std::string VmCoverage::Table() const {
  static constexpr std::array<const char*, kPriors> kHeads = {
      "-", "cold", "A", "D", "AD", "P", "AP", "DP", "ADP"};
  std::string text =
      absl::StrFormat("%d operations, up to %d leaves\n%-30s", operations_,
                      most_leaves_, "operation, level");
  for (const char* const head : kHeads)
    absl::StrAppendFormat(&text, "%9s", head);
  text += "\n";
  for (const std::string& name : Names()) {
    for (int level = 1; level <= facts_.largest.value; ++level) {
      absl::StrAppendFormat(&text, "%-28s %d", name, level);
      for (std::size_t prior = 0; prior < kPriors; ++prior) {
        const Cell cell{name, level, static_cast<Prior>(prior)};
        const auto found = cells_.find(cell);
        if (found == cells_.end() && Unreachable(cell)) {
          absl::StrAppendFormat(&text, "%9s", ".");
        } else {
          absl::StrAppendFormat(&text, "%9d",
                                found == cells_.end() ? 0 : found->second);
        }
      }
      text += "\n";
    }
  }
  return text;
}

inline std::vector<std::string> VmCoverage::Wrong() const {
  std::vector<std::string> wrong;
  for (const std::string& name : Names()) {
    for (int level = 1; level <= facts_.largest.value; ++level) {
      for (std::size_t prior = 0; prior < kPriors; ++prior) {
        const Cell cell{name, level, static_cast<Prior>(prior)};
        const auto reason = Unreachable(cell);
        const bool hit = cells_.count(cell) != 0;
        if (hit != reason.has_value()) continue;
        wrong.push_back(
            absl::StrCat(name, " of level ", level, " in state ", prior,
                         hit ? absl::StrCat(" was met, though ", *reason)
                             : " was never met"));
      }
    }
  }
  return wrong;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_COVERAGE_H_
