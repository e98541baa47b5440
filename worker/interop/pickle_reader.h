#ifndef FILIGREE_WORKER_INTEROP_PICKLE_READER_H_
#define FILIGREE_WORKER_INTEROP_PICKLE_READER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/safetensors.h"

// The pickle of a state dict, read by a small stack machine that builds plain values and executes nothing: of the
// opcodes those that data needs, of the globals collections.OrderedDict, torch._utils._rebuild_tensor_v2,
// torch._utils._rebuild_parameter and the storage classes of torch, each with a meaning built in here. Anything else,
// every import above all, ends in DataLoss naming it.
//
// Bounded: pickles of at most kMaxPickleBytes; every value is made once and memory is linear in the input.

namespace filigree::interop {

inline constexpr uint64_t kMaxPickleBytes = 2 << 20;

// A tensor as the pickle describes it: a strided view of a storage, which lies in another entry of the archive.
struct PickledTensor {
  std::string name;
  std::string storage;  // key of the entry data/KEY
  checkpoint::DType dtype = checkpoint::DType::kF32;
  uint64_t storage_elements = 0;
  uint64_t offset = 0;  // in elements
  checkpoint::Shape shape;
  std::vector<int64_t> strides;  // in elements, not negative
};

// The tensors of a dict (or OrderedDict) from names to tensors, in its order. Sizes are not negative, strides as many
// as dimensions, and every element lies inside the storage. `path` is for messages.
absl::StatusOr<std::vector<PickledTensor>> ReadStateDictPickle(std::span<const uint8_t> pickle,
                                                               const std::string& path);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_PICKLE_READER_H_
