#include "worker/checkpoint/ticking_files.h"

#include <algorithm>

namespace filigree::checkpoint {
namespace {

class TickingReader : public ReadableFile {
 public:
  TickingReader(std::unique_ptr<ReadableFile> file, std::function<void()> tick)
      : file_(std::move(file)), tick_(std::move(tick)) {}
  uint64_t size() const override { return file_->size(); }
  absl::Status ReadAt(uint64_t offset, void* to, size_t n) const override {
    auto* out = static_cast<char*>(to);
    do {
      const size_t part = std::min(n, TickingFiles::kPiece);
      if (absl::Status status = file_->ReadAt(offset, out, part); !status.ok()) return status;
      tick_();
      offset += part;
      out += part;
      n -= part;
    } while (n > 0);
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<ReadableFile> file_;
  const std::function<void()> tick_;
};

class TickingWriter : public WritableFile {
 public:
  TickingWriter(std::unique_ptr<WritableFile> file, std::function<void()> tick)
      : file_(std::move(file)), tick_(std::move(tick)) {}
  absl::Status Append(const void* data, size_t n) override {
    const auto* from = static_cast<const char*>(data);
    do {
      const size_t part = std::min<uint64_t>(n, TickingFiles::kSyncEvery - unsynced_);
      if (absl::Status status = After(file_->Append(from, part)); !status.ok()) return status;
      from += part;
      n -= part;
      unsynced_ += part;
      if (unsynced_ < TickingFiles::kSyncEvery) continue;
      if (absl::Status status = Sync(); !status.ok()) return status;
    } while (n > 0);
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    unsynced_ = 0;
    return After(file_->Sync());
  }
  absl::Status Close() override { return After(file_->Close()); }

 private:
  absl::Status After(absl::Status status) const {
    tick_();
    return status;
  }

  const std::unique_ptr<WritableFile> file_;
  const std::function<void()> tick_;
  uint64_t unsynced_ = 0;  // bytes
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReadableFile>> TickingFiles::OpenForRead(const std::string& path) {
  absl::StatusOr<std::unique_ptr<ReadableFile>> file = files_.OpenForRead(path);
  tick_();
  if (!file.ok()) return file.status();
  return std::make_unique<TickingReader>(*std::move(file), tick_);
}

absl::StatusOr<std::unique_ptr<WritableFile>> TickingFiles::Create(const std::string& path) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = files_.Create(path);
  tick_();
  if (!file.ok()) return file.status();
  return std::make_unique<TickingWriter>(*std::move(file), tick_);
}

}  // namespace filigree::checkpoint
