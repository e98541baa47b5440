#include "worker/data/shard_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "kernels/base/check.h"
#include "worker/data/files.h"
#include "worker/data/sha256.h"
#include "worker/data/token_stream.h"

namespace filigree::data {
namespace {

absl::Status WriteHeader(std::FILE* file, const std::string& path, int64_t tokens) {
  std::array<int32_t, kShardHeaderBytes / 4> header{};
  header[0] = kShardMagic;
  header[1] = kShardVersion;
  header[2] = static_cast<int32_t>(tokens);
  if (std::fseek(file, 0, SEEK_SET) != 0 || std::fwrite(header.data(), kShardHeaderBytes, 1, file) != 1) {
    return SystemError(errno, path, "write");
  }
  return absl::OkStatus();
}

}  // namespace

ShardWriter::ShardWriter(std::string dir, std::string name, int64_t shard_tokens)
    : dir_(std::move(dir)), name_(std::move(name)), shard_tokens_(shard_tokens) {
  CHECK(shard_tokens >= 1 && shard_tokens <= INT32_MAX);
}

absl::Status ShardWriter::OpenNext() {
  path_ = fmt::format("{}/{}_{:06}.bin", dir_, name_, done_.size());
  file_.reset(std::fopen(path_.c_str(), "wb"));
  if (file_ == nullptr) return SystemError(errno, path_, "create");
  in_shard_ = 0;
  return WriteHeader(file_.get(), path_, 0);  // a place for it; the count comes last
}

absl::Status ShardWriter::CloseCurrent() {
  if (absl::Status status = WriteHeader(file_.get(), path_, in_shard_); !status.ok()) return status;
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) return SystemError(errno, path_, "write");
  file_.reset();
  absl::StatusOr<std::string> hash = Sha256OfFile(path_);
  if (!hash.ok()) return hash.status();
  done_.push_back({path_.substr(dir_.size() + 1), kShardHeaderBytes + 2 * in_shard_, *std::move(hash)});
  return absl::OkStatus();
}

absl::Status ShardWriter::Append(std::span<const uint16_t> tokens) {
  while (!tokens.empty()) {
    if (file_ != nullptr && in_shard_ == shard_tokens_) {
      if (absl::Status status = CloseCurrent(); !status.ok()) return status;
    }
    if (file_ == nullptr) {
      if (absl::Status status = OpenNext(); !status.ok()) return status;
    }
    const size_t part = std::min(tokens.size(), static_cast<size_t>(shard_tokens_ - in_shard_));
    if (std::fwrite(tokens.data(), 2, part, file_.get()) != part) return SystemError(errno, path_, "write");
    in_shard_ += static_cast<int64_t>(part);
    total_ += static_cast<int64_t>(part);
    tokens = tokens.subspan(part);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<FileEntry>> ShardWriter::Finish() {
  if (file_ == nullptr && done_.empty()) {
    if (absl::Status status = OpenNext(); !status.ok()) return status;
  }
  if (file_ != nullptr) {
    if (absl::Status status = CloseCurrent(); !status.ok()) return status;
  }
  return std::move(done_);
}

}  // namespace filigree::data
