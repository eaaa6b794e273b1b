// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Records the page references of an x86-64 program into a trace file
// (bench/trace.h), by running it under qemu-x86_64 with page_trace.so. What is
// recorded and what is lost: docs/traces.md.

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "bench/access.h"
#include "bench/trace.h"
#include "tools/trace/child.h"
#include "tools/trace/raw_stream.h"

namespace ptage::trace {
namespace {

constexpr absl::string_view kUsage =
    R"(usage: record_trace [--out FILE] [--max-references N] [--max-records N]
                    [--about TEXT] -- PROGRAM [ARGUMENT]...
       record_trace --help

Runs an x86-64 program under qemu-x86_64 and writes the pages that it reads,
writes and fetches instructions from to FILE (PROGRAM.trace by default). After
N references, or N records of references collapsed, the program is stopped.
The program sees a fixed environment, so that a second recording is like the
first: LC_ALL=C, TZ=UTC0, PATH, and hash seeds of 0 for Perl and Python.
)";

// Without a limit, a recording stops here: 256 MiB of temporary file.
constexpr std::uint64_t kDefaultMaxRecords = std::uint64_t{1} << 24;

struct Options {
  bool help = false;
  std::string out;
  std::string about;
  std::uint64_t max_references = 0;
  std::uint64_t max_records = kDefaultMaxRecords;
  std::vector<std::string> command;
};

absl::StatusOr<std::uint64_t> ParsePositive(absl::string_view flag,
                                            const std::string& text) {
  std::uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " takes a positive number, not '", text, "'"));
  }
  return value;
}

absl::StatusOr<Options> ParseOptions(int argc, char** argv) {
  Options options;
  int i = 1;
  for (; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (flag == "--") {
      ++i;
      break;
    }
    if (!absl::StartsWith(flag, "--")) break;
    if (flag == "--help") {
      options.help = true;
      return options;
    }
    std::string value;
    if (const std::size_t equals = flag.find('=');
        equals != absl::string_view::npos) {
      value = std::string(flag.substr(equals + 1));
      flag = flag.substr(0, equals);
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, " is unknown or lacks a value; see --help"));
    }
    if (flag == "--out" && !value.empty()) {
      options.out = value;
    } else if (flag == "--about") {
      options.about = value;
    } else if (flag == "--max-references" || flag == "--max-records") {
      const absl::StatusOr<std::uint64_t> number = ParsePositive(flag, value);
      if (!number.ok()) return number.status();
      (flag == "--max-records" ? options.max_records : options.max_references) =
          *number;
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag ", flag, "; see --help"));
    }
  }
  if (options.max_records > bench::kMaxTraceRecords) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-records ", options.max_records, " is more than ",
                     bench::kMaxTraceRecords));
  }
  options.command.assign(argv + i, argv + argc);
  if (options.command.empty()) {
    return absl::InvalidArgumentError("no program to record; see --help");
  }
  if (options.out.empty()) {
    const std::vector<std::string> parts =
        absl::StrSplit(options.command[0], '/');
    options.out = absl::StrCat(parts.back(), ".trace");
  }
  return options;
}

absl::Status CheckProgram(const std::string& path) {
  Elf64_Ehdr header = {};
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(&header), sizeof(header));
  if (!file || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     " is not an x86-64 program (for a script, name its "
                     "interpreter)"));
  }
  return absl::OkStatus();
}

// "name version" of the Debian package that a file is from.
std::string PackageOf(const std::string& path) {
  char* const resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return "unknown";
  const std::string real = resolved;
  std::free(resolved);
  // Packages may list a file by its name from before /bin moved to /usr/bin.
  for (const std::string& name :
       {real, std::string(absl::StripPrefix(real, "/usr"))}) {
    const auto owner = Capture({"/usr/bin/dpkg-query", "--search", name});
    if (!owner.has_value()) continue;
    const std::string package = owner->substr(0, owner->find_first_of(":,"));
    const auto version =
        Capture({"/usr/bin/dpkg-query", "--show",
                 "--showformat=${Package} ${Version}\\n", package});
    if (version.has_value()) return version->substr(0, version->find('\n'));
  }
  return "unknown";
}

// A folder for the raw stream, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    const char* parent = std::getenv("TMPDIR");
    path_ = absl::StrCat(parent == nullptr ? "/tmp" : parent,
                         "/record_trace.XXXXXX");
    made_ = mkdtemp(path_.data()) != nullptr;
  }
  ~ScratchFolder() {
    if (!made_) return;
    unlink(File().c_str());
    rmdir(path_.c_str());
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  absl::Status Make() {
    const int file = made_ ? open(File().c_str(),
                                  O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600)
                           : -1;
    if (file < 0) {
      return absl::ErrnoToStatus(
          errno, absl::StrCat("no temporary file under ", path_));
    }
    close(file);
    return absl::OkStatus();
  }

  std::string File() const { return absl::StrCat(path_, "/raw"); }

 private:
  std::string path_;
  bool made_ = false;
};

struct RawStream {
  std::vector<bench::Record> records;
  std::uint64_t references = 0;
  std::uint32_t pages = 0;
  // False if the last record is not an end.
  bool ended = false;
  Ending ending = Ending::kProgramEnded;
};

// Numbers the pages.
absl::StatusOr<RawStream> ReadRawStream(const std::string& path) {
  RawStream stream;
  std::unordered_map<std::uint64_t, std::uint32_t> numbers;
  std::ifstream file(path, std::ios::binary);
  std::vector<RawRecord> piece(std::size_t{1} << 16);
  while (file) {
    file.read(reinterpret_cast<char*>(piece.data()),
              static_cast<std::streamsize>(piece.size() * sizeof(RawRecord)));
    const auto bytes = static_cast<std::size_t>(file.gcount());
    for (std::size_t i = 0; i < bytes / sizeof(RawRecord); ++i) {
      const RawRecord& raw = piece[i];
      stream.ended = raw.page_and_kind == kEndOfStream;
      if (stream.ended) {
        stream.ending = static_cast<Ending>(raw.repeat);
        continue;
      }
      const auto page =
          numbers
              .try_emplace(raw.page_and_kind >> 2,
                           static_cast<std::uint32_t>(numbers.size()))
              .first->second;
      stream.records.push_back(
          {page, static_cast<bench::Access>(raw.page_and_kind & 3),
           raw.repeat});
      stream.references += raw.repeat;
    }
  }
  if (file.bad())
    return absl::DataLossError(absl::StrCat(path, ": unreadable"));
  stream.pages = static_cast<std::uint32_t>(numbers.size());
  return stream;
}

// The plugin lies beside this program.
absl::StatusOr<std::string> FindPlugin() {
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  if (length < 0) return absl::ErrnoToStatus(errno, "/proc/self/exe");
  const std::string path(self, static_cast<std::size_t>(length));
  const std::string plugin =
      absl::StrCat(path.substr(0, path.rfind('/')), "/page_trace.so");
  if (access(plugin.c_str(), R_OK) != 0) {
    return absl::NotFoundError(absl::StrCat(plugin, " is missing"));
  }
  return plugin;
}

absl::StatusOr<RawStream> RecordRaw(const std::string& emulator,
                                    const std::string& program,
                                    const Options& options) {
  const absl::StatusOr<std::string> plugin = FindPlugin();
  if (!plugin.ok()) return plugin.status();
  ScratchFolder scratch;
  if (absl::Status status = scratch.Make(); !status.ok()) return status;

  // A comma separates the plugin's options; two stand for one in a value.
  const auto escape = [](const std::string& path) {
    return absl::StrReplaceAll(path, {{",", ",,"}});
  };
  std::vector<std::string> command = {
      emulator,
      // The program's own idea of its name is what the user wrote.
      "-0", options.command[0], "-plugin",
      absl::StrCat(escape(*plugin), ",out=", escape(scratch.File()),
                   ",references=", options.max_references,
                   ",records=", options.max_records),
      program};
  command.insert(command.end(), options.command.begin() + 1,
                 options.command.end());
  const absl::StatusOr<ChildEnd> end =
      Run(command, {"LC_ALL=C", "TZ=UTC0", "PATH=/usr/bin:/bin",
                    "PERL_HASH_SEED=0", "PYTHONHASHSEED=0"});
  if (!end.ok()) return end.status();
  absl::StatusOr<RawStream> stream = ReadRawStream(scratch.File());
  if (!stream.ok()) return stream.status();

  const std::string& name = options.command[0];
  if (end->signal != 0) {
    return absl::AbortedError(
        absl::StrCat(name, " was killed by signal ", end->signal));
  }
  if (!stream->ended) {
    return absl::AbortedError(absl::StrCat("the recording of ", name,
                                           " has no end (exit status ",
                                           end->status, ")"));
  }
  if (stream->ending == Ending::kReplaced) {
    return absl::AbortedError(absl::StrCat(
        name, " replaced itself by another program; record that one"));
  }
  if (end->status != 0) {
    std::cerr << "record_trace: note: " << name << " ended with status "
              << end->status << "\n";
  }
  return stream;
}

absl::Status Record(const Options& options) {
  const absl::StatusOr<std::string> program = FindProgram(options.command[0]);
  if (!program.ok()) return program.status();
  if (absl::Status status = CheckProgram(*program); !status.ok()) {
    return status;
  }
  const absl::StatusOr<std::string> emulator = FindProgram("qemu-x86_64");
  if (!emulator.ok()) {
    return absl::NotFoundError("qemu-x86_64 is missing (package qemu-user)");
  }
  absl::StatusOr<RawStream> stream = RecordRaw(*emulator, *program, options);
  if (!stream.ok()) return stream.status();

  bench::Trace trace;
  trace.program = options.command[0];
  trace.arguments.assign(options.command.begin() + 1, options.command.end());
  trace.package = PackageOf(*program);
  trace.recorder = PackageOf(*emulator);
  trace.about = options.about;
  trace.page_bits = kPageBits;
  trace.ending = stream->ending == Ending::kLimit
                     ? bench::Ending::kLimit
                     : bench::Ending::kProgramEnded;
  trace.references = stream->references;
  trace.pages = stream->pages;
  trace.records = std::move(stream->records);
  if (absl::Status status = bench::WriteTrace(options.out, trace);
      !status.ok()) {
    return status;
  }
  std::cerr << "record_trace: " << options.out << ": " << trace.records.size()
            << " records of " << trace.references << " references to "
            << trace.pages << " pages"
            << (trace.ending == bench::Ending::kLimit ? ", stopped at the limit"
                                                      : "")
            << "\n";
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const absl::StatusOr<Options> options = ParseOptions(argc, argv);
  if (options.ok() && options->help) {
    std::cout << kUsage;
    return 0;
  }
  const absl::Status status =
      options.ok() ? Record(*options) : options.status();
  if (status.ok()) return 0;
  std::cerr << "record_trace: " << status.message() << "\n";
  return 2;
}

}  // namespace
}  // namespace ptage::trace

int main(int argc, char** argv) { return ptage::trace::Main(argc, argv); }
