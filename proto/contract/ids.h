#ifndef FILIGREE_PROTO_CONTRACT_IDS_H_
#define FILIGREE_PROTO_CONTRACT_IDS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

// Names that cross a process boundary: of jobs, workers, hosts, keys and manifests. They end up in file names, metrics,
// URLs and terminals, so they are [A-Za-z0-9._-]{1,64} and nothing else.

namespace filigree::contract {

inline constexpr size_t kMaxIdBytes = 64;

// The number that makes a job's name its id takes up to 16 of the 64 bytes.
inline constexpr size_t kMaxJobNameBytes = 48;

bool IsId(std::string_view text);

// InvalidArgument, where `text` is no id: `what` ("worker name") begins the message, which shows the text and the rule.
absl::Status CheckId(std::string_view what, std::string_view text);

// "NAME-NUMBER": what a job is called once the coordinator has taken it.
std::string JobId(std::string_view name, int64_t number);

// A digest as it is written everywhere: 16 to 64 small hexadecimal digits. InvalidArgument as above.
absl::Status CheckDigest(std::string_view what, std::string_view text);

// `text` for a message: quoted, printable, at most 80 bytes of it.
std::string Shown(std::string_view text);

}  // namespace filigree::contract

#endif  // FILIGREE_PROTO_CONTRACT_IDS_H_
