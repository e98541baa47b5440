#ifndef FILIGREE_WORKER_INTEROP_PICKLE_WRITER_H_
#define FILIGREE_WORKER_INTEROP_PICKLE_WRITER_H_

#include <string>
#include <vector>

#include "worker/checkpoint/checkpoint.h"

namespace filigree::interop {

// The pickle (protocol 2) of an OrderedDict from names to contiguous float32 tensors, as torch.save writes a state
// dict: tensor i is torch._utils._rebuild_tensor_v2 of the whole storage with key "i", a torch.FloatStorage on the cpu.
std::string PickleStateDict(const std::vector<checkpoint::NamedShape>& tensors);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_PICKLE_WRITER_H_
