// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which operations met which entries: by operation, level and state of each
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
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ptage/prune.h"
#include "ptage/types.h"
#include "test/model/vm_maps.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"

namespace ptage::test {

// What an operation met: nothing, with the entry that a lookup ends at; or a
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

// How an operation finds the entry: by its place in a tree, or by the frame of
// L1, alone or with others.
enum class Way : unsigned { kTree, kRmap, kRmapOfMany };
inline constexpr std::size_t kWays = 3;

class VmCoverage {
 public:
  explicit VmCoverage(const FormatFacts& facts) : facts_(facts) {}

  // Before the operation is done to the model.
  void Count(const Operation& operation, VmModel& model);
  // How often the entry that `operation.frame` leads to was met so.
  std::uint64_t MetBefore(const Operation& operation, VmModel& model) const;
  void Add(const VmCoverage& other);

  // One line for each operation and level, a column for each state.
  [[nodiscard]] std::string Table() const;
  // Cells that no operation came to though it can, and those that one came to
  // though it cannot.
  [[nodiscard]] std::vector<std::string> Wrong() const;
  [[nodiscard]] std::uint64_t operations() const { return operations_; }

 private:
  static constexpr std::size_t kVariants = 4;
  static constexpr std::size_t kRows = kOps * kVariants * kWays;
  static constexpr std::size_t kMostLevels = 4;
  struct Cell {
    std::size_t row;
    std::size_t level;
    std::size_t prior;
  };

  // Operations that differ in what they do to an entry have lines of their own.
  static std::size_t VariantOf(const Operation& operation);
  static std::size_t RowOf(const Operation& operation, Way way) {
    return (static_cast<std::size_t>(operation.op) * kVariants +
            VariantOf(operation)) *
               kWays +
           static_cast<std::size_t>(way);
  }
  static Cell CellOf(std::size_t row, const ModelLeaf& leaf) {
    const unsigned bits = (leaf.accessed ? 1u : 0u) + (leaf.dirty ? 2u : 0u) +
                          (leaf.is_protected ? 4u : 0u);
    return Cell{row, static_cast<std::size_t>(leaf.level.value), 1 + bits};
  }
  static unsigned TreeIn(const Operation& operation, const VmModel& model) {
    return IsNested(operation.op) ? TreeOf(operation.guest % model.guests())
                                  : kDirectTree;
  }
  static bool IsAsked(const Operation& operation) {
    return operation.op == Op::kAge || operation.op == Op::kAgeSkippingCold ||
           operation.op == Op::kSplit;
  }
  // What finds a nested guest's entry elsewhere is counted so, too: by the
  // frame that it maps.
  static bool GoesByRmaps(const Operation& operation) {
    return (IsAsked(operation) && operation.asked != Asked::kDirect) ||
           operation.op == Op::kInvalidate || operation.op == Op::kRemoveSlot ||
           operation.op == Op::kMoveSlot;
  }
  Cell FirstOf(const Operation& operation, VmModel& model) const;
  std::uint64_t HitsOf(Cell cell) const {
    return cells_[cell.row][cell.level][cell.prior];
  }
  void Hit(Cell cell) { ++cells_[cell.row][cell.level][cell.prior]; }
  void CountRmaps(const Operation& operation, VmModel& model);
  void CountSkipped(const Operation& operation, VmModel& model);

  // Name of a row that there is.
  static std::optional<std::string> NameOf(std::size_t row);
  // Why no operation can come there; nothing if one can.
  std::optional<std::string> Unreachable(Cell cell) const;
  // Calls `visit(name, level)` for each line of the table.
  template <class Visit>
  void ForEachLine(const Visit& visit) const;

  const FormatFacts facts_;
  std::array<std::array<std::array<std::uint64_t, kPriors>, kMostLevels>, kRows>
      cells_{};
  std::uint64_t operations_ = 0;
  std::size_t most_leaves_ = 0;
  // Where cold leaves are skipped: those that were read, those that were not,
  // and of the latter the young ones, which a best effort has lost.
  std::uint64_t read_ = 0;
  std::uint64_t skipped_ = 0;
  std::uint64_t hidden_ = 0;
};

// ---------------------------------------------------------------------------

inline std::size_t VmCoverage::VariantOf(const Operation& operation) {
  switch (operation.op) {
    case Op::kAccess:
    case Op::kNestedAccess:
    case Op::kFault:
    case Op::kNestedFault:
      return Allows(operation.rights, Rights::kWrite) ? 1 : 0;
    case Op::kAge:
      return (operation.mode == AgeMode::kSlow ? 0 : 2) +
             (operation.action == AgeAction::kTest ? 0 : 1);
    case Op::kAgeSteps:
      return operation.action == AgeAction::kTest ? 0 : 1;
    case Op::kAgeSkippingCold:
      return (operation.pruning == Pruning::kExact ? 0 : 2) +
             (operation.action == AgeAction::kTest ? 0 : 1);
    default:
      return IsEdit(operation.op) && operation.told > Level{0} ? 1 : 0;
  }
}

inline std::optional<std::string> VmCoverage::NameOf(std::size_t row) {
  const Way way = static_cast<Way>(row % kWays);
  const std::size_t variant = row / kWays % kVariants;
  Operation operation{.op = static_cast<Op>(row / kWays / kVariants)};
  // It is about no entry.
  if (operation.op == Op::kAddGuest) return std::nullopt;
  if (way != Way::kTree && !GoesByRmaps(operation)) return std::nullopt;
  std::string name = test::NameOf(operation.op);
  const char* variants[kVariants] = {"", nullptr, nullptr, nullptr};
  switch (operation.op) {
    case Op::kAccess:
    case Op::kNestedAccess:
    case Op::kFault:
    case Op::kNestedFault:
      variants[0] = "Read";
      variants[1] = "Write";
      break;
    case Op::kAge:
      variants[0] = "SlowTest";
      variants[1] = "SlowClear";
      variants[2] = "FastTest";
      variants[3] = "FastClear";
      break;
    case Op::kAgeSteps:
      variants[0] = "Test";
      variants[1] = "Clear";
      break;
    case Op::kAgeSkippingCold:
      variants[0] = "ExactTest";
      variants[1] = "ExactClear";
      variants[2] = "BestTest";
      variants[3] = "BestClear";
      break;
    default:
      if (!IsEdit(operation.op)) break;
      variants[0] = "Silent";
      variants[1] = "Told";
  }
  if (variants[variant] == nullptr) return std::nullopt;
  return absl::StrCat(name, variants[variant],
                      way == Way::kTree   ? ""
                      : way == Way::kRmap ? " by rmap"
                                          : " by list");
}

inline VmCoverage::Cell VmCoverage::FirstOf(const Operation& operation,
                                            VmModel& model) const {
  const unsigned tree = TreeIn(operation, model);
  const std::size_t row = RowOf(operation, Way::kTree);
  const ModelLeaf* const leaf = model.maps().Find(tree, operation.frame);
  if (leaf != nullptr) return CellOf(row, *leaf);
  const Level hole =
      model.maps().Unhindered(tree, operation.frame, facts_.largest);
  return Cell{row, static_cast<std::size_t>(hole.value), 0};
}

inline void VmCoverage::Count(const Operation& operation, VmModel& model) {
  ++operations_;
  most_leaves_ = std::max(most_leaves_, model.maps().leaves().size());
  if (GoesByRmaps(operation)) CountRmaps(operation, model);
  if (operation.op == Op::kAgeSkippingCold) CountSkipped(operation, model);
  if (IsAsked(operation) && operation.asked == Asked::kShadow) return;
  const Cell first = FirstOf(operation, model);
  Hit(first);
  // All others that it is about.
  GfnRange range = operation.Range();
  if (IsEdit(operation.op)) {
    range = facts_.PageAround(operation.frame,
                              std::max(operation.level, operation.told));
  } else if (operation.op == Op::kAgeSteps) {
    range = facts_.PageAround(operation.frame, Level{2});
  }
  bool skipped = first.prior == 0;
  model.maps().ForEach(TreeIn(operation, model), range,
                       [&](GfnRange, const ModelLeaf& leaf) {
                         const Cell cell = CellOf(first.row, leaf);
                         if (!skipped && cell.level == first.level &&
                             cell.prior == first.prior) {
                           skipped = true;
                           return;
                         }
                         Hit(cell);
                       });
}

inline void VmCoverage::CountRmaps(const Operation& operation, VmModel& model) {
  const GfnRange range = operation.Range();
  std::map<std::pair<Level, std::uint64_t>, std::vector<const ModelLeaf*>>
      rmaps;
  // Those of the first frame are looked at, whether there is something or not.
  for (Level level{1}; level <= facts_.largest; level = level.Above()) {
    rmaps[{level, facts_.FirstOf(operation.frame, level)}];
  }
  for (unsigned guest = 0; guest < model.guests(); ++guest) {
    model.maps().ForEach(TreeOf(guest), [&](GfnRange, const ModelLeaf& leaf) {
      if (range.Overlaps(model.maps().FramesOf(leaf.gfn, leaf))) {
        rmaps[{leaf.level, leaf.gfn}].push_back(&leaf);
      }
    });
  }
  for (const auto& [page, entries] : rmaps) {
    if (entries.empty()) {
      Hit(Cell{RowOf(operation, Way::kRmap),
               static_cast<std::size_t>(page.first.value), 0});
    }
    const Way way = entries.size() > 1 ? Way::kRmapOfMany : Way::kRmap;
    for (const ModelLeaf* const leaf : entries) {
      Hit(CellOf(RowOf(operation, way), *leaf));
    }
  }
}

inline void VmCoverage::CountSkipped(const Operation& operation,
                                     VmModel& model) {
  VmMaps& maps = model.maps();
  const auto count = [&](unsigned tree, GfnRange range) {
    maps.ForEach(tree, range, [&](GfnRange frames, const ModelLeaf& leaf) {
      const bool skipped = maps.IsSkipped(tree, frames.begin.value, leaf);
      ++(skipped ? skipped_ : read_);
      hidden_ += skipped && leaf.accessed ? 1 : 0;
    });
  };
  if (operation.asked != Asked::kShadow) count(kDirectTree, operation.Range());
  if (operation.asked == Asked::kDirect) return;
  for (unsigned guest = 0; guest < model.guests(); ++guest) {
    count(TreeOf(guest), maps.All());
  }
}

inline std::uint64_t VmCoverage::MetBefore(const Operation& operation,
                                           VmModel& model) const {
  std::uint64_t least = HitsOf(FirstOf(operation, model));
  if (!GoesByRmaps(operation)) return least;
  for (Level level{1}; level <= facts_.largest; level = level.Above()) {
    const auto entries = model.maps().RmapOf(operation.frame, level);
    const Way way = entries.size() > 1 ? Way::kRmapOfMany : Way::kRmap;
    for (const ModelLeaf* const leaf : entries) {
      least = std::min(least, HitsOf(CellOf(RowOf(operation, way), *leaf)));
    }
  }
  return least;
}

inline void VmCoverage::Add(const VmCoverage& other) {
  operations_ += other.operations_;
  most_leaves_ = std::max(most_leaves_, other.most_leaves_);
  read_ += other.read_;
  skipped_ += other.skipped_;
  hidden_ += other.hidden_;
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t level = 0; level < kMostLevels; ++level) {
      for (std::size_t prior = 0; prior < kPriors; ++prior) {
        cells_[row][level][prior] += other.cells_[row][level][prior];
      }
    }
  }
}

inline std::optional<std::string> VmCoverage::Unreachable(Cell cell) const {
  const Way way = static_cast<Way>(cell.row % kWays);
  const Op op = static_cast<Op>(cell.row / kWays / kVariants);
  const bool is_protected =
      cell.prior >= static_cast<std::size_t>(Prior::kProtected);
  if (!facts_.protectable &&
      (is_protected || op == Op::kWriteProtect || op == Op::kLiftProtection)) {
    return "where faults set the dirty bit nothing is protected (dirty.h)";
  }
  if (!facts_.skips_cold && op == Op::kAgeSkippingCold) {
    return "where inner entries are not marked nothing is skipped (prune.h)";
  }
  if (is_protected && (IsNested(op) || way != Way::kTree)) {
    return "what is write-protected is direct (docs/nested.md)";
  }
  if (cell.prior >= static_cast<std::size_t>(Prior::kDirtyProtected)) {
    return "a protected page is clean (dirty.h)";
  }
  if (cell.prior == 0 && way == Way::kRmapOfMany) {
    return "a list of entries is not empty";
  }
  return std::nullopt;
}

template <class Visit>
void VmCoverage::ForEachLine(const Visit& visit) const {
  for (std::size_t row = 0; row < kRows; ++row) {
    const std::optional<std::string> name = NameOf(row);
    if (!name.has_value()) continue;
    for (int level = 1; level <= facts_.largest.value; ++level) {
      visit(absl::StrCat(*name, ", level ", level), row,
            static_cast<std::size_t>(level));
    }
  }
}

inline std::string VmCoverage::Table() const {
  static constexpr std::array<const char*, kPriors> kHeads = {
      "-", "cold", "A", "D", "AD", "P", "AP", "DP", "ADP"};
  std::string text = absl::StrFormat("%d operations, up to %d leaves\n%-38s",
                                     operations_, most_leaves_, "");
  for (const char* const head : kHeads) {
    absl::StrAppendFormat(&text, "%9s", head);
  }
  text += "\n";
  ForEachLine([&](const std::string& name, std::size_t row, std::size_t level) {
    absl::StrAppendFormat(&text, "%-38s", name);
    for (std::size_t prior = 0; prior < kPriors; ++prior) {
      const std::uint64_t hits = cells_[row][level][prior];
      if (hits == 0 && Unreachable(Cell{row, level, prior})) {
        absl::StrAppendFormat(&text, "%9s", ".");
      } else {
        absl::StrAppendFormat(&text, "%9d", hits);
      }
    }
    text += "\n";
  });
  if (facts_.skips_cold) {
    absl::StrAppendFormat(&text,
                          "where cold leaves are skipped: %d read, %d not, of "
                          "which %d young\n",
                          read_, skipped_, hidden_);
  }
  return text;
}

inline std::vector<std::string> VmCoverage::Wrong() const {
  std::vector<std::string> wrong;
  // What a best effort loses is rare: it is counted, and not waited for.
  if (facts_.skips_cold && (read_ == 0 || skipped_ == hidden_)) {
    wrong.push_back("no leaf was read, or none was skipped");
  }
  ForEachLine([&](const std::string& name, std::size_t row, std::size_t level) {
    for (std::size_t prior = 0; prior < kPriors; ++prior) {
      const auto reason = Unreachable(Cell{row, level, prior});
      const bool hit = cells_[row][level][prior] != 0;
      if (hit != reason.has_value()) continue;
      wrong.push_back(
          absl::StrCat(name, ", state ", prior,
                       hit ? " was met, though " + *reason : " was never met"));
    }
  });
  return wrong;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_COVERAGE_H_
