#include "worker/data/token_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/base/check.h"

namespace filigree::data {
namespace {

constexpr char kPrepareAgain[] = "run `filigree prepare` again";

absl::Status CheckHeader(const std::string& path, const std::array<int32_t, 3>& header, int64_t bytes) {
  if (header[0] != kShardMagic) {
    return absl::DataLossError(fmt::format("{}: is no token shard: it begins with {}, expected the magic number {}; {}",
                                           path, header[0], kShardMagic, kPrepareAgain));
  }
  if (header[1] != kShardVersion) {
    return absl::DataLossError(
        fmt::format("{}: has shard version {}, this program reads version {} (uint16 tokens); {}", path, header[1],
                    kShardVersion, kPrepareAgain));
  }
  const int64_t expected = kShardHeaderBytes + int64_t{2} * header[2];
  if (header[2] < 0 || bytes != expected) {
    return absl::DataLossError(fmt::format(
        "{}: {} bytes, but its header announces {} tokens, which take {} bytes: {}; {}", path, bytes, header[2],
        expected, bytes < expected ? "it is cut short" : "it has bytes too many", kPrepareAgain));
  }
  return absl::OkStatus();
}

// Closes what it holds; a descriptor is not needed once the file is mapped.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

TokenStream::Mapping::Mapping(Mapping&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

TokenStream::Mapping& TokenStream::Mapping::operator=(Mapping&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

TokenStream::Mapping::~Mapping() {
  if (address_ != nullptr) munmap(address_, bytes_);
}

const uint16_t* TokenStream::Mapping::tokens() const {
  return reinterpret_cast<const uint16_t*>(static_cast<const char*>(address_) + kShardHeaderBytes);
}

absl::StatusOr<TokenStream::Shard> TokenStream::OpenShard(const std::string& path, int64_t begin) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    const std::string message = fmt::format("{}: cannot open token shard: {}", path, std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::DataLossError(message);
  }
  struct stat info {};
  if (fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::DataLossError(fmt::format("{}: is no regular file, expected a token shard", path));
  }
  if (info.st_size < kShardHeaderBytes) {
    return absl::DataLossError(fmt::format("{}: {} bytes, shorter than the header of a token shard ({}); {}", path,
                                           info.st_size, kShardHeaderBytes, kPrepareAgain));
  }
  std::array<int32_t, 3> header{};
  if (pread(file.fd, header.data(), sizeof(header), 0) != static_cast<ssize_t>(sizeof(header))) {
    return absl::DataLossError(fmt::format("{}: cannot read: {}", path, std::strerror(errno)));
  }
  if (absl::Status status = CheckHeader(path, header, info.st_size); !status.ok()) return status;
  void* address = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, file.fd, 0);
  if (address == MAP_FAILED) {
    return absl::ResourceExhaustedError(fmt::format("{}: cannot map into memory: {}", path, std::strerror(errno)));
  }
  return Shard{path, Mapping(address, static_cast<size_t>(info.st_size)), begin, header[2]};
}

absl::StatusOr<TokenStream> TokenStream::Open(const std::vector<std::string>& paths) {
  TokenStream stream;
  for (const std::string& path : paths) {
    absl::StatusOr<Shard> shard = OpenShard(path, stream.size());
    if (!shard.ok()) return shard.status();
    stream.shards_.push_back(*std::move(shard));
  }
  return stream;
}

void TokenStream::Copy(int64_t begin, int count, int32_t* out) const {
  CHECK(begin >= 0 && count >= 0 && begin + count <= size(), "tokens [{}, +{}) of {}", begin, count, size());
  auto after = std::upper_bound(shards_.begin(), shards_.end(), begin,
                                [](int64_t position, const Shard& shard) { return position < shard.begin; });
  for (auto shard = after == shards_.begin() ? after : after - 1; count > 0; ++shard) {
    const int64_t first = begin - shard->begin;
    const int part = static_cast<int>(std::min<int64_t>(count, shard->size - first));
    std::copy_n(shard->mapping.tokens() + first, part, out);
    begin += part;
    out += part;
    count -= part;
  }
}

absl::Status TokenStream::CheckVocab(int shard, int vocab, const std::function<void()>& tick) const {
  constexpr int64_t kPiece = 8 << 20;
  const uint16_t* tokens = ShardTokens(shard);
  const int64_t size = ShardSize(shard);
  uint16_t largest = 0;
  for (int64_t begin = 0; begin < size; begin += kPiece) {
    const int64_t end = std::min(size, begin + kPiece);
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, tokens[i]);
    if (tick) tick();
  }
  if (largest < vocab) return absl::OkStatus();
  const int64_t at = std::find_if(tokens, tokens + size, [&](int token) { return token >= vocab; }) - tokens;
  return absl::DataLossError(fmt::format("{}: token {} at position {} is not below the vocabulary of {}; {}",
                                         shards_[shard].path, tokens[at], at, vocab, kPrepareAgain));
}

}  // namespace filigree::data
