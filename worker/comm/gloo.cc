#include "worker/comm/gloo.h"

#include <fmt/format.h>

#include <mutex>

#include "worker/comm/gloo_module.h"
#include "worker/comm/open_module.h"

namespace filigree::comm {
namespace {

constexpr ModuleFile kFile = {"Gloo", "filigree_gloo.so", "FILIGREE_GLOO_MODULE", kGlooModuleEntry, "libgloo0"};

absl::StatusOr<const GlooModule*> Open() {
  static std::mutex mutex;
  static const GlooModule* module = nullptr;
  const std::lock_guard lock(mutex);
  if (module != nullptr) return module;
  const absl::StatusOr<void*> entry = OpenModule(kFile);
  if (!entry.ok()) return entry.status();
  module = reinterpret_cast<GlooModuleEntry>(*entry)(kGlooModuleVersion);
  if (module == nullptr) return OtherBuild(kFile);
  return module;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> GlooGroup(const GlooOptions& options,
                                                     const std::shared_ptr<KeyValueStore>& store) {
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size) {
    return absl::InvalidArgumentError(
        fmt::format("rank {} of {} ranks; ranks count from 0", options.rank, options.size));
  }
  if (options.generation.empty()) return absl::InvalidArgumentError("a group needs the name of a generation");
  if (store == nullptr) return absl::InvalidArgumentError("a group needs a store to meet through");
  const absl::StatusOr<const GlooModule*> module = Open();
  if (!module.ok()) return module.status();
  std::unique_ptr<Transport> transport;
  if (absl::Status status = (*module)->group(options, *store, &transport); !status.ok()) return status;
  return transport;
}

}  // namespace filigree::comm
