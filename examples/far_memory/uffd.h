// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A userfaultfd: opened in whatever way the machine allows, and its calls.
//
// Contract
//   A descriptor belongs to the address space of the process that opened it,
//   whoever holds it. As long as anybody does, an access to a registered page
//   that is not mapped waits until it is answered; when the last one closes it
//   such an access is answered by the kernel, with zeros.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_UFFD_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_UFFD_H_

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/far_memory/page.h"

namespace ptage::far_memory {

// What is newer than the headers of some systems.
inline constexpr unsigned kUserModeOnly = 1;             // UFFD_USER_MODE_ONLY
inline constexpr unsigned long kNewFromDevice = 0xAA00;  // USERFAULTFD_IOC_NEW
inline constexpr std::uint64_t kContinueProtected =
    2;  // UFFDIO_CONTINUE_MODE_WP

// Minor faults and write-protection of shared memory (Linux 5.19), and being
// told when the workload moves, unmaps or throws away what is registered.
inline constexpr std::uint64_t kUffdFeatures =
    UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
    UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
    UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
    UFFD_FEATURE_EVENT_UNMAP;

class Uffd {
 public:
  // For the address space of the caller. PermissionDenied: how it could be
  // allowed; Unimplemented: what the kernel lacks.
  [[nodiscard]] static absl::StatusOr<Uffd> Open();
  // Takes over a descriptor that another process opened.
  explicit Uffd(int file) : file_(file) {}
  Uffd(Uffd&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  Uffd& operator=(Uffd&&) = delete;
  ~Uffd() {
    if (file_ >= 0) close(file_);
  }
  [[nodiscard]] int file() const { return file_; }

  // Addresses and sizes below are multiples of the page size.
  // From now on the file's pages in there are mapped by the calls below alone.
  [[nodiscard]] absl::Status Register(std::uintptr_t at,
                                      std::size_t bytes) const;
  // Each: 0, or errno. EAGAIN: the address space is being changed, and there
  // is, or will be, a message about it. ENOENT: nothing registered is there.
  // Maps a page that the file has, and lets who waits for it go on.
  [[nodiscard]] int Continue(std::uintptr_t at, bool writable) const;
  [[nodiscard]] int Protect(std::uintptr_t at, std::size_t bytes) const;
  // Lets who waits for the write go on.
  [[nodiscard]] int Unprotect(std::uintptr_t at) const;
  [[nodiscard]] int Wake(std::uintptr_t at) const;
  // At most `count` messages, without waiting. Returns how many.
  [[nodiscard]] absl::StatusOr<std::size_t> Read(uffd_msg* messages,
                                                 std::size_t count) const;

 private:
  int Call(unsigned long request, void* argument) const {
    return ioctl(file_, request, argument) == 0 ? 0 : errno;
  }

  int file_;
};

// ---------------------------------------------------------------------------

namespace internal {

// A descriptor, or −1 and errno.
inline int OpenUffd() {
  constexpr unsigned kFlags = O_CLOEXEC | O_NONBLOCK;
  const auto call = [](unsigned flags) {
    return static_cast<int>(syscall(SYS_userfaultfd, flags));
  };
  const int file = call(kFlags);
  if (file >= 0 || errno != EPERM) return file;
  // Not for everybody. Whoever may open the device gets all the same.
  const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device >= 0) {
    const int made = ioctl(device, kNewFromDevice, kFlags);
    close(device);
    if (made >= 0) return made;
  }
  // This one does not see accesses by the kernel, which then fail (EFAULT).
  return call(kFlags | kUserModeOnly);
}

}  // namespace internal

inline absl::StatusOr<Uffd> Uffd::Open() {
  const int file = internal::OpenUffd();
  if (file < 0 && (errno == EPERM || errno == EACCES)) {
    return absl::PermissionDeniedError(
        "userfaultfd is not allowed here: set the sysctl "
        "vm.unprivileged_userfaultfd to 1, or give this user access to "
        "/dev/userfaultfd, or run with CAP_SYS_PTRACE; a sandbox may forbid "
        "the system call besides");
  }
  if (file < 0) return absl::ErrnoToStatus(errno, "userfaultfd");
  Uffd uffd(file);
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = kUffdFeatures;
  if (uffd.Call(UFFDIO_API, &api) != 0) {
    return absl::UnimplementedError(absl::StrFormat(
        "this kernel's userfaultfd lacks a feature of those that are needed "
        "(%#x): write-protection of shared memory came with Linux 5.19",
        kUffdFeatures));
  }
  return uffd;
}

inline absl::Status Uffd::Register(std::uintptr_t at, std::size_t bytes) const {
  uffdio_register range = {};
  range.range = {.start = at, .len = bytes};
  range.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
               UFFDIO_REGISTER_MODE_WP;
  const int error = Call(UFFDIO_REGISTER, &range);
  return error == 0 ? absl::OkStatus()
                    : absl::ErrnoToStatus(error, "UFFDIO_REGISTER");
}

inline int Uffd::Continue(std::uintptr_t at, bool writable) const {
  uffdio_continue page = {};
  page.range = {.start = at, .len = kPageBytes};
  page.mode = writable ? 0 : kContinueProtected;
  return Call(UFFDIO_CONTINUE, &page);
}

inline int Uffd::Protect(std::uintptr_t at, std::size_t bytes) const {
  uffdio_writeprotect range = {};
  range.range = {.start = at, .len = bytes};
  range.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  return Call(UFFDIO_WRITEPROTECT, &range);
}

inline int Uffd::Unprotect(std::uintptr_t at) const {
  uffdio_writeprotect range = {};
  range.range = {.start = at, .len = kPageBytes};
  return Call(UFFDIO_WRITEPROTECT, &range);
}

inline int Uffd::Wake(std::uintptr_t at) const {
  uffdio_range range = {.start = at, .len = kPageBytes};
  return Call(UFFDIO_WAKE, &range);
}

inline absl::StatusOr<std::size_t> Uffd::Read(uffd_msg* messages,
                                              std::size_t count) const {
  const ssize_t bytes = read(file_, messages, count * sizeof *messages);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (bytes < 0) return absl::ErrnoToStatus(errno, "read of the userfaultfd");
  return static_cast<std::size_t>(bytes) / sizeof *messages;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_UFFD_H_
