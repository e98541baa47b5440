#ifndef FILIGREE_WORKER_INTEROP_ZIP_WRITER_H_
#define FILIGREE_WORKER_INTEROP_ZIP_WRITER_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/checkpoint/file_system.h"

// A zip file as torch.save writes it: entries stored, streamed (sizes and CRC follow the data), the data of every entry
// at a multiple of 64 bytes, no times, zip64 where sizes need it.
//
// Use: Add for every entry, then Finish. After an error only that error is returned. Not thread-safe.

namespace filigree::interop {

class ZipWriter {
 public:
  // Writes to `file`, which must be empty and outlive the writer. Sizes and offsets from `zip64_from` on are written in
  // zip64 form (tests lower it; files below 4 GiB need none).
  explicit ZipWriter(checkpoint::WritableFile& file, uint64_t zip64_from = 0xffffffff)
      : file_(file), zip64_from_(zip64_from) {}

  absl::Status Add(const std::string& name, std::span<const uint8_t> data);
  absl::Status Add(const std::string& name, const std::string& text);
  absl::Status Finish();

 private:
  struct Entry {
    std::string name;
    uint64_t offset = 0, size = 0;
    uint32_t crc = 0;
  };
  absl::Status Append(const void* data, size_t n);
  std::string LocalHeader(const std::string& name) const;
  std::string CentralHeader(const Entry& entry) const;
  std::string End(uint64_t directory_begin) const;

  checkpoint::WritableFile& file_;
  const uint64_t zip64_from_;
  uint64_t at_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_ZIP_WRITER_H_
