// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What can be done to a VM, as values: a sequence of them is run on the VM and
// on its model, printed as C++ to be pasted into a test, and made smaller.

#ifndef PTAGE_TEST_MODEL_VM_OPERATIONS_H_
#define PTAGE_TEST_MODEL_VM_OPERATIONS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ptage/prune.h"
#include "ptage/types.h"

namespace ptage::test {

// `frame` and `frames` are a range of L1's frames, but where it says nested:
// then they are frames of the nested guest `guest`.
enum class Op : unsigned {
  kAccess,        // by L1's vCPU, `rights`; faults until it is translated
  kNestedAccess,  // the same by a vCPU of the nested guest
  kFault,         // alone, whether the vCPU would have faulted or not
  kNestedFault,
  kAge,              // `action`, `mode`, asked of `asked`
  kAgeSteps,         // direct MMU, `frames` entries a step, around `frame`
  kAgeSkippingCold,  // `action`, `pruning`, asked of `asked`
  kInvalidate,
  kInvalidateNested,  // L1 says what it did before
  kZap,               // direct MMU alone, as the next three
  kZapRecursive,
  kRemoveTables,
  kSplit,       // to leaves of `level`, what `asked` maps
  kPromote,     // to leaves of `level`
  kClearDirty,  // direct MMU alone, as the next two
  kWriteProtect,
  kLiftProtection,
  kMap,        // L1 maps the nested page of `level` to its frames `to`
  kUnmap,      // L1 takes away what is at `level`
  kClearBits,  // L1 clears accessed and dirty
  kMalform,    // L1 writes an entry with a reserved bit at `level`
  kMislead,    // L1 writes an entry that leads out of its memory
  kAddSlot,    // backed from the host frame `to` on, `rights`
  kRemoveSlot,
  kMoveSlot,  // to the frame `to`
  kAddGuest,
};
inline constexpr std::size_t kOps = static_cast<std::size_t>(Op::kAddGuest) + 1;

// Whose entries are asked.
enum class Asked : unsigned { kBoth, kDirect, kShadow };

struct Operation {
  Op op = Op::kAccess;
  std::uint64_t frame = 0;
  std::uint64_t frames = 1;
  std::uint64_t to = 0;
  Rights rights = Rights::kRead;
  Level level{1};
  unsigned guest = 0;
  AgeAction action = AgeAction::kTestAndClear;
  AgeMode mode = AgeMode::kSlow;
  Asked asked = Asked::kBoth;
  Pruning pruning = Pruning::kExact;
  // Of L1's changes: the level of the page whose frames L1 tells of. 0: it says
  // nothing.
  Level told{0};

  friend bool operator==(const Operation&, const Operation&) = default;
  [[nodiscard]] GfnRange Range() const {
    return GfnRange{Gfn{frame}, Gfn{frame + frames}};
  }
};

[[nodiscard]] inline const char* NameOf(Op op) {
  static constexpr std::array<const char*, kOps> kNames = {
      "Access",
      "NestedAccess",
      "Fault",
      "NestedFault",
      "Age",
      "AgeSteps",
      "AgeSkippingCold",
      "Invalidate",
      "InvalidateNested",
      "Zap",
      "ZapRecursive",
      "RemoveTables",
      "Split",
      "Promote",
      "ClearDirty",
      "WriteProtect",
      "LiftProtection",
      "Map",
      "Unmap",
      "ClearBits",
      "Malform",
      "Mislead",
      "AddSlot",
      "RemoveSlot",
      "MoveSlot",
      "AddGuest",
  };
  return kNames[static_cast<std::size_t>(op)];
}

// Whether it changes L1's tables.
[[nodiscard]] inline bool IsEdit(Op op) {
  return op >= Op::kMap && op <= Op::kMislead;
}
// Whether `frame` is a nested guest's.
[[nodiscard]] inline bool IsNested(Op op) {
  return op == Op::kNestedAccess || op == Op::kNestedFault ||
         op == Op::kInvalidateNested || IsEdit(op);
}

// Whether it may be done at all. (Of no frames is an error that a VM answers.)
[[nodiscard]] inline bool IsAllowed(const Operation& operation) {
  return (operation.op != Op::kPromote && operation.op != Op::kMislead) ||
         operation.level > Level{1};
}

// As C++, without what is so by default.
[[nodiscard]] inline std::string ToText(const Operation& operation) {
  const Operation plain;
  std::string text = absl::StrCat("{.op = Op::k", NameOf(operation.op));
  const auto add = [&](const char* name, const std::string& value) {
    absl::StrAppend(&text, ", .", name, " = ", value);
  };
  const auto hex = [](std::uint64_t value) {
    return absl::StrCat("0x", absl::Hex(value));
  };
  if (operation.frame != plain.frame) add("frame", hex(operation.frame));
  if (operation.frames != plain.frames) add("frames", hex(operation.frames));
  if (operation.to != plain.to) add("to", hex(operation.to));
  if (operation.rights != plain.rights) {
    add("rights",
        absl::StrCat("Rights{", static_cast<unsigned>(operation.rights), "}"));
  }
  if (operation.level != plain.level) {
    add("level", absl::StrCat("Level{", operation.level.value, "}"));
  }
  if (operation.guest != plain.guest) {
    add("guest", absl::StrCat(operation.guest));
  }
  if (operation.action != plain.action) add("action", "AgeAction::kTest");
  if (operation.mode != plain.mode) add("mode", "AgeMode::kFastOnly");
  if (operation.asked != plain.asked) {
    add("asked", operation.asked == Asked::kDirect ? "Asked::kDirect"
                                                   : "Asked::kShadow");
  }
  if (operation.pruning != plain.pruning) {
    add("pruning", "Pruning::kBestEffort");
  }
  if (operation.told != plain.told) {
    add("told", absl::StrCat("Level{", operation.told.value, "}"));
  }
  return absl::StrCat(text, "}");
}

[[nodiscard]] inline std::string ToText(
    const std::vector<Operation>& operations) {
  std::string text;
  for (const Operation& operation : operations) {
    absl::StrAppend(&text, "  ", ToText(operation), ",\n");
  }
  return text;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_VM_OPERATIONS_H_
