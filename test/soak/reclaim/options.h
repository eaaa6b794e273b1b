// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The flags of the reclaim soak.

#ifndef PTAGE_TEST_SOAK_RECLAIM_OPTIONS_H_
#define PTAGE_TEST_SOAK_RECLAIM_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ptage::reclaim_soak {

struct Options {
  std::uint64_t seconds = 60;
  std::uint64_t seed = 1;
  std::string control;
  bool help = false;
};

inline constexpr absl::string_view kUsage =
    R"(usage: tools/soak --reclaim [flags]

Faults, ages, evicts and unmaps the pages of a process, its guest and a nested
guest, all at once; checks that no write and no access is lost. The last line is
JSON. Exit 1: something was lost, or something never happened.

  --seconds N        so long (default 60)
  --seed N           of the random choices (default 1)
  --control NAME     soaks a header with an error planted, which must be caught.
                     One of no_flush, stored_before_flush, mark_not_asked,
                     young_is_taken, young_not_told, dirty_forgotten,
                     claim_not_exclusive, shown_while_claimed,
                     emptied_before_told, zap_forgets_dirty
  --tsan             builds with the thread sanitizer
  --help             prints this
)";

// Reads the arguments after the program's name. InvalidArgument, with the flag
// and its value: a flag that does not exist, lacks its value, or has a bad one.
[[nodiscard]] inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help") {
      options.help = true;
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    if (flag != "--seconds" && flag != "--seed" && flag != "--control") {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag: \"", argument, "\" (see --help)"));
    }
    if (equals == std::string::npos && i + 1 == arguments.size()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, " lacks its value"));
    }
    const std::string value = equals == std::string::npos
                                  ? arguments[++i]
                                  : argument.substr(equals + 1);
    if (flag == "--control") {
      options.control = value;
      continue;
    }
    std::uint64_t& number =
        flag == "--seconds" ? options.seconds : options.seed;
    // SimpleAtoi takes signs and surrounding space, which a count has not.
    if (value.empty() ||
        value.find_first_not_of("0123456789") != std::string::npos ||
        !absl::SimpleAtoi(value, &number)) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": not a number: \"", value, "\""));
    }
    if (number == 0 && flag == "--seconds") {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": want 1 at least"));
    }
  }
  return options;
}

}  // namespace ptage::reclaim_soak

#endif  // PTAGE_TEST_SOAK_RECLAIM_OPTIONS_H_
