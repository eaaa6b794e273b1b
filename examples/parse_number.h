// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The value of a flag that is a count.

#ifndef PTAGE_EXAMPLES_PARSE_NUMBER_H_
#define PTAGE_EXAMPLES_PARSE_NUMBER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace ptage {

// InvalidArgument, with the flag and its value: not decimal digits alone, or
// not from `least` to `most`; `number` stays then.
inline absl::Status ParseNumber(absl::string_view flag, absl::string_view text,
                                std::uint64_t least, std::uint64_t most,
                                std::uint64_t& number) {
  // SimpleAtoi takes signs and surrounding space, which a count has not.
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") ==
                                           absl::string_view::npos;
  std::uint64_t value = 0;
  if (!digits || !absl::SimpleAtoi(text, &value)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: not a number: \"%s\"", flag, text));
  }
  if (value < least || value > most) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: want %d to %d: %d", flag, least, most, value));
  }
  number = value;
  return absl::OkStatus();
}

}  // namespace ptage

#endif  // PTAGE_EXAMPLES_PARSE_NUMBER_H_
