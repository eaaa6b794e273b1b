// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The handler process: reads what the userfaultfd has to tell, and has the
// pager answer it.
//
// Contract
//   One thread. Changes of the workload's address space are taken in the order
//   in which they are told of: what is moved keeps its content, what is
//   unmapped or thrown away (MADV_DONTNEED, MADV_REMOVE) is gone, as of
//   anonymous memory. While such a change is under way the kernel refuses the
//   pager's calls; the faults in question are then answered after it.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_HANDLER_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_HANDLER_H_

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/address_map.h"
#include "examples/far_memory/failure.h"
#include "examples/far_memory/frames.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/pager.h"
#include "examples/far_memory/policy.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/store.h"
#include "examples/far_memory/uffd.h"
#include "examples/far_memory/uffd_backing.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage::far_memory {

template <ReplacementPolicy P>
class Handler {
 public:
  // All outlive it. The workload has the pages of `frames` at `at`.
  Handler(const Uffd& uffd, const Frames& frames, std::uintptr_t at,
          std::uint64_t limit, PageStore& store, Failure failure,
          SharedState& shared)
      : uffd_(uffd),
        places_({.at = at, .pages = {Gfn{0}, Gfn{frames.pages()}}}),
        backing_(uffd, frames, places_),
        pager_(frames.pages(), limit, store, backing_),
        failure_(failure),
        shared_(shared) {}
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

  // Until it is told to stop, or cannot go on: the workload must then be ended.
  absl::Status Run();

 private:
  struct Pending {
    std::uintptr_t address;
    Rights access;
  };

  // Reads messages, and deals with all but faults.
  absl::Status TakeMessages();
  absl::Status TakeMessage(const uffd_msg& message);
  // Answers the faults that can be answered now. True: some were.
  absl::StatusOr<bool> AnswerFaults();
  absl::Status Answer(const Pending& fault);
  absl::Status Discard(std::uintptr_t at, std::uint64_t end);
  // Whether something is to be read, after so long at most.
  [[nodiscard]] bool Wait(int milliseconds) const {
    pollfd poll_fd = {.fd = uffd_.file(), .events = POLLIN, .revents = 0};
    return poll(&poll_fd, 1, milliseconds) > 0;
  }
  // Whether an error is none of the handler's. Cancelled: the workload has
  // ended, well or not, which is for the watchdog to judge.
  bool Passes(const absl::Status& status) {
    gone_ = gone_ || absl::IsCancelled(status);
    return gone_ || absl::IsUnavailable(status);
  }
  void Fail();

  const Uffd& uffd_;
  AddressMap places_;
  UffdBacking backing_;
  Pager<P, UffdBacking> pager_;
  const Failure failure_;
  SharedState& shared_;
  std::deque<Pending> pending_;
  std::uint64_t faults_ = 0;
  std::uint64_t beats_ = 0;
  int lost_ = 0;  // faults at unknown addresses since the last at a known one
  bool gone_ = false;
};

// ---------------------------------------------------------------------------

template <ReplacementPolicy P>
absl::Status Handler<P>::Run() {
  // How long a change of the address space may keep the pager from answering.
  constexpr int kMostRefusals = 1'000'000;
  int refusals = 0;
  while (ReadOnce(shared_.stop, kRelaxed) == 0) {
    WriteOnce(shared_.heartbeat, ++beats_, kRelaxed);
    shared_.stats.Write(pager_.stats());
    if (pending_.empty() && !Wait(0)) {
      // The workload runs: room is made for its next fault meanwhile.
      const absl::StatusOr<bool> evicted =
          gone_ ? absl::StatusOr<bool>(false) : pager_.EvictAhead();
      if (!evicted.ok() && !Passes(evicted.status())) return evicted.status();
      if (evicted.ok() && *evicted) continue;
      (void)Wait(20);
    }
    const absl::Status taken = TakeMessages();
    if (!taken.ok()) return taken;
    const absl::StatusOr<bool> answered = AnswerFaults();
    if (!answered.ok()) return answered.status();
    refusals = *answered || pending_.empty() ? 0 : refusals + 1;
    if (refusals == kMostRefusals) {
      return absl::InternalError("faults can be answered no more");
    }
    if (refusals != 0) sched_yield();
  }
  shared_.stats.Write(pager_.stats());
  return absl::OkStatus();
}

template <ReplacementPolicy P>
absl::Status Handler<P>::TakeMessages() {
  constexpr std::size_t kMost = 16;
  uffd_msg messages[kMost];
  for (;;) {
    const absl::StatusOr<std::size_t> count = uffd_.Read(messages, kMost);
    if (!count.ok()) return count.status();
    for (std::size_t i = 0; i < *count; ++i) {
      const absl::Status taken = TakeMessage(messages[i]);
      if (!taken.ok()) return taken;
    }
    if (*count < kMost) return absl::OkStatus();
  }
}

template <ReplacementPolicy P>
absl::Status Handler<P>::TakeMessage(const uffd_msg& message) {
  switch (message.event) {
    case UFFD_EVENT_PAGEFAULT: {
      constexpr std::uint64_t kWrites =
          UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP;
      const bool write = (message.arg.pagefault.flags & kWrites) != 0;
      pending_.push_back(
          {.address = message.arg.pagefault.address,
           .access = write ? Rights::kReadWrite : Rights::kRead});
      return absl::OkStatus();
    }
    case UFFD_EVENT_REMAP:
      places_.Move(message.arg.remap.from, message.arg.remap.to,
                   message.arg.remap.len);
      return absl::OkStatus();
    case UFFD_EVENT_REMOVE:
      return Discard(message.arg.remove.start, message.arg.remove.end);
    case UFFD_EVENT_UNMAP: {
      const std::uintptr_t at = message.arg.remove.start;
      const absl::Status discarded = Discard(at, message.arg.remove.end);
      (void)places_.Remove(at, message.arg.remove.end - at);
      return discarded;
    }
    default:
      return absl::UnimplementedError(absl::StrFormat(
          "the userfaultfd tells of something unknown: event %d",
          message.event));
  }
}

template <ReplacementPolicy P>
absl::Status Handler<P>::Discard(std::uintptr_t at, std::uint64_t end) {
  for (const AddressRun& run : places_.In(at, end - at)) {
    const absl::Status discarded = pager_.Discard(run.pages);
    if (!discarded.ok()) return discarded;
  }
  return absl::OkStatus();
}

template <ReplacementPolicy P>
absl::StatusOr<bool> Handler<P>::AnswerFaults() {
  bool some = false;
  for (std::size_t left = pending_.size(); left != 0; --left) {
    const Pending fault = pending_.front();
    pending_.pop_front();
    const absl::Status answered = Answer(fault);
    if (absl::IsUnavailable(answered)) {
      pending_.push_back(fault);
    } else if (!answered.ok() && !Passes(answered)) {
      return answered;
    } else {
      some = true;
    }
  }
  return some;
}

template <ReplacementPolicy P>
absl::Status Handler<P>::Answer(const Pending& fault) {
  if (++faults_ == failure_.at) Fail();
  const std::uintptr_t at = fault.address / kPageBytes * kPageBytes;
  const std::optional<Gfn> gfn = places_.PageAt(at);
  if (gfn.has_value()) {
    lost_ = 0;
    return pager_.Fault(*gfn, fault.access);
  }
  // It was moved or unmapped since: the thread looks again. But not for ever.
  constexpr int kMostLooks = 10'000;
  if (++lost_ == kMostLooks) {
    return absl::InternalError(
        absl::StrFormat("faults at %#x, where the pager knows of no page", at));
  }
  (void)uffd_.Wake(at);
  return absl::OkStatus();
}

template <ReplacementPolicy P>
void Handler<P>::Fail() {
  if (failure_.kind == FailureKind::kKill) (void)kill(getpid(), SIGKILL);
  if (failure_.kind == FailureKind::kHang) (void)kill(getpid(), SIGSTOP);
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_HANDLER_H_
