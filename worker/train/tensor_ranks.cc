#include "worker/train/tensor_ranks.h"

#include <chrono>
#include <numeric>

namespace filigree::train {
namespace {

// Adds the time that it exists.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

absl::Status TensorRanks::AllToAll(const char* what, std::span<const std::byte> send,
                                   std::span<const int64_t> send_bytes, std::span<std::byte> receive,
                                   std::span<const int64_t> receive_bytes) {
  const Stopwatch stopwatch(seconds_);
  const parallel::Progress::Waiting waiting(world_.progress());
  world_.tensor().Name(what);
  return world_.tensor().AllToAll(comm::ArrayOf(send), send_bytes, comm::ArrayOf(receive), receive_bytes);
}

absl::Status TensorRanks::AllGather(const char* what, std::span<std::byte> all, std::span<const int64_t> bytes) {
  const Stopwatch stopwatch(seconds_);
  const parallel::Progress::Waiting waiting(world_.progress());
  world_.tensor().Name(what);
  const auto begin = static_cast<size_t>(std::accumulate(bytes.begin(), bytes.begin() + rank(), int64_t{0}));
  const std::span<const std::byte> mine = all.subspan(begin, static_cast<size_t>(bytes[rank()]));
  return world_.tensor().AllGather(comm::ArrayOf(mine), bytes, comm::ArrayOf(all));
}

}  // namespace filigree::train
