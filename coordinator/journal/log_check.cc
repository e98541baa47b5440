#include "coordinator/journal/log_check.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/journal/descriptor.h"

namespace filigree::coordinator {
namespace {

constexpr size_t kHeaderBytes = 32, kFrameHeaderBytes = 24;
constexpr uint32_t kMagic = 0x377f0682;  // the last bit: checksums over big-endian words

using Bytes = std::vector<unsigned char>;

uint32_t BigEndian(const unsigned char* at) {
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}
uint32_t LittleEndian(const unsigned char* at) {
  return uint32_t{at[3]} << 24 | uint32_t{at[2]} << 16 | uint32_t{at[1]} << 8 | at[0];
}

struct Sum {
  uint32_t first = 0, second = 0;
  bool operator==(const Sum&) const = default;
};

Sum StoredAt(const unsigned char* at) { return {BigEndian(at), BigEndian(at + 4)}; }

// Goes on from `sum` over whole pairs of words.
Sum Continue(Sum sum, const unsigned char* bytes, size_t n, bool big_endian) {
  const auto word = [&](size_t at) { return big_endian ? BigEndian(bytes + at) : LittleEndian(bytes + at); };
  for (size_t at = 0; at + 8 <= n; at += 8) {
    sum.first += word(at) + sum.second;
    sum.second += word(at + 4) + sum.first;
  }
  return sum;
}

struct Header {
  bool big_endian = false;
  size_t page_bytes = 0;
  uint32_t salts[2] = {};
  Sum sum;
};

std::optional<Header> ReadHeader(const Bytes& bytes) {
  Header header;
  const uint32_t magic = BigEndian(bytes.data());
  header.big_endian = (magic & 1) != 0;
  header.page_bytes = BigEndian(&bytes[8]);
  header.salts[0] = BigEndian(&bytes[16]);
  header.salts[1] = BigEndian(&bytes[20]);
  header.sum = Continue({}, bytes.data(), 24, header.big_endian);
  const bool size_ok =
      header.page_bytes >= 512 && header.page_bytes <= 65536 && (header.page_bytes & (header.page_bytes - 1)) == 0;
  if ((magic & ~1u) != kMagic || !size_ok || !(header.sum == StoredAt(&bytes[24]))) return std::nullopt;
  return header;
}

// Frame after frame: is there one that came after a finished transaction which SQLite will not take?
class Walk {
 public:
  explicit Walk(const Header& header) : header_(header), computed_(header.sum), stored_(header.sum) {}

  // True: yes, this one.
  bool Take(const Bytes& frame) {
    const bool ours = BigEndian(&frame[8]) == header_.salts[0] && BigEndian(&frame[12]) == header_.salts[1];
    const Sum stored = StoredAt(&frame[16]);
    const Sum from_computed = SumOf(computed_, frame), from_stored = SumOf(stored_, frame);
    const bool continues = ours && (stored == from_computed || stored == from_stored);
    if (broken_ && ended_ && continues) return true;
    if (!ours || !(stored == from_computed)) broken_ = true;
    // Whichever of the two words of a frame was hit, the other one leads on.
    computed_ = stored == from_stored ? from_stored : from_computed;
    stored_ = stored;
    ended_ = BigEndian(&frame[4]) != 0;
    return false;
  }

 private:
  Sum SumOf(Sum from, const Bytes& frame) const {
    const Sum head = Continue(from, frame.data(), 8, header_.big_endian);
    return Continue(head, &frame[kFrameHeaderBytes], header_.page_bytes, header_.big_endian);
  }

  const Header& header_;
  Sum computed_, stored_;  // of the frame before: as its bytes say, and as it says
  bool broken_ = false;    // a checksum was wrong: SQLite takes nothing from there on
  bool ended_ = false;     // the frame before ends a transaction
};

// Fills `bytes`; false: the file ends before.
absl::StatusOr<bool> ReadAt(int fd, uint64_t offset, Bytes& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::pread(fd, &bytes[done], bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "cannot be read");
    if (got == 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

absl::Status CheckFrames(int fd, const Header& header) {
  Walk walk(header);
  Bytes frame(kFrameHeaderBytes + header.page_bytes);
  uint64_t offset = kHeaderBytes;
  for (int64_t number = 1;; ++number, offset += frame.size()) {
    const auto whole = ReadAt(fd, offset, frame);
    if (!whole.ok()) return whole.status();
    if (!*whole) return absl::OkStatus();
    if (walk.Take(frame))
      return absl::DataLossError(
          fmt::format("a checksum is wrong before frame {}, which continues a finished transaction", number));
  }
}

absl::Status CheckOpened(int fd) {
  Bytes bytes(kHeaderBytes);
  const auto whole = ReadAt(fd, 0, bytes);
  if (!whole.ok() || !*whole) return whole.status();
  if (const auto header = ReadHeader(bytes)) return CheckFrames(fd, *header);
  // A header is synced before the first frame is written.
  Bytes more(kFrameHeaderBytes);
  const auto frame = ReadAt(fd, kHeaderBytes, more);
  if (!frame.ok()) return frame.status();
  return *frame ? absl::DataLossError("its header is wrong and frames follow") : absl::OkStatus();
}

}  // namespace

absl::Status CheckLog(const std::string& log_path) {
  const Descriptor file(::open(log_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return errno == ENOENT ? absl::OkStatus() : absl::ErrnoToStatus(errno, "cannot be opened");
  const absl::Status status = CheckOpened(file.get());
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("its write-ahead log: {}", std::string(status.message())));
}

}  // namespace filigree::coordinator
