#include "worker/checkpoint/hashing.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace filigree::checkpoint {
namespace {

// Fits in L2: a chunk is hashed and written, or read and hashed, before it leaves the cache.
constexpr uint64_t kChunk = 256 << 10;

std::string ToHex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

}  // namespace

std::string Xxh3Hex(const std::string& bytes) { return ToHex(XXH3_128bits(bytes.data(), bytes.size())); }

absl::StatusOr<std::string> Xxh3Hex(const ReadableFile& file) {
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<char> chunk(std::min(kChunk, file.size()));
  for (uint64_t at = 0; at < file.size(); at += kChunk) {
    const uint64_t n = std::min(kChunk, file.size() - at);
    absl::Status status = file.ReadAt(at, chunk.data(), n);
    if (!status.ok()) return status;
    XXH3_128bits_update(state.get(), chunk.data(), n);
  }
  return ToHex(XXH3_128bits_digest(state.get()));
}

HashingFile::HashingFile(std::unique_ptr<WritableFile> file) : file_(std::move(file)), state_(XXH3_createState()) {
  XXH3_128bits_reset(state_.get());
}

absl::Status HashingFile::Append(const void* data, size_t n) {
  const auto* from = static_cast<const char*>(data);
  for (size_t at = 0; at < n; at += kChunk) {
    const size_t part = std::min<size_t>(kChunk, n - at);
    XXH3_128bits_update(state_.get(), from + at, part);
    absl::Status status = file_->Append(from + at, part);
    if (!status.ok()) return status;
  }
  bytes_ += n;
  return absl::OkStatus();
}

std::string HashingFile::Hex() const { return ToHex(XXH3_128bits_digest(state_.get())); }

}  // namespace filigree::checkpoint
