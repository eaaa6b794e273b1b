// SPDX-License-Identifier: MIT OR Apache-2.0
//
// How the workload hands its userfaultfd to the watchdog, and is told to begin.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_CHANNEL_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_CHANNEL_H_

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ptage::far_memory {

// What is handed over: a descriptor, and where the data is mapped.
struct Handover {
  int file = -1;
  std::uintptr_t at = 0;
};

// One end of a pair.
class Channel {
 public:
  [[nodiscard]] static absl::StatusOr<std::pair<Channel, Channel>> MakePair() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      return absl::ErrnoToStatus(errno, "socketpair");
    }
    return std::pair<Channel, Channel>(Channel(ends[0]), Channel(ends[1]));
  }
  Channel(Channel&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  Channel& operator=(Channel&&) = delete;
  ~Channel() { Close(); }
  void Close() {
    if (file_ >= 0) close(std::exchange(file_, -1));
  }

  [[nodiscard]] absl::Status Send(const Handover& what) const;
  // Unavailable: the other end is gone.
  [[nodiscard]] absl::StatusOr<Handover> Receive() const;

 private:
  explicit Channel(int file) : file_(file) {}

  int file_;
};

// ---------------------------------------------------------------------------

inline absl::Status Channel::Send(const Handover& what) const {
  Handover copy = what;
  iovec part = {.iov_base = &copy, .iov_len = sizeof copy};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (what.file >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &what.file, sizeof(int));
  }
  return sendmsg(file_, &message, MSG_NOSIGNAL) == ssize_t{sizeof copy}
             ? absl::OkStatus()
             : absl::ErrnoToStatus(errno, "sendmsg");
}

inline absl::StatusOr<Handover> Channel::Receive() const {
  Handover what;
  iovec part = {.iov_base = &what, .iov_len = sizeof what};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = -1;
  do {
    got = recvmsg(file_, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return absl::UnavailableError("the other end is gone");
  if (got != ssize_t{sizeof what}) {
    return absl::ErrnoToStatus(got < 0 ? errno : EPROTO, "recvmsg");
  }
  what.file = -1;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      std::memcpy(&what.file, CMSG_DATA(header), sizeof(int));
    }
  }
  return what;
}

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_CHANNEL_H_
