#ifndef FILIGREE_WORKER_DATA_FIND_FILES_H_
#define FILIGREE_WORKER_DATA_FIND_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace filigree::data {

struct FoundFile {
  std::string path;
  int64_t bytes = 0;
};

struct FoundFiles {
  std::vector<FoundFile> files;
  std::vector<std::string> unreadable;  // "PATH: reason" of folders and links that could not be followed
};

// The regular files below `inputs` whose names end in one of `extensions` (".py"; none: every file). An input that is
// itself a file is taken whatever its name. Inputs stay in their order, below each the order is that of the paths'
// bytes. Links are followed; a folder that was entered before (by device and inode) is not entered again, so loops end.
// Devices, sockets and FIFOs are passed over.
//
// NotFound naming the input that does not exist; PermissionDenied where an input itself cannot be read.
// The folder `except` is not entered (it may not exist): what `prepare` writes is no input.
absl::StatusOr<FoundFiles> FindFiles(const std::vector<std::string>& inputs, const std::vector<std::string>& extensions,
                                     const std::string& except);

// The Python standard library source that the system installs: /usr/lib/python3.N of the highest N, or nothing.
std::vector<std::string> DefaultInputs();

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_FIND_FILES_H_
