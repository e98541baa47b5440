#ifndef FILIGREE_WORKER_DATA_SHARD_WRITER_H_
#define FILIGREE_WORKER_DATA_SHARD_WRITER_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/data/manifest.h"

namespace filigree::data {

// Writes a stream of tokens as shards NAME_000000.bin, NAME_000001.bin, ... of `shard_tokens` tokens each, the last one
// shorter. After an error the writer is of no more use; what it wrote is the caller's to remove.
class ShardWriter {
 public:
  // 1 <= shard_tokens < 2^31, as the header counts in int32.
  ShardWriter(std::string dir, std::string name, int64_t shard_tokens);

  // PermissionDenied, ResourceExhausted (disk full) or Unavailable with file and reason.
  absl::Status Append(std::span<const uint16_t> tokens);

  // Syncs the last shard and returns all of them with their hashes. At least one shard, be it empty.
  absl::StatusOr<std::vector<FileEntry>> Finish();

  int64_t tokens() const { return total_; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  absl::Status OpenNext();
  absl::Status CloseCurrent();

  std::string dir_, name_;
  int64_t shard_tokens_;
  int64_t total_ = 0, in_shard_ = 0;
  std::string path_;  // of the current shard
  std::unique_ptr<std::FILE, CloseFile> file_;
  std::vector<FileEntry> done_;
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_SHARD_WRITER_H_
