#ifndef FILIGREE_WORKER_CHECKPOINT_FILE_SYSTEM_H_
#define FILIGREE_WORKER_CHECKPOINT_FILE_SYSTEM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// What checkpoints ask of a file system, as a seam: tests fail or tear the n-th operation and drop what was not synced.
//
// Durability     Bytes of a file survive a power cut once Sync of that file returned; a created, renamed or removed
// name
//                survives once SyncFolder of its folder returned. Rename replaces its target in one step.
// Errors         absl::ErrnoToStatus, the message naming operation and path: NotFound (no such file), ResourceExhausted
//                (disk or quota full), PermissionDenied, AlreadyExists, FailedPrecondition (folder not empty), Internal
//                or Unknown (EIO and the rest).
// Threads        A FileSystem and a ReadableFile may be used from several threads; a WritableFile by one at a time.

namespace filigree::checkpoint {

class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual uint64_t size() const = 0;
  // Exactly `n` bytes from `offset`; DataLoss where the file ends before.
  virtual absl::Status ReadAt(uint64_t offset, void* to, size_t n) const = 0;
};

class WritableFile {
 public:
  // Closes the file if Close was not called; errors of that go unseen.
  virtual ~WritableFile() = default;
  virtual absl::Status Append(const void* data, size_t n) = 0;
  virtual absl::Status Sync() = 0;
  virtual absl::Status Close() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path) = 0;
  // An empty file; what was there before is gone.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  // OK where the folder is already there. The parent must exist.
  virtual absl::Status CreateFolder(const std::string& path) = 0;
  virtual absl::Status SyncFolder(const std::string& path) = 0;
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status RemoveFile(const std::string& path) = 0;
  // An empty folder.
  virtual absl::Status RemoveFolder(const std::string& path) = 0;
  // Names of files and folders in `path`, ascending, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;
  // Errors where nobody can tell: what may be there must not be taken for gone.
  virtual absl::StatusOr<bool> Exists(const std::string& path) = 0;
};

// The machine's own, over POSIX. Lives for ever.
FileSystem& RealFileSystem();

// A whole small file; ResourceExhausted where it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadFile(FileSystem& files, const std::string& path, uint64_t max_bytes);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_FILE_SYSTEM_H_
