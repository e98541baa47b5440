#include "worker/data/find_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "worker/data/files.h"

namespace filigree::data {
namespace {

constexpr char kSystemLibraries[] = "/usr/lib";
constexpr char kPythonPrefix[] = "python3.";

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};

// Names in a folder but "." and "..", sorted; errno where it cannot be listed.
int ListFolder(const std::string& path, std::vector<std::string>& names) {
  const std::unique_ptr<DIR, CloseFolder> folder(opendir(path.c_str()));
  if (folder == nullptr) return errno;
  errno = 0;  // the end of a folder and an error look alike but for this
  while (const dirent* entry = readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  const int error = errno;
  std::sort(names.begin(), names.end());
  return error;
}

class Walker {
 public:
  explicit Walker(const std::vector<std::string>& extensions) : extensions_(extensions) {}

  // Depth first with a stack of its own, so that no nesting of folders can exhaust the program's.
  void Walk(const std::string& root) {
    std::vector<std::string> waiting = {root};
    while (!waiting.empty()) {
      const std::string path = std::move(waiting.back());
      waiting.pop_back();
      struct stat info {};
      if (stat(path.c_str(), &info) != 0) {
        found_.unreadable.push_back(fmt::format("{}: {}", path, std::strerror(errno)));
      } else if (S_ISDIR(info.st_mode)) {
        Enter(path, info, waiting);
      } else if (S_ISREG(info.st_mode) && (path == root || Wanted(path))) {
        found_.files.push_back({path, info.st_size});
      }
    }
  }

  void DoNotEnter(const struct stat& info) { entered_.emplace(info.st_dev, info.st_ino); }

  FoundFiles Take() { return std::move(found_); }

 private:
  void Enter(const std::string& path, const struct stat& info, std::vector<std::string>& waiting) {
    if (!entered_.emplace(info.st_dev, info.st_ino).second) return;
    std::vector<std::string> names;
    if (const int error = ListFolder(path, names); error != 0) {
      found_.unreadable.push_back(fmt::format("{}: {}", path, std::strerror(error)));
      return;
    }
    const std::string prefix = path.ends_with('/') ? path : path + "/";
    for (auto name = names.rbegin(); name != names.rend(); ++name) waiting.push_back(prefix + *name);
  }

  bool Wanted(const std::string& path) const {
    return extensions_.empty() || std::any_of(extensions_.begin(), extensions_.end(),
                                              [&](const std::string& extension) { return path.ends_with(extension); });
  }

  const std::vector<std::string>& extensions_;
  FoundFiles found_;
  std::set<std::pair<dev_t, ino_t>> entered_;
};

}  // namespace

absl::StatusOr<FoundFiles> FindFiles(const std::vector<std::string>& inputs, const std::vector<std::string>& extensions,
                                     const std::string& except) {
  Walker walker(extensions);
  struct stat except_info {};
  if (stat(except.c_str(), &except_info) == 0) walker.DoNotEnter(except_info);
  for (const std::string& input : inputs) {
    struct stat info {};
    if (stat(input.c_str(), &info) != 0) return SystemError(errno, input, "find this input");
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(fmt::format("{}: is neither a folder nor a regular file", input));
    }
    if (faccessat(AT_FDCWD, input.c_str(), R_OK, AT_EACCESS) != 0) return SystemError(errno, input, "read this input");
    walker.Walk(input);
  }
  return walker.Take();
}

std::vector<std::string> DefaultInputs() {
  std::vector<std::string> names;
  ListFolder(kSystemLibraries, names);
  int newest = -1;
  for (const std::string& name : names) {
    const std::string version = name.starts_with(kPythonPrefix) ? name.substr(std::strlen(kPythonPrefix)) : "";
    if (version.empty() || version.size() > 4 || version.find_first_not_of("0123456789") != std::string::npos) continue;
    newest = std::max(newest, std::stoi(version));
  }
  if (newest < 0) return {};
  return {fmt::format("{}/{}{}", kSystemLibraries, kPythonPrefix, newest)};
}

}  // namespace filigree::data
