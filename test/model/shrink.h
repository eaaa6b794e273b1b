// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Makes a failing sequence of operations small: leaves out what is not needed,
// and then simplifies what is left.

#ifndef PTAGE_TEST_MODEL_SHRINK_H_
#define PTAGE_TEST_MODEL_SHRINK_H_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "ptage/prune.h"
#include "ptage/types.h"
#include "test/model/vm_operations.h"

namespace ptage::test {

using Sequence = std::vector<Operation>;

// Whether a sequence fails. It may cut off what comes after the failure.
using Fails = std::function<bool(Sequence&)>;

namespace internal {

// Leaves out `size` operations at a time, where it still fails.
inline bool LeaveOut(Sequence& sequence, std::size_t size, const Fails& fails) {
  bool any = false;
  for (std::size_t from = 0; from < sequence.size();) {
    Sequence less = sequence;
    const std::size_t to = std::min(from + size, less.size());
    less.erase(less.begin() + static_cast<std::ptrdiff_t>(from),
               less.begin() + static_cast<std::ptrdiff_t>(to));
    if (fails(less)) {
      sequence = std::move(less);
      any = true;
    } else {
      from = to;
    }
  }
  return any;
}

// What is simpler in one respect each.
inline std::vector<Operation> Simpler(const Operation& operation) {
  std::vector<Operation> simpler;
  const Operation plain;
  const auto with = [&](auto member, auto value) {
    Operation other = operation;
    other.*member = value;
    if (other != operation) simpler.push_back(other);
  };
  with(&Operation::frame, plain.frame);
  with(&Operation::to, plain.to);
  with(&Operation::frames, plain.frames);
  with(&Operation::frames, operation.frames / 2);
  with(&Operation::rights, plain.rights);
  // Not from there, or it would go to and fro.
  if (operation.rights != plain.rights) with(&Operation::rights, Rights::kAll);
  with(&Operation::level, plain.level);
  with(&Operation::guest, plain.guest);
  with(&Operation::action, plain.action);
  with(&Operation::mode, plain.mode);
  with(&Operation::asked, plain.asked);
  with(&Operation::pruning, plain.pruning);
  with(&Operation::told, plain.told);
  return simpler;
}

inline bool Simplify(Sequence& sequence, const Fails& fails) {
  bool any = false;
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    for (const Operation& simpler : Simpler(sequence[i])) {
      // No frames are an error of their own.
      if (simpler.frames == 0 || !IsAllowed(simpler)) continue;
      Sequence other = sequence;
      other[i] = simpler;
      if (!fails(other)) continue;
      sequence = std::move(other);
      any = true;
      break;
    }
  }
  return any;
}

}  // namespace internal

// Precondition: fails(sequence).
inline Sequence Shrink(Sequence sequence, const Fails& fails) {
  for (bool again = true; again;) {
    again = false;
    for (std::size_t size = (sequence.size() + 1) / 2; size > 0; size /= 2) {
      again |= internal::LeaveOut(sequence, size, fails);
    }
    again |= internal::Simplify(sequence, fails);
  }
  return sequence;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_MODEL_SHRINK_H_
