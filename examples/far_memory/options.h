// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The flags.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_OPTIONS_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "examples/far_memory/failure.h"
#include "examples/far_memory/page.h"
#include "examples/parse_number.h"

namespace ptage::far_memory {

enum class PolicyName { kClock, kFifo, kGenerations };
enum class WorkloadName { kBoth, kSort, kTable, kMoves };
enum class StoreName { kCompressed, kFile };
// How the workload reaches its data.
enum class Access { kBest, kUserfaultfd, kSoftware };

struct Options {
  std::uint64_t mib = 256;
  std::optional<std::uint64_t> limit;  // pages
  PolicyName policy = PolicyName::kClock;
  WorkloadName workload = WorkloadName::kBoth;
  std::optional<std::uint64_t> operations;
  std::uint64_t seed = 1;
  Access access = Access::kBest;
  StoreName store = StoreName::kCompressed;
  std::optional<std::uint64_t> store_mib;
  std::string file;
  std::string json;             // where to write the summary; empty: nowhere
  std::uint64_t patience = 10;  // seconds
  Failure failure;
  bool quiet = false;
  bool help = false;

  [[nodiscard]] std::uint64_t Pages() const { return mib * kPagesPerMib; }
  [[nodiscard]] std::uint64_t Limit() const {
    return limit.value_or(Pages() / 4);
  }
  [[nodiscard]] std::uint64_t Operations() const {
    return operations.value_or(mib * 2000);
  }
};

inline constexpr absl::string_view kUsage =
    R"(usage: far_memory [flags]

Runs a sort, and then a key-value table, over more data than may be in memory:
the rest is in a store, and comes back by page faults (userfaultfd). Checks
every bit of the data. The summary is the last thing on standard output.

  --mib N             size of the data, 1 to 65536 (default 256)
  --limit N           pages of 4096 bytes that may be in memory, at least 1
                      (default: a quarter of the data)
  --policy P          clock, fifo or generations (default clock)
  --workload W        sort, table, both, or moves, which moves, unmaps and
                      discards parts of its data (default both)
  --operations N      reads of the table (default 2000 for each MiB)
  --seed N            of the order in which they come (default 1)
  --software          do without userfaultfd: each access asks a table first
  --userfaultfd       do not do without it (default: as the machine allows)
  --store S           compressed (in memory) or file (default compressed)
  --store-mib N       most that the compressed store may take
  --file PATH         the file store's file, which must be new, and is taken
                      away again
  --json FILE         write the summary as JSON
  --patience SECONDS  end everything if the fault handler does nothing for so
                      long, 1 to 3600 (default 10)
  --fail KIND@N       break something, to see how it ends: store-full or
                      flip-bit at the N-th use of the store, kill or hang of the
                      handler at the N-th fault
  --quiet             no progress on standard error
  --help              print this
)";

// Reads the arguments after the program's name. InvalidArgument, with the flag
// and its value: a flag that does not exist, lacks its value, or has a bad one;
// or flags that do not go together.
[[nodiscard]] inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments);

// ---------------------------------------------------------------------------

namespace internal {

template <class E>
struct Choice {
  absl::string_view name;
  E value;
};

template <class E>
absl::Status ParseChoice(absl::string_view flag, absl::string_view text,
                         absl::Span<const Choice<E>> choices, E& value) {
  std::string names;
  for (const Choice<E>& choice : choices) {
    if (text == choice.name) {
      value = choice.value;
      return absl::OkStatus();
    }
    absl::StrAppendFormat(&names, "%s%s", names.empty() ? "" : ", ",
                          choice.name);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: want one of %s: \"%s\"", flag, names, text));
}

inline absl::Status ParsePath(absl::string_view flag, absl::string_view text,
                              std::string& path) {
  path = std::string(text);
  return text.empty() ? absl::InvalidArgumentError(
                            absl::StrFormat("%s: empty path", flag))
                      : absl::OkStatus();
}

inline absl::Status ParseFailure(absl::string_view text, Failure& failure) {
  const std::size_t at = text.find('@');
  if (at != absl::string_view::npos) {
    for (const FailureName& name : kFailureNames) {
      if (text.substr(0, at) != name.name) continue;
      failure.kind = name.kind;
      return ParseNumber("--fail", text.substr(at + 1), 1, ~std::uint64_t{0},
                         failure.at);
    }
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "--fail: want store-full@N, flip-bit@N, kill@N or hang@N: \"%s\"", text));
}

inline constexpr Choice<PolicyName> kPolicies[] = {
    {"clock", PolicyName::kClock},
    {"fifo", PolicyName::kFifo},
    {"generations", PolicyName::kGenerations}};
inline constexpr Choice<WorkloadName> kWorkloads[] = {
    {"both", WorkloadName::kBoth},
    {"sort", WorkloadName::kSort},
    {"table", WorkloadName::kTable},
    {"moves", WorkloadName::kMoves}};
inline constexpr Choice<StoreName> kStores[] = {
    {"compressed", StoreName::kCompressed}, {"file", StoreName::kFile}};

// NotFound: there is no such flag.
inline absl::Status SetOption(absl::string_view flag, absl::string_view value,
                              Options& options) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  std::uint64_t number = 0;
  const auto optional = [&](std::uint64_t least, std::uint64_t most,
                            std::optional<std::uint64_t>& to) {
    const absl::Status parsed = ParseNumber(flag, value, least, most, number);
    if (parsed.ok()) to = number;
    return parsed;
  };
  if (flag == "--mib") {
    return ParseNumber(flag, value, 1, 65'536, options.mib);
  }
  if (flag == "--limit") return optional(1, kMost, options.limit);
  if (flag == "--policy") {
    return ParseChoice<PolicyName>(flag, value, kPolicies, options.policy);
  }
  if (flag == "--workload") {
    return ParseChoice<WorkloadName>(flag, value, kWorkloads, options.workload);
  }
  if (flag == "--operations") return optional(0, kMost, options.operations);
  if (flag == "--seed") return ParseNumber(flag, value, 0, kMost, options.seed);
  if (flag == "--store") {
    return ParseChoice<StoreName>(flag, value, kStores, options.store);
  }
  if (flag == "--store-mib") return optional(0, 1 << 20, options.store_mib);
  if (flag == "--file") return ParsePath(flag, value, options.file);
  if (flag == "--json") return ParsePath(flag, value, options.json);
  if (flag == "--patience") {
    return ParseNumber(flag, value, 1, 3600, options.patience);
  }
  if (flag == "--fail") return ParseFailure(value, options.failure);
  return absl::NotFoundError(flag);
}

// Whether it is one; a switch has no value.
inline bool SetSwitch(absl::string_view flag, Options& options,
                      absl::Status& status) {
  if (flag == "--software" || flag == "--userfaultfd") {
    const Access access =
        flag == "--software" ? Access::kSoftware : Access::kUserfaultfd;
    if (options.access != Access::kBest && options.access != access) {
      status = absl::InvalidArgumentError(
          "--software and --userfaultfd exclude each other");
    }
    options.access = access;
  } else if (flag == "--quiet") {
    options.quiet = true;
  } else if (flag == "--help") {
    options.help = true;
  } else {
    return false;
  }
  return true;
}

inline absl::Status CheckTogether(const Options& options) {
  const char* wrong = nullptr;
  if ((options.store == StoreName::kFile) == options.file.empty()) {
    wrong = "--store=file and --file PATH want each other";
  } else if (options.store == StoreName::kFile &&
             options.store_mib.has_value()) {
    wrong = "--store-mib is for the compressed store";
  } else if (options.access == Access::kSoftware &&
             options.workload == WorkloadName::kMoves) {
    wrong = "--workload=moves wants userfaultfd";
  } else if (options.access == Access::kSoftware &&
             (options.failure.kind == FailureKind::kKill ||
              options.failure.kind == FailureKind::kHang)) {
    wrong = "--software has no handler that could be killed or hang";
  }
  return wrong == nullptr ? absl::OkStatus()
                          : absl::InvalidArgumentError(wrong);
}

}  // namespace internal

inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const absl::string_view argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const absl::string_view flag = argument.substr(0, equals);
    const bool has_value = equals != absl::string_view::npos;
    absl::Status status;
    if (internal::SetSwitch(flag, options, status)) {
      if (has_value) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s takes no value: \"%s\"", flag, argument));
      }
      if (!status.ok()) return status;
      continue;
    }
    absl::string_view value;
    if (has_value) {
      value = argument.substr(equals + 1);
    } else if (i + 1 < arguments.size()) {
      value = arguments[i + 1];
    }
    status = internal::SetOption(flag, value, options);
    if (absl::IsNotFound(status)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("unknown flag: \"%s\" (see --help)", argument));
    }
    if (!has_value) {
      if (i + 1 == arguments.size()) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s lacks its value", flag));
      }
      ++i;
    }
    if (!status.ok()) return status;
  }
  const absl::Status together = internal::CheckTogether(options);
  if (!together.ok()) return together;
  return options;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_OPTIONS_H_
