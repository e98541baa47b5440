#ifndef FILIGREE_WORKER_INTEROP_ZIP_READER_H_
#define FILIGREE_WORKER_INTEROP_ZIP_READER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The entries of a zip file in memory. Only stored entries (torch writes no others); zip64 is understood.
//
// Trusts nothing: every offset and size is checked against the file, entries must not overlap each other or the
// directory, local headers must agree with it, names are unique; at most kMaxEntries. Anything else is DataLoss.

namespace filigree::interop {

inline constexpr uint64_t kMaxEntries = 1 << 20;

struct ZipEntry {
  std::string name;
  std::span<const uint8_t> data;
  uint32_t crc = 0;
};

// `path` is for messages. Entries are in the order of the directory and point into `bytes`.
absl::StatusOr<std::vector<ZipEntry>> ReadZip(std::span<const uint8_t> bytes, const std::string& path);

// Do the bytes still have the CRC they were stored with? DataLoss names the entry.
absl::Status CheckCrc(const ZipEntry& entry, const std::string& path);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_ZIP_READER_H_
