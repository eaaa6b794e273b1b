// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The flags of the soak.

#ifndef PTAGE_TEST_SOAK_OPTIONS_H_
#define PTAGE_TEST_SOAK_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ptage::soak {

struct Options {
  std::uint64_t seconds = 0;  // 0: no limit
  std::uint64_t visits = 0;   // 0: no goal
  std::uint64_t seed = 1;
  std::string discipline = "lockless";
  std::string control;
  bool json = false;
  bool help = false;
};

inline constexpr std::uint64_t kUsualVisits = 1'000'000'000;
inline constexpr std::uint64_t kControlSeconds = 60;

inline constexpr absl::string_view kUsage =
    R"(usage: tools/soak [flags]

Ages rmaps while they are changed and things go wrong; checks that no entry that
stays is missed and that no access is lost or charged to another page. The last
line is JSON. Exit 1: something failed, or a kind of fault never happened.

  --seconds N        at most so long (default: no limit)
  --visits N         so many visits of entries (default 1000000000, or as many
                     as --seconds allows)
  --seed N           of the random choices (default 1)
  --discipline NAME  lockless (default), single or bit
  --control NAME     soaks a header with an error planted, which must be caught;
                     --seconds is then 60 by default. One of scan_upwards,
                     clear_before_move, retire_without_grace, identity_not_asked,
                     blind_clear, table_freed_at_once
  --tsan             builds with the thread sanitizer
  --json             prints the JSON line alone
  --help             prints this
)";

// Reads the arguments after the program's name. InvalidArgument, with the flag
// and its value: a flag that does not exist, lacks its value, or has a bad one.
[[nodiscard]] inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments);

// ---------------------------------------------------------------------------

namespace internal {

inline absl::Status SetOption(absl::string_view flag, const std::string& value,
                              Options& options) {
  if (flag == "--discipline") {
    if (value != "lockless" && value != "single" && value != "bit") {
      return absl::InvalidArgumentError(absl::StrCat(
          flag, ": want lockless, single or bit: \"", value, "\""));
    }
    options.discipline = value;
    return absl::OkStatus();
  }
  if (flag == "--control") {
    options.control = value;
    return absl::OkStatus();
  }
  std::uint64_t& number = flag == "--seconds"  ? options.seconds
                          : flag == "--visits" ? options.visits
                                               : options.seed;
  // SimpleAtoi takes signs and surrounding space, which a count has not.
  if (value.empty() ||
      value.find_first_not_of("0123456789") != std::string::npos ||
      !absl::SimpleAtoi(value, &number)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": not a number: \"", value, "\""));
  }
  if (number == 0 && flag != "--seed") {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": want 1 at least"));
  }
  return absl::OkStatus();
}

}  // namespace internal

inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--json" || argument == "--help") {
      (argument == "--json" ? options.json : options.help) = true;
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    if (flag != "--seconds" && flag != "--visits" && flag != "--seed" &&
        flag != "--discipline" && flag != "--control") {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag: \"", argument, "\" (see --help)"));
    }
    if (equals == std::string::npos && i + 1 == arguments.size()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, " lacks its value"));
    }
    const std::string value = equals == std::string::npos
                                  ? arguments[++i]
                                  : argument.substr(equals + 1);
    const absl::Status set = internal::SetOption(flag, value, options);
    if (!set.ok()) return set;
  }
  if (options.seconds == 0 && !options.control.empty()) {
    options.seconds = kControlSeconds;
  }
  if (options.seconds == 0 && options.visits == 0) {
    options.visits = kUsualVisits;
  }
  return options;
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_OPTIONS_H_
