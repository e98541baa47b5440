#ifndef FILIGREE_WORKER_DATA_PARSE_IDS_H_
#define FILIGREE_WORKER_DATA_PARSE_IDS_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace filigree::data {

// Ids as a user writes them: decimal numbers apart by spaces, newlines or commas; brackets of a JSON array may stand
// around them. InvalidArgument naming the first word that is no number, or is not below `vocab`, and which one it is.
absl::StatusOr<std::vector<uint16_t>> ParseIds(std::string_view text, int vocab);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_PARSE_IDS_H_
