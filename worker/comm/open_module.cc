#include "worker/comm/open_module.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

namespace filigree::comm {
namespace {

std::string Path(const ModuleFile& file) {
  if (const char* path = std::getenv(file.variable); path != nullptr && *path != '\0') return path;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / file.name).string();
}

}  // namespace

absl::StatusOr<void*> OpenModule(const ModuleFile& file) {
  const std::string path = Path(file);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::UnavailableError(
        fmt::format("cannot open the {} module {}: {}. It is built beside the program; the library it needs is in "
                    "Debian's packages {} (deploy/install.sh)",
                    file.what, path, dlerror(), file.packages));
  }
  void* entry = dlsym(library, file.entry);
  if (entry == nullptr) return OtherBuild(file);
  return entry;
}

absl::Status OtherBuild(const ModuleFile& file) {
  return absl::UnavailableError(
      fmt::format("{} is no {} module of this program; build both together", Path(file), file.what));
}

}  // namespace filigree::comm
