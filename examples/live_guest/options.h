// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The flags.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_OPTIONS_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/parse_number.h"

namespace ptage::live_guest {

struct Options {
  std::string qmp;
  bool clear = false;
  bool pause = false;
  bool skip_cold = false;
  bool profile = false;
  std::uint64_t interval_ms = 1'000;
  std::uint64_t look_ms = 50;
  std::uint64_t samples = 0;  // 0: until it is stopped
  bool json = false;
  std::string svg;  // empty: none
  bool help = false;
};

inline constexpr absl::string_view kUsage =
    R"(usage: wss --qmp SOCKET [flags]

The working set of a running guest of QEMU: walks the guest's own page tables in
the file that its RAM is in (memory-backend-file,share=on), from outside.
Address spaces are those that its CPUs are seen with. Only looks, unless told to
clear: then pages are those accessed since the guest itself last cleared them.

  --qmp SOCKET     the guest's monitor (-qmp unix:SOCKET,server=on,wait=off)
  --clear          take the accessed bits that are found, to tell what is touched
                   in 1, 10 and 60 s. What this does to the guest: its own
                   reclaim, which wants the same bits, takes pages for idle
                   that are not; and a table's page that the guest frees, and
                   uses for something else, at that very moment, may lose one
                   bit (see --pause). A migration does not see these writes
  --pause          stop the guest for each pass (with --clear); it then frees
                   nothing meanwhile
  --skip-cold      with --clear: do not read tables whose entry above is not
                   accessed, but for every sixteenth pass. Cheaper where most is
                   idle; an access may be found some passes late
  --profile        with --clear: read and clear entries above the leaves' level
                   alone, and count 2 MiB parts of address spaces in use
  --interval MS    between two passes, 10 to 3600000 (default 1000)
  --look MS        between two looks at the CPUs, 1 to 10000 (default 50)
  --samples N      end after so many (default: when it is stopped)
  --json           JSON Lines on standard output, and nothing else
  --svg FILE       at the end, a picture of all samples
  --help           print this

Exit status: 0; 1, the guest went away or a file cannot be written; 2, a flag is
wrong, or the guest cannot be reached or is of no supported kind: one line says
which.
)";

// Reads the arguments after the program's name. InvalidArgument, with the flag
// and its value: a flag that does not exist, lacks its value, or has a bad one;
// or flags that do not go together.
[[nodiscard]] inline absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments);

// ---------------------------------------------------------------------------

namespace internal {

// The switch of that name; null if there is none.
inline bool* SwitchOf(absl::string_view flag, Options& options) {
  if (flag == "--clear") return &options.clear;
  if (flag == "--pause") return &options.pause;
  if (flag == "--skip-cold") return &options.skip_cold;
  if (flag == "--profile") return &options.profile;
  if (flag == "--json") return &options.json;
  if (flag == "--help") return &options.help;
  return nullptr;
}

// NotFound: there is no such flag.
inline absl::Status SetOption(absl::string_view flag, absl::string_view value,
                              Options& options) {
  if (flag == "--interval") {
    return ParseNumber(flag, value, 10, 3'600'000, options.interval_ms);
  }
  if (flag == "--look") {
    return ParseNumber(flag, value, 1, 10'000, options.look_ms);
  }
  if (flag == "--samples") {
    return ParseNumber(flag, value, 1, 1'000'000'000, options.samples);
  }
  if (flag != "--qmp" && flag != "--svg") return absl::NotFoundError(flag);
  if (value.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: empty path", flag));
  }
  (flag == "--qmp" ? options.qmp : options.svg) = std::string(value);
  return absl::OkStatus();
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
    if (bool* const to = internal::SwitchOf(flag, options)) {
      if (has_value) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s takes no value: \"%s\"", flag, argument));
      }
      *to = true;
      continue;
    }
    absl::string_view value;
    if (has_value) {
      value = argument.substr(equals + 1);
    } else if (i + 1 < arguments.size()) {
      value = arguments[i + 1];
    }
    const absl::Status status = internal::SetOption(flag, value, options);
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
  if (options.help) return options;
  if (options.qmp.empty()) {
    return absl::InvalidArgumentError("--qmp SOCKET is missing (see --help)");
  }
  const char* const alone = options.pause       ? "--pause"
                            : options.skip_cold ? "--skip-cold"
                            : options.profile   ? "--profile"
                                                : nullptr;
  if (alone != nullptr && !options.clear) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is for --clear alone", alone));
  }
  if (options.profile && options.skip_cold) {
    return absl::InvalidArgumentError(
        "--profile and --skip-cold exclude each other");
  }
  return options;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_OPTIONS_H_
