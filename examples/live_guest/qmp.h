// SPDX-License-Identifier: MIT OR Apache-2.0
//
// QEMU's monitor: a command, and its answer.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_QMP_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_QMP_H_

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "examples/live_guest/json.h"

namespace ptage::live_guest {

// A connection; one command at a time. QEMU serves one client of a socket, and
// lets others wait, which looks like a guest that does not answer.
class Qmp {
 public:
  // A guest may be slow, not endlessly.
  static constexpr absl::Duration kPatience = absl::Seconds(10);

  // NotFound and the like: no socket there, or nobody behind it.
  // DeadlineExceeded: no greeting. FailedPrecondition: not QMP.
  [[nodiscard]] static absl::StatusOr<Qmp> Connect(
      const std::string& path, absl::Duration patience = kPatience);
  // The same over a connection, which it owns from now on.
  [[nodiscard]] static absl::StatusOr<Qmp> Over(
      int socket, absl::Duration patience = kPatience);
  Qmp(Qmp&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)),
        patience_(other.patience_),
        unread_(std::move(other.unread_)),
        version_(std::move(other.version_)) {}
  Qmp& operator=(Qmp&&) = delete;
  ~Qmp() {
    if (socket_ >= 0) close(socket_);
  }

  // What the command returns. `arguments` is a JSON object, or empty. Events
  // that come in between are dropped. FailedPrecondition, with QEMU's words:
  // it refuses. Unavailable: it has gone.
  [[nodiscard]] absl::StatusOr<Json> Command(absl::string_view name,
                                             absl::string_view arguments = "");
  // What the human monitor prints; refusals are text there too.
  [[nodiscard]] absl::StatusOr<std::string> Human(absl::string_view line);
  // QEMU's own, as "7.2.0".
  [[nodiscard]] const std::string& version() const { return version_; }

 private:
  Qmp(int socket, absl::Duration patience)
      : socket_(socket), patience_(patience) {}

  absl::Status Greet();
  absl::Status Send(const std::string& line);
  absl::StatusOr<Json> Receive();

  int socket_;
  absl::Duration patience_;
  std::string unread_;
  std::string version_;
};

// ---------------------------------------------------------------------------

inline absl::StatusOr<Qmp> Qmp::Connect(const std::string& path,
                                        absl::Duration patience) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        absl::StrFormat("path of the QMP socket is too long: %s", path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return absl::ErrnoToStatus(errno, "socket");
  if (connect(socket, reinterpret_cast<const sockaddr*>(&address),
              sizeof address) != 0) {
    const int error = errno;
    close(socket);
    return absl::ErrnoToStatus(
        error, absl::StrCat("no QEMU monitor at ", path,
                            " (start the guest with -qmp unix:", path,
                            ",server=on,wait=off)"));
  }
  return Over(socket, patience);
}

inline absl::StatusOr<Qmp> Qmp::Over(int socket, absl::Duration patience) {
  Qmp qmp(socket, patience);
  const absl::Status greeted = qmp.Greet();
  if (!greeted.ok()) return greeted;
  return qmp;
}

inline absl::Status Qmp::Greet() {
  const absl::StatusOr<Json> greeting = Receive();
  if (absl::IsDeadlineExceeded(greeting.status())) {
    return absl::DeadlineExceededError(
        "the monitor does not greet: it serves one client at a time, and may "
        "have another");
  }
  if (!greeting.ok()) return greeting.status();
  const Json* const hello = greeting->Find("QMP");
  if (hello == nullptr) {
    return absl::FailedPreconditionError("what answers there is not QMP");
  }
  const Json* version = hello->Find("version");
  if (version != nullptr) version = version->Find("qemu");
  if (version != nullptr) {
    for (const char* const part : {"major", "minor", "micro"}) {
      const Json* const number = version->Find(part);
      absl::StrAppend(&version_, version_.empty() ? "" : ".",
                      number != nullptr ? number->text : "?");
    }
  }
  return Command("qmp_capabilities").status();
}

inline absl::Status Qmp::Send(const std::string& line) {
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t more =
        send(socket_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) {
      return absl::UnavailableError(absl::StrFormat(
          "the QEMU monitor has gone: %s", std::strerror(errno)));
    }
    sent += static_cast<std::size_t>(more);
  }
  return absl::OkStatus();
}

inline absl::StatusOr<Json> Qmp::Receive() {
  // No answer of ours is as long.
  constexpr std::size_t kMost = std::size_t{16} << 20;
  const absl::Time deadline = absl::Now() + patience_;
  for (;;) {
    const std::size_t end = unread_.find('\n');
    if (end != std::string::npos) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      const absl::StatusOr<Json> value = ParseJson(line);
      if (value.ok()) return value;
      return absl::FailedPreconditionError(
          absl::StrCat("the QEMU monitor speaks ", value.status().message()));
    }
    if (unread_.size() > kMost) {
      return absl::FailedPreconditionError(
          "the QEMU monitor answers without end");
    }
    pollfd wait = {.fd = socket_, .events = POLLIN, .revents = 0};
    const absl::Duration left = deadline - absl::Now();
    const int ready =
        left <= absl::ZeroDuration()
            ? 0
            : poll(&wait, 1,
                   static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      return absl::DeadlineExceededError(
          absl::StrFormat("the QEMU monitor did not answer within %s",
                          absl::FormatDuration(patience_)));
    }
    char bytes[4096];
    const ssize_t got =
        ready < 0 ? -1 : recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return absl::UnavailableError("the QEMU monitor has gone");
    unread_.append(bytes, static_cast<std::size_t>(got));
  }
}

inline absl::StatusOr<Json> Qmp::Command(absl::string_view name,
                                         absl::string_view arguments) {
  std::string line = absl::StrCat("{\"execute\":", QuoteJson(name));
  if (!arguments.empty()) absl::StrAppend(&line, ",\"arguments\":", arguments);
  const absl::Status sent = Send(line + "}\n");
  if (!sent.ok()) return sent;
  for (;;) {
    absl::StatusOr<Json> answer = Receive();
    if (!answer.ok()) return answer;
    if (const Json* const value = answer->Find("return")) return Json(*value);
    if (const Json* const error = answer->Find("error")) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "QEMU refuses %s: %s", name, error->StringAt("desc")));
    }
  }
}

inline absl::StatusOr<std::string> Qmp::Human(absl::string_view line) {
  absl::StatusOr<Json> answer =
      Command("human-monitor-command",
              absl::StrCat("{\"command-line\":", QuoteJson(line), "}"));
  if (!answer.ok()) return answer.status();
  return answer->text;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_QMP_H_
