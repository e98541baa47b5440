#ifndef FILIGREE_WORKER_AGENT_RANK_LOG_H_
#define FILIGREE_WORKER_AGENT_RANK_LOG_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace filigree::agent {

// What one rank prints in one generation: a file, and the last of it in memory.
//
// The file is begun anew when it has kFileBytes, and the one before is kept as PATH.1. Where it cannot be written (a
// full disk) the log goes on in memory alone.
//
// Threads: one at a time.
class RankLog {
 public:
  static constexpr size_t kFileBytes = size_t{16} << 20;
  static constexpr size_t kMemoryBytes = 128 << 10;

  explicit RankLog(std::string path, size_t file_bytes = kFileBytes);
  ~RankLog();
  RankLog(const RankLog&) = delete;
  RankLog& operator=(const RankLog&) = delete;

  void Append(std::string_view bytes);

  // The last whole lines, at most so many and so many bytes: valid UTF-8 without control characters but newlines, none
  // at the end.
  std::string Tail(size_t most_lines, size_t most_bytes) const;

  // What was not yet taken by MarkSent, from its first byte that is still in memory.
  struct Piece {
    int64_t offset = 0;
    std::string bytes;
  };
  Piece Unsent(size_t most_bytes) const;
  void MarkSent(int64_t end);  // offset after the last byte
  bool all_sent() const { return sent_ >= end_; }

 private:
  void WriteToFile(std::string_view bytes);
  void BeginFile();

  const std::string path_;
  const size_t file_limit_;
  int file_ = -1;
  size_t file_size_ = 0;
  std::string recent_;  // the last bytes, ending at end_
  int64_t end_ = 0;     // bytes printed so far
  int64_t sent_ = 0;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_RANK_LOG_H_
