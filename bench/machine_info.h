// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a run was made with: processor, kernel, compiler and its settings.

#ifndef PTAGE_BENCH_MACHINE_INFO_H_
#define PTAGE_BENCH_MACHINE_INFO_H_

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "bench/report.h"
#include "bench/team.h"
#include "ptage/config.h"

namespace ptage::bench {

// The processor's name as the OS gives it; "unknown" where it does not.
[[nodiscard]] inline std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != line.npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

[[nodiscard]] inline std::string KernelName() {
  utsname name{};
  if (uname(&name) != 0) return "unknown";
  return absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
}

[[nodiscard]] inline std::string CompilerName() {
#if defined(__clang__)
  return absl::StrCat("clang ", __clang_version__);
#else
  return absl::StrCat("gcc ", __VERSION__);
#endif
}

// What the compiler says of its flags.
[[nodiscard]] inline std::string BuildFlags() {
  std::string flags;
#if defined(__OPTIMIZE__)
  flags += "optimized";
#else
  flags += "not optimized";
#endif
#if defined(NDEBUG)
  flags += ", NDEBUG";
#endif
#if defined(__AVX512F__)
  flags += ", AVX-512";
#elif defined(__AVX2__)
  flags += ", AVX2";
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  flags += ", sanitized";
#endif
  return absl::StrCat(flags, ", PTAGE_HARDENED=", PTAGE_HARDENED);
}

// The commit, which whoever builds the program passes in PTAGE_COMMIT.
[[nodiscard]] inline std::string CommitName() {
  const char* const commit = std::getenv("PTAGE_COMMIT");
  return commit == nullptr || *commit == '\0' ? "unknown" : commit;
}

// What else is measured, by name and version, which whoever builds the program
// passes in PTAGE_PEERS.
[[nodiscard]] inline std::string PeerNames() {
  const char* const peers = std::getenv("PTAGE_PEERS");
  return peers == nullptr || *peers == '\0' ? "unknown" : peers;
}

// What was typed, which whoever starts the program passes in PTAGE_COMMAND.
[[nodiscard]] inline std::string CommandName() {
  const char* const command = std::getenv("PTAGE_COMMAND");
  return command == nullptr || *command == '\0' ? "unknown" : command;
}

// What Google Benchmark writes of every run, and the above.
[[nodiscard]] inline Context MachineContext() {
  char host[256] = "unknown";
  (void)gethostname(host, sizeof(host) - 1);
  char date[64] = "unknown";
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  if (localtime_r(&now, &local) != nullptr) {
    (void)std::strftime(date, sizeof(date), "%FT%T%z", &local);
  }
  return Context{
      .texts = {{"date", date},
                {"host_name", host},
                {"executable", "bench/contention"},
                {"cpu", CpuName()},
                {"kernel", KernelName()},
                {"compiler", CompilerName()},
                {"flags", BuildFlags()},
                {"commit", CommitName()},
                {"peers", PeerNames()},
                {"command", CommandName()}},
      .numbers = {{"num_cpus", static_cast<double>(UsableCpus().size())}}};
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_MACHINE_INFO_H_
