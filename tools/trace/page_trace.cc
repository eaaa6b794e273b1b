// SPDX-License-Identifier: MIT OR Apache-2.0
//
// QEMU TCG plugin: writes the page references of the program that the emulator
// runs to a file, folded (fold.h) and in the form of raw_stream.h.
//
//   qemu-x86_64 -plugin page_trace.so,out=FILE[,references=N][,records=N] …
//
// After `references` references or `records` records (0: no limit) the program
// is stopped, and with it the counts of the last records.
//
// One instruction is one fetch, then its loads and stores, each a reference to
// the page it touches; an instruction or operand that crosses a page boundary
// refers to both pages. An instruction that changes its operand in place reads
// it and then writes it; a locked one only writes it once the program has more
// than one thread, since the emulator then reports it so. Only the process that
// was started is recorded: a forked child runs on unrecorded, until the file's
// end. Threads of that process share one stream, in the order in which they
// took its lock.
//
// The guest shares this process's descriptors and may close any of them, so
// the file is opened for each write and none is kept.

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tools/trace/fold.h"
#include "tools/trace/qemu_plugin_api.h"
#include "tools/trace/raw_stream.h"

extern "C" {
// The interface version that qemu_plugin_api.h describes.
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv);
}

namespace {

using ptage::bench::Access;
using ptage::trace::Ending;
using ptage::trace::FoldedRecord;
using ptage::trace::Folder;
using ptage::trace::kEndOfStream;
using ptage::trace::kPageBits;
using ptage::trace::RawRecord;

// Of x86-64 Linux.
constexpr std::int64_t kSyscallExecve = 59;
constexpr std::int64_t kSyscallExecveat = 322;

// The recorder cannot go on without its file, and the guest may have closed
// standard error: the exit status alone tells record_trace.
constexpr int kCannotWrite = 121;

constexpr std::size_t kBufferRecords = std::size_t{1} << 16;

struct Recorder;

struct Append {
  Recorder* recorder;
  void operator()(const FoldedRecord& record) const;
};

struct Recorder {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  bool recording = true;
  std::uint64_t max_references = 0;
  std::uint64_t max_records = 0;
  char path[PATH_MAX] = {};
  std::size_t buffered = 0;
  RawRecord buffer[kBufferRecords];
  Folder<Append> folder{Append{this}};

  void Write();
  void Push(RawRecord record);
  void End(Ending ending);
  void Touch(std::uint64_t page, Access kind);
};

Recorder recorder;

class Lock {
 public:
  Lock() { pthread_mutex_lock(&recorder.mutex); }
  ~Lock() { pthread_mutex_unlock(&recorder.mutex); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

void Append::operator()(const FoldedRecord& record) const {
  recorder->Push({record.page << 2 | static_cast<std::uint64_t>(record.kind),
                  record.repeat, 0});
}

void Recorder::Write() {
  const int file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) _exit(kCannotWrite);
  const char* from = reinterpret_cast<const char*>(buffer);
  std::size_t left = buffered * sizeof(RawRecord);
  while (left > 0) {
    const ssize_t written = write(file, from, left);
    if (written <= 0) _exit(kCannotWrite);
    from += written;
    left -= static_cast<std::size_t>(written);
  }
  close(file);
  buffered = 0;
}

void Recorder::Push(RawRecord record) {
  buffer[buffered++] = record;
  if (buffered == kBufferRecords) Write();
}

void Recorder::End(Ending ending) {
  folder.Flush();
  Push({kEndOfStream, static_cast<std::uint32_t>(ending), 0});
  Write();
}

void Recorder::Touch(std::uint64_t page, Access kind) {
  if (!recording) return;
  folder.Touch(page, kind);
  if ((max_references != 0 && folder.references() == max_references) ||
      (max_records != 0 && folder.records() == max_records)) {
    End(Ending::kLimit);
    _exit(0);
  }
}

void TouchBytes(std::uint64_t address, std::uint64_t bytes, Access kind) {
  const std::uint64_t first = address >> kPageBits;
  const std::uint64_t last = (address + bytes - 1) >> kPageBits;
  const Lock lock;
  recorder.Touch(first, kind);
  if (last != first) recorder.Touch(last, kind);
}

// The page number of a fetch is known when the code is translated and travels
// as the callback's argument.
void OnFetch(unsigned /*vcpu*/, void* page) {
  const Lock lock;
  recorder.Touch(reinterpret_cast<std::uintptr_t>(page), Access::kFetch);
}

void OnMemory(unsigned /*vcpu*/, qemu_plugin_meminfo_t info,
              std::uint64_t address, void* /*userdata*/) {
  TouchBytes(address, std::uint64_t{1} << qemu_plugin_mem_size_shift(info),
             qemu_plugin_mem_is_store(info) ? Access::kWrite : Access::kRead);
}

void OnTranslate(qemu_plugin_id_t /*id*/, qemu_plugin_tb* block) {
  const std::size_t instructions = qemu_plugin_tb_n_insns(block);
  for (std::size_t i = 0; i < instructions; ++i) {
    qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(block, i);
    const std::uint64_t address = qemu_plugin_insn_vaddr(instruction);
    const std::uint64_t first = address >> kPageBits;
    const std::uint64_t last =
        (address + qemu_plugin_insn_size(instruction) - 1) >> kPageBits;
    for (std::uint64_t page = first; page <= last; ++page) {
      qemu_plugin_register_vcpu_insn_exec_cb(
          instruction, OnFetch, QEMU_PLUGIN_CB_NO_REGS,
          reinterpret_cast<void*>(static_cast<std::uintptr_t>(page)));
    }
    qemu_plugin_register_vcpu_mem_cb(instruction, OnMemory,
                                     QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                     nullptr);
  }
}

// A program that replaces itself takes this plugin with it. If the call fails
// and the program goes on, so does the stream, and the end is not its last
// record.
void OnSyscall(qemu_plugin_id_t /*id*/, unsigned /*vcpu*/, std::int64_t number,
               std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
               std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t) {
  if (number != kSyscallExecve && number != kSyscallExecveat) return;
  const Lock lock;
  if (recorder.recording) recorder.End(Ending::kReplaced);
}

void OnExit(qemu_plugin_id_t /*id*/, void* /*userdata*/) {
  const Lock lock;
  if (!recorder.recording) return;
  recorder.End(Ending::kProgramEnded);
  recorder.recording = false;
}

// Another thread may have held the lock when this one forked.
void OnForkInChild() {
  pthread_mutex_init(&recorder.mutex, nullptr);
  recorder.recording = false;
}

// The value of `argument` if it is NAME=VALUE with this name, else null.
const char* ValueOf(const char* argument, const char* name) {
  const std::size_t length = std::strlen(name);
  return std::strncmp(argument, name, length) == 0 && argument[length] == '='
             ? argument + length + 1
             : nullptr;
}

}  // namespace

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc,
                        char** argv) {
  if (info->system_emulation) return -1;
  for (int i = 0; i < argc; ++i) {
    if (const char* path = ValueOf(argv[i], "out")) {
      if (std::strlen(path) >= sizeof(recorder.path)) return -1;
      std::strcpy(recorder.path, path);
    } else if (const char* references = ValueOf(argv[i], "references")) {
      recorder.max_references = std::strtoull(references, nullptr, 10);
    } else if (const char* records = ValueOf(argv[i], "records")) {
      recorder.max_records = std::strtoull(records, nullptr, 10);
    } else {
      return -1;
    }
  }
  if (recorder.path[0] == '\0') return -1;
  pthread_atfork(nullptr, nullptr, OnForkInChild);
  qemu_plugin_register_vcpu_tb_trans_cb(id, OnTranslate);
  qemu_plugin_register_vcpu_syscall_cb(id, OnSyscall);
  qemu_plugin_register_atexit_cb(id, OnExit, nullptr);
  return 0;
}
