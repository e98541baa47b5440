#ifndef FILIGREE_WORKER_TRAIN_TENSOR_RANKS_H_
#define FILIGREE_WORKER_TRAIN_TENSOR_RANKS_H_

#include "worker/comm/communicator.h"
#include "worker/model/tensor_group.h"
#include "worker/parallel/world.h"

namespace filigree::train {

// The ranks that share a model, as the model sees them, over the world's messages. Borrows the world.
class TensorRanks : public model::TensorGroup {
 public:
  explicit TensorRanks(parallel::World& world) : world_(world) {}

  int rank() const override { return world_.tensor().rank(); }
  int size() const override { return world_.tensor().size(); }
  double seconds() const override { return seconds_; }
  absl::Status AllToAll(const char* what, std::span<const std::byte> send, std::span<const int64_t> send_bytes,
                        std::span<std::byte> receive, std::span<const int64_t> receive_bytes) override;
  absl::Status AllGather(const char* what, std::span<std::byte> all, std::span<const int64_t> bytes) override;

 private:
  parallel::World& world_;
  double seconds_ = 0;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_TENSOR_RANKS_H_
