#ifndef FILIGREE_WORKER_DATA_TOKEN_STREAM_H_
#define FILIGREE_WORKER_DATA_TOKEN_STREAM_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The token shards of one split as one long array, memory-mapped. docs/formats/tokens.md specifies a shard: the llm.c
// header of 256 int32 (20240520, 1, count), then count uint16, little-endian.
//
// Threads        a stream that is open may be read by any number of threads.
// Lifetime       a stream keeps its mappings; replacing or deleting the files changes nothing for it, cutting them
//                short under it is fatal (SIGBUS), so `prepare` never writes into a file that has its final name.

namespace filigree::data {

inline constexpr int32_t kShardMagic = 20240520;
inline constexpr int32_t kShardVersion = 1;
inline constexpr int64_t kShardHeaderBytes = 256 * 4;

class TokenStream {
 public:
  // Maps `paths` in this order. Every shard's magic, version and size are checked. NotFound: a shard is missing;
  // DataLoss: it is no shard, is cut short or has bytes too many (the message says which, where and what to do).
  static absl::StatusOr<TokenStream> Open(const std::vector<std::string>& paths);

  TokenStream(TokenStream&& other) noexcept = default;
  TokenStream& operator=(TokenStream&& other) noexcept = default;

  int64_t size() const { return shards_.empty() ? 0 : shards_.back().begin + shards_.back().size; }

  // Writes tokens [begin, begin + count) to `out`; 0 <= begin, begin + count <= size().
  void Copy(int64_t begin, int count, int32_t* out) const;

  // DataLoss naming the shard and position of its first token that is not below `vocab`. Reads all of the shard; tick
  // (may be empty) is called every now and then.
  absl::Status CheckVocab(int shard, int vocab, const std::function<void()>& tick = {}) const;

  // Number of shards, and the tokens of one, for code that reads everything.
  int shards() const { return static_cast<int>(shards_.size()); }
  const uint16_t* ShardTokens(int shard) const { return shards_[shard].mapping.tokens(); }
  int64_t ShardSize(int shard) const { return shards_[shard].size; }
  // The whole file as it is mapped, header included.
  std::string_view ShardBytes(int shard) const { return shards_[shard].mapping.bytes(); }

 private:
  class Mapping {
   public:
    Mapping(void* address, size_t bytes) : address_(address), bytes_(bytes) {}
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;
    ~Mapping();
    const uint16_t* tokens() const;
    std::string_view bytes() const { return {static_cast<const char*>(address_), bytes_}; }

   private:
    void* address_ = nullptr;
    size_t bytes_ = 0;
  };
  struct Shard {
    std::string path;
    Mapping mapping;
    int64_t begin;  // index of its first token in the stream
    int64_t size;
  };

  TokenStream() = default;
  static absl::StatusOr<Shard> OpenShard(const std::string& path, int64_t begin);

  std::vector<Shard> shards_;
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_TOKEN_STREAM_H_
