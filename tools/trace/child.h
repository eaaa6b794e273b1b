// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Running other programs and waiting for them.

#ifndef PTAGE_TOOLS_TRACE_CHILD_H_
#define PTAGE_TOOLS_TRACE_CHILD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace ptage::trace {

// The path of the executable file that `name` means: itself if it has a slash,
// else the first match in $PATH. NotFound if there is none.
absl::StatusOr<std::string> FindProgram(const std::string& name);

struct ChildEnd {
  // If it exited.
  int status = 0;
  // If a signal killed it, else 0.
  int signal = 0;
};

// Runs `arguments` (the first is the program's path) with exactly this
// environment and this process's standard streams, and waits. An interrupt
// from the terminal ends the child only.
absl::StatusOr<ChildEnd> Run(const std::vector<std::string>& arguments,
                             const std::vector<std::string>& environment);

// What the program writes to its standard output, its standard error being
// discarded; nullopt if it cannot be run or fails.
std::optional<std::string> Capture(const std::vector<std::string>& arguments);

}  // namespace ptage::trace

#endif  // PTAGE_TOOLS_TRACE_CHILD_H_
