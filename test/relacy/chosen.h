// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Which mutant is chosen, of all that choose.py put into a header.

#ifndef PTAGE_TEST_RELACY_CHOSEN_H_
#define PTAGE_TEST_RELACY_CHOSEN_H_

#include <cstdlib>

namespace ptage {

// None, unless the environment or a test says which.
inline unsigned chosen_mutant = [] {
  const char* number = std::getenv("PTAGE_CHOSEN_MUTANT");
  return number == nullptr ? 0u : static_cast<unsigned>(std::atoi(number));
}();

// What the compiler evaluates is always as shipped.
constexpr bool IsChosen(unsigned mutant) {
  return !__builtin_is_constant_evaluated() && chosen_mutant == mutant;
}

}  // namespace ptage

#endif  // PTAGE_TEST_RELACY_CHOSEN_H_
