#ifndef FILIGREE_TESTS_WORKER_CHECKPOINT_FAULT_FILE_SYSTEM_H_
#define FILIGREE_TESTS_WORKER_CHECKPOINT_FAULT_FILE_SYSTEM_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "worker/checkpoint/file_system.h"

// A file system in memory that forgets. It keeps what programs see beside what would survive a power cut: bytes of a
// file become durable by Sync, names by SyncFolder. The n-th changing operation can fail, or be the last one before a
// crash, half done if it was a write.

namespace filigree::checkpoint {

enum class CrashKind {
  kDropAll,    // only what was synced survives
  kKeepNames,  // names survive, unsynced bytes do not: the empty file after a rename
  kTorn,       // per folder the first few unsynced names, per file some of its unsynced bytes, at random
};

class FaultFileSystem : public FileSystem {
 public:
  FaultFileSystem();

  // Changing operations so far. Operation `n` (counted from now, 0 the next) fails with `status`; with `sticky` every
  // Append after it too, as on a full disk.
  int64_t operations() const { return operations_; }
  void FailAt(int64_t n, absl::Status status, bool sticky = false);
  // The process dies inside operation `n`: everything after it fails. Reboot brings the disk back.
  void CrashAt(int64_t n);
  void Reboot(CrashKind kind, uint64_t seed);
  void ClearFaults();
  // Before operation `n` (counted from now) its process sleeps while `others` run, once.
  void SleepAt(int64_t n, std::function<void()> others);
  // Reading files whose path contains `part` fails with `status`, from their second half on: a bad sector.
  void FailReadsOf(std::string part, absl::Status status);

  // Direct access to the bytes of a file, and every path below the root.
  std::string& Bytes(const std::string& path);
  std::vector<std::string> AllPaths() const;

  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::Status CreateFolder(const std::string& path) override;
  absl::Status SyncFolder(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveFolder(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;

 private:
  struct Node;
  using NodePtr = std::shared_ptr<Node>;
  using Entries = std::map<std::string, NodePtr>;
  struct Node {
    bool folder = false;
    std::string bytes, durable_bytes;
    Entries entries, durable_entries;
    std::vector<std::function<void(Entries&)>> unsynced;  // changes of entries since the last SyncFolder
  };
  class MemoryWritable;

  // OK, or what the operation with this number has to return; counts it.
  absl::Status Step(bool append = false);
  NodePtr Find(const std::string& path) const;
  // The folder of `path` and its last part; null where there is no such folder.
  std::pair<NodePtr, std::string> Parent(const std::string& path) const;
  static void Change(Node& folder, std::function<void(Entries&)> change);

  NodePtr root_;
  int64_t operations_ = 0;
  int64_t fail_at_ = -1, crash_at_ = -1, sleep_at_ = -1;
  std::function<void()> others_;
  bool sticky_ = false, crashed_ = false;
  absl::Status failure_;
  std::string unreadable_;  // empty: everything can be read
  absl::Status read_failure_;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_TESTS_WORKER_CHECKPOINT_FAULT_FILE_SYSTEM_H_
