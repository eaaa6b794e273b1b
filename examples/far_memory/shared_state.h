// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the watchdog sees of the workload and of the handler, which are other
// processes: how far they are, and why one gave up.
//
// Contract
//   In memory that all three share. Each word has one writer; readers see some
//   recent value, and the text of an error after the process that wrote it has
//   ended, which orders it.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_SHARED_STATE_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_SHARED_STATE_H_

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/far_memory/stats.h"
#include "ptage/once.h"

namespace ptage::far_memory {

// Why a process ended before its time; empty if it did not.
class LastWords {
 public:
  void Set(const absl::Status& status) {
    const std::string text(status.message());
    const std::size_t size = std::min(text.size(), sizeof text_ - 1);
    std::memcpy(text_, text.data(), size);
    text_[size] = 0;
  }
  [[nodiscard]] std::string Get() const { return text_; }

 private:
  char text_[512] = {};
};

// A PagerStats whose words are read while they are written.
class SharedStats {
 public:
  void Write(const PagerStats& stats) {
    std::uint64_t words[kWords];
    std::memcpy(words, &stats, sizeof stats);
    for (std::size_t i = 0; i < kWords; ++i) {
      WriteOnce(words_[i], words[i], kRelaxed);
    }
  }
  [[nodiscard]] PagerStats Read() const {
    std::uint64_t words[kWords];
    for (std::size_t i = 0; i < kWords; ++i) {
      words[i] = ReadOnce(words_[i], kRelaxed);
    }
    PagerStats stats;
    std::memcpy(&stats, words, sizeof stats);
    return stats;
  }

 private:
  static constexpr std::size_t kWords =
      sizeof(PagerStats) / sizeof(std::uint64_t);
  Cell<std::uint64_t> words_[kWords] = {};
};

struct SharedState {
  // The workload's.
  Cell<std::uint64_t> phase{0u};  // of Phase, workload.h
  Cell<std::uint64_t> done{0u};   // operations, of how many
  Cell<std::uint64_t> total{0u};
  Cell<std::uint64_t> phase_ns[8] = {};  // what each took
  Cell<std::uint64_t> operations[8] = {};
  LastWords workload;
  // The handler's.
  Cell<std::uint64_t> heartbeat{0u};
  SharedStats stats;
  LastWords handler;
  // The watchdog's: the handler is to end.
  Cell<std::uint64_t> stop{0u};
};

struct UnmapSharedState {
  void operator()(SharedState* state) const {
    (void)munmap(state, sizeof *state);
  }
};
using SharedStatePtr = std::unique_ptr<SharedState, UnmapSharedState>;

[[nodiscard]] inline absl::StatusOr<SharedStatePtr> MakeSharedState() {
  void* const at = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  return SharedStatePtr(new (at) SharedState);
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_SHARED_STATE_H_
