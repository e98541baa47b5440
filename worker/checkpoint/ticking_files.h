#ifndef FILIGREE_WORKER_CHECKPOINT_TICKING_FILES_H_
#define FILIGREE_WORKER_CHECKPOINT_TICKING_FILES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/checkpoint/file_system.h"

namespace filigree::checkpoint {

// Another file system that says all the time that it is still at work: a checkpoint may take minutes to be written or
// read, and whoever watches over its rank is to know a slow disk from a rank that hangs.
//
// The tick is called after every operation, at least every kPiece bytes of a read, and every kSyncEvery bytes of a
// write, which are synced there, so that no sync has much to do. Files that it has opened may outlive it. Threads: as
// FileSystem, if the tick may be called from several.
class TickingFiles : public FileSystem {
 public:
  static constexpr size_t kPiece = size_t{8} << 20;
  static constexpr uint64_t kSyncEvery = uint64_t{64} << 20;

  TickingFiles(FileSystem& files, std::function<void()> tick) : files_(files), tick_(std::move(tick)) {}

  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::Status CreateFolder(const std::string& path) override { return After(files_.CreateFolder(path)); }
  absl::Status SyncFolder(const std::string& path) override { return After(files_.SyncFolder(path)); }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return After(files_.Rename(from, to));
  }
  absl::Status RemoveFile(const std::string& path) override { return After(files_.RemoveFile(path)); }
  absl::Status RemoveFolder(const std::string& path) override { return After(files_.RemoveFolder(path)); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return files_.List(path); }
  absl::StatusOr<bool> Exists(const std::string& path) override { return files_.Exists(path); }

 private:
  absl::Status After(absl::Status status) const {
    tick_();
    return status;
  }

  FileSystem& files_;
  const std::function<void()> tick_;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_TICKING_FILES_H_
