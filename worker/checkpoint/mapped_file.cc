#include "worker/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"

namespace filigree::checkpoint {

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, fmt::format("cannot open {}", path));
  struct stat about = {};
  const bool regular = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
  const auto size = static_cast<uint64_t>(about.st_size);
  void* mapped = MAP_FAILED;
  if (regular && size > 0) mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  ::close(fd);
  if (!regular) return absl::FailedPreconditionError(fmt::format("{} is not a regular file", path));
  if (size == 0) return absl::DataLossError(fmt::format("{} is empty", path));
  if (mapped == MAP_FAILED) return absl::ErrnoToStatus(error, fmt::format("cannot map {}", path));
  MappedFile file;
  file.mapping_ = std::shared_ptr<const void>(mapped, [mapped, size](const void*) { ::munmap(mapped, size); });
  file.bytes_ = {static_cast<const uint8_t*>(mapped), size};
  return file;
}

}  // namespace filigree::checkpoint
