// SPDX-License-Identifier: MIT OR Apache-2.0

#include "tools/trace/child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace ptage::trace {
namespace {

bool IsExecutable(const std::string& path) {
  struct stat what;
  return stat(path.c_str(), &what) == 0 && S_ISREG(what.st_mode) &&
         access(path.c_str(), X_OK) == 0;
}

// posix_spawn takes pointers to characters that it does not change.
std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) {
    pointers.push_back(const_cast<char*>(text.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

absl::StatusOr<ChildEnd> Wait(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "waitpid");
  }
  if (WIFSIGNALED(status)) return ChildEnd{0, WTERMSIG(status)};
  return ChildEnd{WEXITSTATUS(status), 0};
}

// Spawns with the interrupt's default action, whatever this process does.
absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& arguments,
                            char* const* environment,
                            const posix_spawn_file_actions_t* actions) {
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigdefault(&attributes, &interrupt);
  pid_t child = 0;
  const int error =
      posix_spawn(&child, arguments[0].c_str(), actions, &attributes,
                  Pointers(arguments).data(), environment);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return absl::ErrnoToStatus(error,
                               absl::StrCat(arguments[0], " cannot be run"));
  }
  return child;
}

}  // namespace

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (IsExecutable(name)) return name;
    return absl::NotFoundError(
        absl::StrCat(name, " is not an executable file"));
  }
  const char* path = std::getenv("PATH");
  const absl::string_view folders = path == nullptr ? "/usr/bin:/bin" : path;
  for (const absl::string_view folder : absl::StrSplit(folders, ':')) {
    const std::string candidate = absl::StrCat(folder, "/", name);
    if (!folder.empty() && IsExecutable(candidate)) return candidate;
  }
  return absl::NotFoundError(absl::StrCat(name, " is not a program in $PATH"));
}

absl::StatusOr<ChildEnd> Run(const std::vector<std::string>& arguments,
                             const std::vector<std::string>& environment) {
  auto* const before = std::signal(SIGINT, SIG_IGN);
  absl::StatusOr<ChildEnd> end = ChildEnd{};
  const absl::StatusOr<pid_t> child =
      Spawn(arguments, Pointers(environment).data(), nullptr);
  if (child.ok()) {
    end = Wait(*child);
  } else {
    end = child.status();
  }
  std::signal(SIGINT, before);
  return end;
}

std::optional<std::string> Capture(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null",
                                   O_WRONLY, 0);
  const absl::StatusOr<pid_t> child = Spawn(arguments, environ, &actions);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string output;
  char piece[4096];
  ssize_t got = 0;
  while (child.ok() && (got = read(ends[0], piece, sizeof(piece))) > 0) {
    output.append(piece, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  if (!child.ok()) return std::nullopt;
  const absl::StatusOr<ChildEnd> end = Wait(*child);
  if (!end.ok() || end->signal != 0 || end->status != 0) return std::nullopt;
  return output;
}

}  // namespace ptage::trace
