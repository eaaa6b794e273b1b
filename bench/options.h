// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The flags of the contended benchmark.

#ifndef PTAGE_BENCH_OPTIONS_H_
#define PTAGE_BENCH_OPTIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace ptage::bench {

struct Options {
  std::string json;  // where to write results; empty: nowhere
  bool metrics = false;
  bool check = false;
  std::string filter;  // of ids, an ECMAScript expression; empty: all
  std::optional<std::uint64_t> pages;
  std::vector<std::uint64_t> sizes;  // of guests in a run over sizes
  std::uint64_t splits = 0;          // a millisecond
  std::uint64_t seed = 1;
  std::string traces;  // a folder; empty: look for it
  bool quick = false;
  bool help = false;

  // Pages of the guest.
  [[nodiscard]] std::uint64_t Pages() const {
    return pages.value_or(quick ? 65'536 : 262'144);
  }
};

inline constexpr std::uint64_t kMinPages = 1 << 12;
inline constexpr std::uint64_t kMaxPages = 1 << 24;
// Each waits for every vCPU to flush.
inline constexpr std::uint64_t kMaxSplits = 1000;
inline constexpr std::size_t kMaxSizes = 16;

inline constexpr std::string_view kUsage =
    R"(usage: contention [flags]

Ages the page tables of a guest while a virtual CPU replays the page accesses
of real programs through them, and prints what each way of aging costs it.

  --json FILE     write results in Google Benchmark's JSON schema
  --metrics       print every metric: id, figure, goal, verdict
  --check         exit with 1 if a goal is missed
  --filter REGEX  only metrics whose id the expression finds a match in, and
                  only the guests and configurations that they need
  --pages N       pages of the guest, 4096 to 16777216
                  (default 262144; with --quick 65536)
  --sizes N,N,…   only faults and translations, aged by the library and by the
                  locks that it replaces, over guests of so many pages each:
                  one table, and no metrics
  --splits N      besides, configurations in which N large pages a millisecond
                  are split, or made large again, 1 to 1000 (of guests that have
                  large pages: tdp, nested)
  --seed N        seed of the order of contenders and of the evictor's victims
                  (default 1)
  --traces DIR    folder of the page traces
  --quick         some 75 seconds: a smaller guest, shorter windows
  --help          print this
)";

// Reads the arguments after the program's name. InvalidArgument, with the flag
// and its value: a flag that does not exist, lacks its value, or has a bad one.
[[nodiscard]] inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments);

// Matches of `expression` in an id. InvalidArgument if it is not one.
[[nodiscard]] inline absl::StatusOr<std::regex> ParseFilter(
    const std::string& expression);

// ---------------------------------------------------------------------------

namespace internal {

inline absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

inline absl::Status ParseNumber(std::string_view flag, std::string_view text,
                                std::uint64_t& number) {
  // SimpleAtoi takes signs and surrounding space, which a count has not.
  const bool digits =
      !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  if (digits && absl::SimpleAtoi(View(text), &number)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(View(flag), ": not a number: \"", View(text), "\""));
}

inline absl::Status ParseBetween(std::string_view flag, std::string_view text,
                                 std::uint64_t least, std::uint64_t most,
                                 std::uint64_t& number) {
  const absl::Status parsed = ParseNumber(flag, text, number);
  if (!parsed.ok()) return parsed;
  if (number >= least && number <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: want %d to %d: %d", View(flag), least, most, number));
}

// Numbers of pages with commas between.
inline absl::Status ParseSizes(std::string_view text,
                               std::vector<std::uint64_t>& sizes) {
  sizes.clear();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::uint64_t pages = 0;
    const absl::Status parsed =
        ParseBetween("--sizes", text.substr(begin, end - begin), kMinPages,
                     kMaxPages, pages);
    if (!parsed.ok()) return parsed;
    sizes.push_back(pages);
    begin = end + 1;
  }
  if (sizes.size() <= kMaxSizes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("--sizes: want at most %d: %d", kMaxSizes, sizes.size()));
}

inline absl::Status SetOption(std::string_view flag, std::string value,
                              Options& options) {
  if (flag == "--json" || flag == "--traces") {
    if (value.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(View(flag), ": empty path"));
    }
    (flag == "--json" ? options.json : options.traces) = std::move(value);
    return absl::OkStatus();
  }
  if (flag == "--filter") {
    options.filter = std::move(value);
    return ParseFilter(options.filter).status();
  }
  if (flag == "--seed") return ParseNumber(flag, value, options.seed);
  if (flag == "--splits") {
    return ParseBetween(flag, value, 1, kMaxSplits, options.splits);
  }
  if (flag == "--sizes") return ParseSizes(value, options.sizes);
  std::uint64_t pages = 0;
  const absl::Status parsed =
      ParseBetween(flag, value, kMinPages, kMaxPages, pages);
  if (parsed.ok()) options.pages = pages;
  return parsed;
}

}  // namespace internal

inline absl::StatusOr<std::regex> ParseFilter(const std::string& expression) {
  // The only way in which the standard library reports it.
  try {
    return std::regex(expression);
  } catch (const std::regex_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("--filter: not a regular expression: \"", expression,
                     "\" (", error.what(), ")"));
  }
}

inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments) {
  const std::pair<std::string_view, bool Options::*> switches[] = {
      {"--metrics", &Options::metrics},
      {"--check", &Options::check},
      {"--quick", &Options::quick},
      {"--help", &Options::help}};
  const std::string_view valued[] = {"--json",  "--filter", "--pages", "--seed",
                                     "--sizes", "--splits", "--traces"};
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string_view flag = argument.substr(0, equals);
    bool known = false;
    for (const auto& [name, member] : switches) {
      if (flag != name) continue;
      if (equals != argument.npos) {
        return absl::InvalidArgumentError(
            absl::StrCat(internal::View(name), " takes no value: \"",
                         internal::View(argument), "\""));
      }
      options.*member = true;
      known = true;
    }
    for (const std::string_view name : valued) {
      if (flag != name) continue;
      if (equals == argument.npos && i + 1 == arguments.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat(internal::View(name), " lacks its value"));
      }
      std::string value = equals == argument.npos
                              ? arguments[++i]
                              : std::string(argument.substr(equals + 1));
      const absl::Status set =
          internal::SetOption(name, std::move(value), options);
      if (!set.ok()) return set;
      known = true;
    }
    if (!known) {
      return absl::InvalidArgumentError(absl::StrCat(
          "unknown flag: \"", internal::View(argument), "\" (see --help)"));
    }
  }
  // What would be left out without a word.
  const std::pair<const char*, bool> without_sizes[] = {
      {"--pages", options.pages.has_value()},
      {"--metrics", options.metrics},
      {"--check", options.check}};
  for (const auto& [flag, given] : without_sizes) {
    if (given && !options.sizes.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--sizes and ", flag, " exclude each other"));
    }
  }
  return options;
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_OPTIONS_H_
