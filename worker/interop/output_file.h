#ifndef FILIGREE_WORKER_INTEROP_OUTPUT_FILE_H_
#define FILIGREE_WORKER_INTEROP_OUTPUT_FILE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "worker/checkpoint/file_system.h"

namespace filigree::interop {

// Writes PATH.tmp, syncs it and renames it to PATH, so that a file is there whole or not at all. Errors as the file
// system's and those of `write`; the temporary file is gone then.
absl::Status WriteWholeFile(checkpoint::FileSystem& files, const std::string& path,
                            const std::function<absl::Status(checkpoint::WritableFile&)>& write);
absl::Status WriteWholeFile(checkpoint::FileSystem& files, const std::string& path, const std::string& text);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_OUTPUT_FILE_H_
