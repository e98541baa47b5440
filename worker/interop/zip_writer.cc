#include "worker/interop/zip_writer.h"

#include "worker/interop/crc32.h"
#include "worker/interop/zip_format.h"

namespace filigree::interop {
namespace {

constexpr uint64_t kAlignment = 64;

// Little-endian fields, one after the other.
class Record {
 public:
  Record& U16(uint64_t x) { return Put(x, 2); }
  Record& U32(uint64_t x) { return Put(x, 4); }
  Record& U64(uint64_t x) { return Put(x, 8); }
  Record& Text(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Record& Put(uint64_t x, int n) {
    for (int i = 0; i < n; ++i) bytes_ += static_cast<char>(x >> (8 * i));
    return *this;
  }
  std::string bytes_;
};

}  // namespace

absl::Status ZipWriter::Append(const void* data, size_t n) {
  at_ += n;
  return file_.Append(data, n);
}

// Sizes and CRC are 0 here and follow the data. An extra field of our own ("FB", as torch names it) fills up to the
// alignment.
std::string ZipWriter::LocalHeader(const std::string& name) const {
  constexpr uint64_t kExtraHeader = 4;
  const uint64_t unpadded = at_ + zip::kLocalBytes + name.size() + kExtraHeader;
  const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  return Record()
      .U32(zip::kLocalSignature)
      .U16(0)
      .U16(zip::kFlagDescriptor | zip::kFlagUtf8)
      .U16(zip::kStored)
      .U32(0)  // time and date
      .U32(0)  // CRC
      .U32(0)
      .U32(0)  // sizes
      .U16(name.size())
      .U16(kExtraHeader + padding)
      .Text(name)
      .Text("FB")
      .U16(padding)
      .Text(std::string(padding, 'Z'))
      .bytes();
}

absl::Status ZipWriter::Add(const std::string& name, std::span<const uint8_t> data) {
  Entry entry{name, at_, data.size(), Crc32(0, data)};
  const std::string header = LocalHeader(name);
  absl::Status status = Append(header.data(), header.size());
  if (status.ok()) status = Append(data.data(), data.size());
  Record descriptor;
  descriptor.U32(zip::kDescriptorSignature).U32(entry.crc);
  if (entry.size >= zip64_from_) {
    descriptor.U64(entry.size).U64(entry.size);
  } else {
    descriptor.U32(entry.size).U32(entry.size);
  }
  if (status.ok()) status = Append(descriptor.bytes().data(), descriptor.bytes().size());
  entries_.push_back(std::move(entry));
  return status;
}

absl::Status ZipWriter::Add(const std::string& name, const std::string& text) {
  return Add(name, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

std::string ZipWriter::CentralHeader(const Entry& entry) const {
  const bool big_size = entry.size >= zip64_from_, far = entry.offset >= zip64_from_;
  Record extra;
  if (big_size || far) {
    extra.U16(zip::kZip64Extra).U16((big_size ? 16 : 0) + (far ? 8 : 0));
    if (big_size) extra.U64(entry.size).U64(entry.size);
    if (far) extra.U64(entry.offset);
  }
  const uint64_t size = big_size ? zip::kSeeZip64 : entry.size;
  return Record()
      .U32(zip::kCentralSignature)
      .U16(0)
      .U16(big_size || far ? 45 : 0)  // version needed
      .U16(zip::kFlagDescriptor | zip::kFlagUtf8)
      .U16(zip::kStored)
      .U32(0)
      .U32(entry.crc)
      .U32(size)
      .U32(size)
      .U16(entry.name.size())
      .U16(extra.bytes().size())
      .U16(0)  // comment
      .U16(0)  // disk
      .U16(0)
      .U32(0)  // attributes
      .U32(far ? zip::kSeeZip64 : entry.offset)
      .Text(entry.name)
      .Text(extra.bytes())
      .bytes();
}

std::string ZipWriter::End(uint64_t directory_begin) const {
  const uint64_t count = entries_.size(), size = at_ - directory_begin;
  const bool zip64 = directory_begin >= zip64_from_ || size >= zip64_from_ || count >= 0xffff;
  Record end;
  if (zip64) {
    end.U32(zip::kEnd64Signature).U64(zip::kEnd64Bytes - 12).U16(45).U16(45).U32(0).U32(0);
    end.U64(count).U64(count).U64(size).U64(directory_begin);
    end.U32(zip::kLocator64Signature).U32(0).U64(at_).U32(1);
  }
  const uint64_t shown = count < 0xffff ? count : 0xffff;
  end.U32(zip::kEndSignature).U16(0).U16(0).U16(shown).U16(shown);
  end.U32(zip64 ? zip::kSeeZip64 : size).U32(zip64 ? zip::kSeeZip64 : directory_begin).U16(0);
  return end.bytes();
}

absl::Status ZipWriter::Finish() {
  const uint64_t directory_begin = at_;
  absl::Status status;
  for (const Entry& entry : entries_) {
    const std::string header = CentralHeader(entry);
    if (status.ok()) status = Append(header.data(), header.size());
  }
  const std::string end = End(directory_begin);
  if (status.ok()) status = Append(end.data(), end.size());
  return status;
}

}  // namespace filigree::interop
