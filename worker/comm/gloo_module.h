#ifndef FILIGREE_WORKER_COMM_GLOO_MODULE_H_
#define FILIGREE_WORKER_COMM_GLOO_MODULE_H_

#include <memory>

#include "absl/status/status.h"
#include "worker/comm/gloo.h"

// Between the program and filigree_gloo.so, which are built together. Nothing else of the module is visible.

namespace filigree::comm {

struct GlooModule {
  absl::Status (*group)(const GlooOptions& options, KeyValueStore& store, std::unique_ptr<Transport>* transport);
};

// The name of the function in the module that returns one; it returns null to a program of another build.
constexpr char kGlooModuleEntry[] = "FiligreeGlooModule";
constexpr int kGlooModuleVersion = 2;
using GlooModuleEntry = const GlooModule* (*)(int version);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_MODULE_H_
