// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The pager's backing in another process: pages of a file in memory, which that
// process has mapped and registered with userfaultfd.
//
// Contract
//   The pager's side needs no help from the workload, and does not map the
//   pages itself. Nothing in the kernel drops the mapping of a page that stays
//   in memory for another process; so to unmap one, it is write-protected,
//   copied out, its memory taken away, which drops every mapping, and written
//   back. A read in between is served until the memory goes, and waits from
//   then on; a write waits from the protection on. So nothing is lost.
//
//   Pages that a device writes to (O_DIRECT, registered buffers) may not be
//   given to this: such writes are seen by nobody.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_UFFD_BACKING_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_UFFD_BACKING_H_

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/address_map.h"
#include "examples/far_memory/frames.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/pager.h"
#include "examples/far_memory/uffd.h"
#include "ptage/types.h"

namespace ptage::far_memory {

class UffdBacking {
 public:
  // All outlive it. `places` is kept up to date by the handler.
  UffdBacking(const Uffd& uffd, const Frames& frames, const AddressMap& places)
      : uffd_(uffd),
        frames_(frames),
        places_(places),
        mapped_(frames.pages()),
        moved_(kRun) {}

  absl::Status Fill(Gfn gfn, const Page& page) {
    return frames_.Write(gfn, &page, 1);
  }
  absl::Status Map(Gfn gfn, bool writable);
  absl::Status Unmap(GfnRange range);
  absl::Status Take(Gfn gfn, Page& page);
  absl::Status Free(GfnRange range) {
    std::fill(mapped_.begin() + static_cast<std::ptrdiff_t>(range.begin.value),
              mapped_.begin() + static_cast<std::ptrdiff_t>(range.end.value),
              false);
    return frames_.Punch(range);
  }

 private:
  // Pages that are unmapped at a time.
  static constexpr std::uint64_t kRun = 64;

  // Blocks writes to a part that lies side by side.
  absl::Status Protect(const AddressRun& run);
  absl::Status UnmapRun(const AddressRun& run);

  const Uffd& uffd_;
  const Frames& frames_;
  const AddressMap& places_;
  // Pages that the workload may have mapped.
  std::vector<bool> mapped_;
  std::vector<Page> moved_;
};

static_assert(Backing<UffdBacking>);

// ---------------------------------------------------------------------------

inline absl::Status UffdBacking::Map(Gfn gfn, bool writable) {
  const std::optional<AddressRun> place = places_.RunOf({gfn, gfn + 1});
  if (!place.has_value()) return absl::UnavailableError("it was unmapped");
  int error = uffd_.Continue(place->at, writable);
  if (error == EEXIST) {
    // It is mapped: the access was a write to a protected page, or another
    // thread's fault came first.
    error = writable ? uffd_.Unprotect(place->at) : uffd_.Wake(place->at);
  }
  switch (error) {
    case 0:
      mapped_[gfn.value] = true;
      return absl::OkStatus();
    case EAGAIN:
    case ENOENT:
      return absl::UnavailableError("the address space is being changed");
    case EFAULT:
      return absl::DataLossError(absl::StrFormat(
          "page %d is gone from memory, and the pager did not take it",
          gfn.value));
    case ESRCH:
      return absl::CancelledError("the workload is gone");
    default:
      return absl::ErrnoToStatus(
          error, absl::StrFormat("cannot map page %d", gfn.value));
  }
}

inline absl::Status UffdBacking::Protect(const AddressRun& run) {
  const int error = uffd_.Protect(run.at, run.bytes());
  if (error == 0) return absl::OkStatus();
  if (error == EAGAIN || error == ENOENT) {
    return absl::UnavailableError("the address space is being changed");
  }
  if (error == ESRCH) return absl::CancelledError("the workload is gone");
  return absl::ErrnoToStatus(
      error, absl::StrFormat("cannot protect page %d", run.pages.begin.value));
}

inline absl::Status UffdBacking::Unmap(GfnRange range) {
  while (!range.Empty()) {
    const GfnRange some{range.begin,
                        range.begin + std::min(range.Frames(), kRun)};
    const std::optional<AddressRun> run = places_.RunOf(some);
    // A page that is nowhere is not mapped.
    const Gfn next = run.has_value() ? run->pages.end : range.begin + 1;
    if (run.has_value()) {
      const absl::Status unmapped = UnmapRun(*run);
      if (!unmapped.ok()) return unmapped;
    }
    range.begin = next;
  }
  return absl::OkStatus();
}

inline absl::Status UffdBacking::UnmapRun(const AddressRun& run) {
  const absl::Status blocked = Protect(run);
  if (!blocked.ok()) return blocked;
  const Gfn first = run.pages.begin;
  const std::uint64_t count = run.pages.Frames();
  absl::Status done = frames_.Read(first, moved_.data(), count);
  if (done.ok()) done = frames_.Punch(run.pages);
  if (done.ok()) done = frames_.Write(first, moved_.data(), count);
  if (!done.ok()) return done;
  std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(first.value), count,
              false);
  return absl::OkStatus();
}

inline absl::Status UffdBacking::Take(Gfn gfn, Page& page) {
  // One that aging has unmapped cannot be written.
  if (mapped_[gfn.value]) {
    const std::optional<AddressRun> place = places_.RunOf({gfn, gfn + 1});
    if (!place.has_value()) return absl::UnavailableError("it was unmapped");
    const absl::Status blocked = Protect(*place);
    if (!blocked.ok()) return blocked;
  }
  absl::Status done = frames_.Read(gfn, &page, 1);
  if (done.ok()) done = frames_.Punch({gfn, gfn + 1});
  if (done.ok()) mapped_[gfn.value] = false;
  return done;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_UFFD_BACKING_H_
