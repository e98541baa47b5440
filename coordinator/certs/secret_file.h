#ifndef FILIGREE_COORDINATOR_CERTS_SECRET_FILE_H_
#define FILIGREE_COORDINATOR_CERTS_SECRET_FILE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace filigree::certs {

// Writes all of the files or none, each with mode 0600, to disk. AlreadyExists where one is there, a broken link
// included.
absl::Status WriteNewFiles(const std::vector<std::pair<std::string, std::string>>& paths_and_bytes);

}  // namespace filigree::certs

#endif  // FILIGREE_COORDINATOR_CERTS_SECRET_FILE_H_
